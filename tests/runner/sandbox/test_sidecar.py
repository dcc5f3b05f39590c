"""What belongs to the sidecar alone: starting late, dying, being restarted, and refusing what it cannot do."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from cycleqd.errors import Unscored, UnsupportedHere
from cycleqd_runner.sandbox import Execution, HostSettings, MachineSpec, candidates, open_sandbox
from cycleqd_runner.sandbox.hosts import SOCKET_VARIABLE
from tests.runner.sandbox.behaviours import MARK
from tests.runner.sandbox.variants import LIMITS, Sidecar, processes_with, sidecar


@pytest.fixture
def server() -> Iterator[Sidecar]:
    """Start a server."""
    with tempfile.TemporaryDirectory(prefix="cycleqd-suite-", dir="/dev/shm") as name:
        Path(name).chmod(0o711)
        with sidecar(Path(name)) as server:
            yield server


def _settings(server: Sidecar, patience_seconds: float = 30.0) -> HostSettings:
    return HostSettings(socket=server.socket, patience_seconds=patience_seconds)


def test_auto_is_the_sidecar_where_there_is_one(server: Sidecar, monkeypatch: pytest.MonkeyPatch) -> None:
    """The environment of the pod decides, and nothing weaker is tried."""
    monkeypatch.setenv(SOCKET_VARIABLE, str(server.socket))

    async def run() -> tuple[str, bytes]:
        async with open_sandbox() as sandbox:
            done = await sandbox.run(Execution(python="import os; print(os.getuid())"), LIMITS)
            return sandbox.name, done.stdout

    assert candidates("Auto") == ("Sidecar",)
    name, user = asyncio.run(run())
    assert name == "Sidecar"
    assert int(user) != 0


def test_refused_without_a_socket(monkeypatch: pytest.MonkeyPatch) -> None:
    """Outside of pods that have one, the message says where it would come from."""
    monkeypatch.delenv(SOCKET_VARIABLE, raising=False)

    async def run() -> None:
        async with open_sandbox("Sidecar"):
            pass

    with pytest.raises(UnsupportedHere, match=SOCKET_VARIABLE):
        asyncio.run(run())


def test_one_that_does_not_answer_is_not_a_wrong_answer(tmp_path: Path) -> None:
    """The worker waits for a while, then there is no score."""

    async def run() -> None:
        async with open_sandbox("Sidecar", HostSettings(socket=tmp_path / "none", patience_seconds=0.3)):
            pass

    with pytest.raises(Unscored, match="does not answer"):
        asyncio.run(run())


def test_a_restart_costs_time_only(server: Sidecar) -> None:
    """Executions under way are run again after the container's restart, in a folder without its predecessor's files."""
    waiting = Execution(python="import time; open('f', 'w'); time.sleep(.7); print('done')")

    async def run() -> list[bytes]:
        async with open_sandbox("Sidecar", _settings(server)) as sandbox:
            tasks = [asyncio.create_task(sandbox.run(waiting, LIMITS)) for _ in range(4)]
            await asyncio.sleep(0.4)
            await asyncio.to_thread(server.kill)
            server.start()
            return [(await task).stdout for task in tasks]

    assert asyncio.run(run()) == [b"done\n"] * 4


def test_a_lost_machine_is_not_a_wrong_answer(server: Sidecar) -> None:
    """A command whose machine went with the container is not scored; the next machine is as good as any."""

    async def run() -> bytes:
        async with open_sandbox("Sidecar", _settings(server)) as sandbox:
            async with sandbox.machine(MachineSpec(), LIMITS) as machine:
                command = asyncio.create_task(machine.run(("sleep", MARK)))
                await asyncio.sleep(0.5)
                await asyncio.to_thread(server.kill)
                with pytest.raises(Unscored, match="lost a machine"):
                    await command
                with pytest.raises(Unscored, match="lost a machine"):
                    await machine.run(("true",))
            server.start()
            async with sandbox.machine(MachineSpec(), LIMITS) as machine:
                return (await machine.run(("echo", "on"))).stdout

    assert asyncio.run(run()) == b"on\n"
    assert processes_with(MARK) == []


def test_a_machine_that_is_left_ends_its_command(server: Sidecar) -> None:
    """Whoever stops waiting for a command leaves the machine, and nothing of it is left then."""

    async def run() -> list[int]:
        async with open_sandbox("Sidecar", _settings(server)) as sandbox:
            with pytest.raises(TimeoutError):
                async with sandbox.machine(MachineSpec(), LIMITS) as machine:
                    await asyncio.wait_for(machine.run(("sleep", MARK)), 0.5)
            return processes_with(MARK)

    assert asyncio.run(run()) == []


def test_its_folder_is_its_own(server: Sidecar) -> None:
    """A second server with the same folder would empty it under the first one, and is refused."""
    command = [sys.executable, "-B", "-m", "jail.serve", "--socket", str(server.folder / "other")]
    command += ["--folder", str(server.folder / "fresh")]
    environment = {**os.environ, "PYTHONPATH": str(server.folder / "package")}

    async def wait() -> None:
        async with open_sandbox("Sidecar", _settings(server)):
            pass

    asyncio.run(wait())
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "another server's" in done.stderr


def test_probe(server: Sidecar) -> None:
    """The exit code says whether the server answers: for startup, readiness and liveness."""

    def probe(path: Path) -> int:
        command = [sys.executable, "-B", "-m", "jail.serve", "--probe", "--socket", str(path)]
        environment = {**os.environ, "PYTHONPATH": str(server.folder / "package")}
        return subprocess.run(command, env=environment, capture_output=True, check=False).returncode

    async def wait() -> None:
        async with open_sandbox("Sidecar", _settings(server)):
            pass

    asyncio.run(wait())
    assert probe(server.socket) == 0
    assert probe(server.folder / "none") == 1
