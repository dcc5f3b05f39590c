"""Machines of every provider: what code may rely on over several commands, and that attempts to reach out fail."""

from __future__ import annotations

import asyncio
import contextlib
import os
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from cycleqd.errors import BadData, UnsupportedHere
from cycleqd_runner.sandbox import Completed, HostSandbox, MachineSpec
from tests.runner.sandbox.attacks import Attack
from tests.runner.sandbox.behaviours import MARK
from tests.runner.sandbox.machine_behaviours import MACHINE_BEHAVIOURS, MachineBehaviour
from tests.runner.sandbox.rows import ATTACKS_FROM_MACHINES, KEPT_IN, can_be_asked_of_machines, run_machines
from tests.runner.sandbox.variants import (
    LIMITS,
    NOBODY,
    VARIANTS,
    Loop,
    Variant,
    attackable_worker,
    opened,
    processes_with,
)

pytestmark = pytest.mark.long

# Nothing but PRoot keeps code in under Unsafe, so it runs there as a user to whom nothing of the machine belongs.
_VARIANTS = (*(v for v in VARIANTS if v.confined), Variant("unsafe-unprivileged", "Unsafe", NOBODY))


@dataclass
class Suite:
    """All results of one provider's machines, and what was left when they were closed."""

    variant: Variant
    results: dict[str, list[Completed]]
    marked: list[int]
    mounts: list[str]
    left: list[str]
    secret_after: bool


def _mounts_of(name: str) -> list[str]:
    """Return mounts below a folder, as any process of the machine sees them."""
    found = []
    for path in Path("/proc").glob("[0-9]*/mountinfo"):
        with contextlib.suppress(OSError):
            found += [line for line in path.read_text().splitlines() if name in line]
    return found


@pytest.fixture(scope="module", params=_VARIANTS, ids=lambda variant: variant.id)
def suite(request: pytest.FixtureRequest) -> Iterator[Suite]:
    """Run all rows in machines of one provider and close it."""
    variant: Variant = request.param
    if variant.user is not None and os.geteuid() != 0:
        pytest.skip("only root can start a host as somebody else")
    loop = Loop()
    try:
        with (
            tempfile.TemporaryDirectory(prefix="cycleqd-suite-", dir="/dev/shm") as name,
            attackable_worker() as worker,
        ):
            folder = Path(name)
            folder.chmod(0o711)
            try:
                with opened(variant, loop, folder, concurrency=6) as sandbox:
                    sandbox.require_machines()
                    worker.facts["host"] = sandbox.host.pid
                    results = loop.run(run_machines(sandbox, variant, worker.facts))
                    marked = processes_with(MARK)
            except UnsupportedHere as error:
                pytest.skip(str(error))
            untouched = (worker.folder / "file").read_bytes() == worker.secret
            left = [*map(str, folder.iterdir()), *map(str, processes_with(str(folder)))]
            yield Suite(variant, results, marked, _mounts_of(name), left, untouched)
    finally:
        loop.close()


@pytest.mark.parametrize("behaviour", MACHINE_BEHAVIOURS, ids=lambda row: row.id)
def test_machine(suite: Suite, behaviour: MachineBehaviour) -> None:
    """Ordinary commands work, the machine lives over them, limits hold: the same under every provider."""
    done = suite.results[behaviour.id]
    assert behaviour.expected(done), done


@pytest.mark.parametrize("attack", ATTACKS_FROM_MACHINES, ids=lambda row: row.id)
def test_attack_from_a_machine(suite: Suite, attack: Attack) -> None:
    """Root of a machine reaches no more than other code; and without a sandbox what PRoot does not hide is reached."""
    if not can_be_asked_of_machines(suite.variant, attack):
        return
    (done,) = suite.results["attack-" + attack.id]
    if suite.variant.confined:
        assert done.stdout == KEPT_IN, done
    elif attack.reaches_past_proot:
        assert b"REACHED" in done.stdout, done


def test_nothing_is_left(suite: Suite) -> None:
    """Neither processes nor mounts nor files, and the worker's file is as it was."""
    assert suite.marked == []
    assert suite.mounts == []
    assert suite.left == []
    assert suite.secret_after


@pytest.mark.parametrize("path", ["relative", "/a/../b", "//a", "/", "/a\0b", "/a/"])
def test_bad_paths_are_refused(path: str) -> None:
    """A path that could leave the machine never reaches the host."""
    with pytest.raises(BadData, match="absolute and plain"):
        MachineSpec(files={path: b""})


@pytest.mark.parametrize("variant", [v for v in VARIANTS if v.id in ("namespaces", "landlock", "sidecar")], ids=str)
def test_machines_do_not_meet(variant: Variant, tmp_path: Path) -> None:
    """Forty machines live at one time, each with files of its own."""
    loop = Loop()

    async def one(sandbox: HostSandbox, number: int, ready: asyncio.Barrier) -> bytes:
        async with sandbox.machine(MachineSpec(), LIMITS) as machine:
            await machine.run(("bash", "-c", f"echo {number} > /root/f; echo {number} > /tmp/f"))
            await ready.wait()
            return (await machine.run(("bash", "-c", "cat /root/f /tmp/f"))).stdout

    async def run(sandbox: HostSandbox) -> list[bytes]:
        ready = asyncio.Barrier(40)
        return await asyncio.gather(*(one(sandbox, number, ready) for number in range(40)))

    with tempfile.TemporaryDirectory(dir="/dev/shm") as name:
        Path(name).chmod(0o711)
        with opened(variant, loop, Path(name)) as sandbox:
            assert loop.run(run(sandbox)) == [f"{number}\n{number}\n".encode() for number in range(40)]
    loop.close()
