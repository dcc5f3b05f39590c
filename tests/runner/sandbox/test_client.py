"""What belongs to the client: restarts, concurrency, separation of executions, refusal where nothing can be had."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from cycleqd.errors import BadData, Unscored, UnsupportedHere
from cycleqd_runner.sandbox import Execution, HostSandbox, HostSettings, available, open_sandbox
from cycleqd_runner.sandbox.jail.processes import children
from tests.runner.sandbox.variants import LIMITS, NOBODY, Loop, Variant, local_host, opened, processes, processes_with

_MARK = "27182818"
KINDS = (Variant("namespaces", "Namespaces"), Variant("landlock", "Landlock"))


@pytest.fixture(scope="module")
def loop() -> Iterator[Loop]:
    """Return the event loop that the sandboxes of this module live in."""
    loop = Loop()
    yield loop
    loop.close()


@pytest.fixture(scope="module", params=KINDS, ids=lambda kind: kind.id)
def sandbox(
    request: pytest.FixtureRequest, loop: Loop, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[HostSandbox]:
    """Open one sandbox for the tests that leave it usable."""
    try:
        with opened(request.param, loop, tmp_path_factory.mktemp("sandbox"), concurrency=32) as sandbox:
            yield sandbox
    except UnsupportedHere as error:
        pytest.skip(str(error))


@pytest.mark.parametrize(
    ("fields", "word"),
    [
        pytest.param({}, "exactly one", id="nothing"),
        pytest.param({"argv": ("a",), "python": "a"}, "exactly one", id="both"),
        pytest.param({"python": "", "files": {"/etc/x": b""}}, "/etc/x", id="absolute"),
        pytest.param({"python": "", "files": {"a/../../x": b""}}, "a/../../x", id="dots"),
        pytest.param({"python": "", "directories": ("",)}, "''", id="empty"),
        pytest.param({"python": "", "files": {"a\0b": b""}}, "x00", id="nul"),
        pytest.param({"python": "", "executable": ("x",)}, "'x'", id="executable-without-file"),
    ],
)
def test_bad_executions_are_refused(fields: dict[str, object], word: str) -> None:
    """A path that could leave the directory never reaches the host."""
    with pytest.raises(BadData, match=word):
        Execution(**fields)  # type: ignore[arg-type]


def test_thirty_two_at_once(sandbox: HostSandbox, loop: Loop) -> None:
    """All of 32 executions run at the same time, each in a directory of its own."""
    code = "import time, os; open('f', 'x').write('{0}'); time.sleep(1); print(open('f').read(), os.listdir())"

    async def run() -> list[bytes]:
        done = await asyncio.gather(*(sandbox.run(Execution(python=code.format(n)), LIMITS) for n in range(32)))
        return [completed.stdout for completed in done]

    assert loop.run(run()) == [f"{n} ['f']\n".encode() for n in range(32)]


def test_executions_do_not_meet(sandbox: HostSandbox, loop: Loop) -> None:
    """An execution can neither signal another, nor read its directory, nor see it among the processes."""
    victim = Execution(python="import os, time; os.chmod('.', 0o777); print(os.getpid(), os.getcwd()); time.sleep(1.5)")
    spy = (
        "import os, time\n"
        "time.sleep(.5)\n"
        "for pid in {pids}:\n"
        "    try: os.kill(pid, 9); print('killed', pid)\n"
        "    except OSError: pass\n"
        "for slot in range(64):\n"
        "    try: print(os.listdir(f'{folder}/slot-{{slot}}')) if f'{folder}/slot-{{slot}}' != os.getcwd() else 0\n"
        "    except OSError: pass\n"
    )
    # The victim's pid as the machine counts it is one of those below the host.
    folder = local_host(sandbox).folder

    async def run() -> tuple[object, bytes]:
        first = asyncio.create_task(sandbox.run(victim, LIMITS))
        await asyncio.sleep(0.3)
        pids = [pid for pid in processes() if pid > local_host(sandbox).pid]
        second = await sandbox.run(Execution(python=spy.format(pids=pids, folder=folder)), LIMITS)
        return (await first).exit_code, second.stdout

    assert loop.run(run()) == (0, b"")


def test_set_order_is_the_same_in_every_host(loop: Loop, sandbox: HostSandbox, tmp_path: Path) -> None:
    """Two hosts print sets alike, so a score does not depend on the worker."""
    code = Execution(python="print({chr(n) for n in range(97, 120)})")
    with opened(Variant("", "Unsafe"), loop, tmp_path) as other:
        assert loop.run(sandbox.run(code, LIMITS)).stdout == loop.run(other.run(code, LIMITS)).stdout


def test_host_is_restarted_after_its_death(sandbox: HostSandbox, loop: Loop) -> None:
    """A killed host costs nothing but time, also for executions that are under way."""
    old = local_host(sandbox).pid
    waiting = Execution(python="import time; time.sleep(.5); print('done')")

    async def run() -> list[bytes]:
        tasks = [asyncio.create_task(sandbox.run(waiting, LIMITS)) for _ in range(4)]
        await asyncio.sleep(0.2)
        os.kill(old, signal.SIGKILL)
        tasks += [asyncio.create_task(sandbox.run(waiting, LIMITS)) for _ in range(4)]
        return [(await task).stdout for task in tasks]

    assert loop.run(run()) == [b"done\n"] * 8
    assert local_host(sandbox).pid != old


def test_supervisors_death_is_not_an_answer(sandbox: HostSandbox, loop: Loop) -> None:
    """An execution whose supervisor is killed is run again, and the first one's processes are gone."""
    code = Execution(argv=("bash", "-c", f"setsid sleep {_MARK} & sleep 1; echo done"))

    async def run() -> bytes:
        task = asyncio.create_task(sandbox.run(code, LIMITS))
        await asyncio.sleep(0.4)
        for child in children(local_host(sandbox).pid):
            os.kill(child, signal.SIGKILL)
        return (await task).stdout

    assert loop.run(run()) == b"done\n"
    assert processes_with(_MARK) == []


def test_cancelled_execution_is_killed(sandbox: HostSandbox, loop: Loop) -> None:
    """Whoever stops waiting for an execution also ends it."""

    async def run() -> None:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(sandbox.run(Execution(argv=("sleep", _MARK)), LIMITS), 0.3)

    loop.run(run())
    deadline = time.monotonic() + 10
    while processes_with(_MARK) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert processes_with(_MARK) == []


def test_a_sandbox_that_fails_gives_no_score(loop: Loop, tmp_path: Path) -> None:
    """When the host's folder is gone no execution can be set up: Unscored, never a wrong answer."""
    with opened(Variant("", "Unsafe"), loop, tmp_path) as sandbox:
        local_host(sandbox).folder.rmdir()
        with pytest.raises(Unscored, match="failed 3 times"):
            loop.run(sandbox.run(Execution(python="print(1)"), LIMITS))


def test_closed_sandbox_gives_no_score(loop: Loop, tmp_path: Path) -> None:
    """A closed sandbox does not start again."""
    with opened(Variant("", "Unsafe"), loop, tmp_path) as sandbox:
        pass
    with pytest.raises(Unscored, match="closed"):
        loop.run(sandbox.run(Execution(python="print(1)"), LIMITS))


def test_workers_death_ends_everything(tmp_path: Path) -> None:
    """A worker that is killed leaves neither a host nor running code behind."""
    script = (
        "import asyncio, pathlib\n"
        "from cycleqd.api.tasks import SandboxLimits\n"
        "from cycleqd_runner.sandbox import *\n"
        "async def main():\n"
        f"    async with open_sandbox('Unsafe', HostSettings(folder=pathlib.Path({str(tmp_path)!r}))) as sandbox:\n"
        "        print('open', flush=True)\n"
        f"        await sandbox.run(Execution(argv=('sleep', '{_MARK}')), SandboxLimits(timeout_seconds=60))\n"
        "asyncio.run(main())\n"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, env=environment) as worker:
        assert worker.stdout is not None
        assert worker.stdout.readline() == b"open\n"
        deadline = time.monotonic() + 20
        while len(processes_with(_MARK)) < 2 and time.monotonic() < deadline:  # the worker's own command line has it
            time.sleep(0.02)
        worker.kill()
    while processes_with(_MARK) + processes_with(str(tmp_path)) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert processes_with(_MARK) + processes_with(str(tmp_path)) == []


# Takes Landlock and namespaces away from this process and its children, as a kernel or a container would.
_WITHOUT = """
import asyncio, errno, sys
from cycleqd_runner.sandbox import *
from cycleqd_runner.sandbox.jail import linux, seccomp
x86 = linux.MACHINE == "x86_64"
denied = [*seccomp._deny(444, errno.ENOSYS), *seccomp._deny(272 if x86 else 97)]
linux.no_new_privileges()
seccomp.install(b"".join([seccomp._op(0x20, 0), *denied, seccomp._op(0x06, 0x7FFF0000)]))
async def main():
    async with open_sandbox(sys.argv[1]) as sandbox:
        print(sandbox.name)
try:
    asyncio.run(main())
except Exception as error:
    print(type(error).__name__, error)
print(available())
"""


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("Auto", ["UnsupportedHere", "Landlock", "namespaces", "`sandbox: Unsafe`"]),
        ("Namespaces", ["UnsupportedHere", "cannot make namespaces"]),
        ("Landlock", ["UnsupportedHere", "does not offer Landlock"]),
        ("Unsafe", ["Unsafe\n"]),
    ],
)
def test_refusal_where_nothing_can_be_had(kind: str, words: list[str]) -> None:
    """No provider is replaced by a weaker one; the message says what is missing and how to go on without."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(
        [sys.executable, "-c", _WITHOUT, kind], env=environment, capture_output=True, text=True, check=True
    )
    first, _, offered = done.stdout.rpartition("{")
    assert all(word in first for word in words), done.stdout
    assert ("UnsupportedHere" in first) == (kind != "Unsafe")
    assert offered.count("available'") == 1


def test_available_names_every_provider() -> None:
    """The words for ``cycleqd validate``: available, or what is missing."""
    found = available()
    assert list(found) == ["Sidecar", "Namespaces", "Landlock", "Unsafe"]
    assert found["Unsafe"] == "available"


def test_unsafe_root_has_no_machines(loop: Loop, tmp_path: Path) -> None:
    """What code removes as root of a machine would be the worker's own."""
    if os.geteuid() != 0:
        pytest.skip("only root is refused")
    with opened(Variant("", "Unsafe"), loop, tmp_path) as sandbox, pytest.raises(UnsupportedHere, match="root"):
        sandbox.require_machines()


def test_machines_need_signals_that_stay_inside(loop: Loop) -> None:
    """Before Linux 6.12 and without root there are executions, but no machines."""
    variant = Variant("", "Landlock", NOBODY if os.geteuid() == 0 else None, newest_landlock=5)
    with tempfile.TemporaryDirectory(dir="/var/tmp") as name:
        Path(name).chmod(0o711)
        with opened(variant, loop, Path(name)) as sandbox, pytest.raises(UnsupportedHere, match=r"Linux 6\.12"):
            sandbox.require_machines()


def test_auto_is_never_unsafe(loop: Loop) -> None:
    """Auto is one of the two that keep code in, or nothing."""

    async def run() -> str:
        async with open_sandbox("Auto", HostSettings()) as sandbox:
            return sandbox.name

    with contextlib.suppress(UnsupportedHere):
        assert loop.run(run()) in ("Namespaces", "Landlock")
