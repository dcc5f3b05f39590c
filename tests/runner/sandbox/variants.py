"""The providers under test and a worker to attack: what every row of the conformance tables is run against."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
from collections.abc import Coroutine, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TypeVar

from cycleqd.api.tasks import SandboxLimits
from cycleqd_runner.sandbox import HostSandbox, HostSettings, Kind, jail, open_sandbox
from cycleqd_runner.sandbox.hosts import LocalHost
from cycleqd_runner.sandbox.jail.processes import descendants
from tests.runner.sandbox.behaviours import Behaviour
from tests.runner.sandbox.machine_behaviours import MachineBehaviour

_Result = TypeVar("_Result")
NOBODY = 65534
_OTHER = 65533
"""User of the sidecar."""

LIMITS = SandboxLimits(timeout_seconds=120, memory_mebibytes=256, processes=24, output_kibibytes=64, files_mebibytes=4)
"""Of rows that name no others. Time is ample: a busy machine is not what they are about."""


@dataclass(frozen=True)
class Variant:
    """A provider and the circumstances it runs in."""

    id: str
    kind: Kind
    user: int | None = None
    newest_landlock: int = 99
    aims_at_own_user: bool = False
    """Whether the process that is attacked is of the user that code runs as."""

    @property
    def confined(self) -> bool:
        """Whether the provider promises more than limits."""
        return self.kind != "Unsafe"

    @property
    def signals(self) -> bool:
        """Whether code may send signals to its own processes."""
        return self.newest_landlock >= 6

    def can_be_asked(self, behaviour: Behaviour | MachineBehaviour) -> bool:
        """Whether the row is about something that this provider promises."""
        return (self.signals or not behaviour.needs_signals) and (self.confined or not behaviour.needs_confinement)

    @property
    def own_pids(self) -> bool:
        """Whether code sees no processes but its own, also in machines."""
        return self.kind == "Namespaces"


VARIANTS = (
    Variant("namespaces", "Namespaces"),
    Variant("namespaces-unprivileged", "Namespaces", NOBODY),
    Variant("landlock", "Landlock"),
    Variant("landlock-unprivileged", "Landlock", NOBODY),
    Variant("landlock-of-linux-5.13-unprivileged", "Landlock", NOBODY, newest_landlock=1),
    Variant("sidecar", "Sidecar"),
    Variant("unsafe", "Unsafe"),
)


class Loop:
    """An event loop in a thread, so that one sandbox serves many tests."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever)
        self._thread.start()

    def run(self, work: Coroutine[object, object, _Result]) -> _Result:
        """Run a coroutine to its end."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(timeout=300)

    def close(self) -> None:
        """End the loop and its thread."""
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


@dataclass
class Worker:
    """The process that the code must not reach, with something of each kind to find."""

    folder: Path
    secret: bytes
    facts: dict[str, object] = field(default_factory=dict)


@contextlib.contextmanager
def attackable_worker(top: str = "/var/tmp") -> Iterator[Worker]:
    """Open sockets and, in a folder below ``top``, files that everybody on the machine may use, unless kept in."""
    secret = b"secret-of-the-worker-" + os.urandom(8).hex().encode()
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="cycleqd-worker-", dir=top)))
        folder.chmod(0o777)
        (folder / "file").write_bytes(secret)
        (folder / "file").chmod(0o666)
        if os.geteuid() == 0:
            os.chown(folder / "file", NOBODY, NOBODY)
        tcp = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        udp = stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
        udp.bind(("127.0.0.1", 0))
        path = stack.enter_context(socket.socket(socket.AF_UNIX))
        path.bind(str(folder / "socket"))
        (folder / "socket").chmod(0o777)
        path.listen()
        abstract = stack.enter_context(socket.socket(socket.AF_UNIX))
        abstract.bind(b"\0" + secret)
        abstract.listen()
        os.environ["CYCLEQD_TEST_TOKEN"] = secret.decode()
        stack.callback(os.environ.pop, "CYCLEQD_TEST_TOKEN")
        facts = {
            "folder": str(folder),
            "file": str(folder / "file"),
            "socket": str(folder / "socket"),
            "abstract": secret.decode(),
            "tcp": tcp.getsockname()[1],
            "udp": udp.getsockname()[1],
            "worker": os.getpid(),
        }
        yield Worker(folder, secret, facts)


@contextlib.contextmanager
def opened(variant: Variant, loop: Loop, folder: Path, concurrency: int | None = None) -> Iterator[HostSandbox]:
    """Open a variant's sandbox with its temporary folder in ``folder``."""
    settings = HostSettings(
        folder=folder, user=variant.user, newest_landlock=variant.newest_landlock, concurrency=concurrency
    )
    with contextlib.ExitStack() as stack:
        if variant.kind == "Sidecar":
            settings = replace(settings, socket=stack.enter_context(sidecar(folder)).socket)
        manager = open_sandbox(variant.kind, settings)
        sandbox = loop.run(manager.__aenter__())
        try:
            yield sandbox
        finally:
            loop.run(manager.__aexit__(None, None, None))


@dataclass
class Sidecar:
    """A server of the sandbox, as in a container of its own: another user, no capabilities, no environment."""

    folder: Path
    process: subprocess.Popen[bytes] | None = None

    @property
    def socket(self) -> Path:
        """Where it listens."""
        return self.folder / "socket" / "socket"

    def start(self) -> None:
        """Start it. Its client waits until it answers."""
        package = self.folder / "package" / "jail"
        command = ["/usr/bin/python3", "-B", "-m", "jail.serve", "--kind", "Landlock", "--socket", str(self.socket)]
        command += ["--folder", str(self.folder / "fresh")]
        if os.geteuid() == 0:
            command = ["setpriv", f"--reuid={_OTHER}", f"--regid={_OTHER}", "--clear-groups", "--no-new-privs",
                       "--bounding-set=-all", "--inh-caps=-all", *command]  # fmt: skip
        environment = {"PATH": "/usr/bin:/bin", "PYTHONPATH": str(package.parent), "TMPDIR": str(self.folder / "fresh")}
        self.process = subprocess.Popen(command, env=environment, cwd="/")

    def kill(self) -> None:
        """Kill all of it, as the end of its container does."""
        assert self.process is not None
        for pid in (*descendants(self.process.pid), self.process.pid):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.process.wait()


@contextlib.contextmanager
def sidecar(folder: Path) -> Iterator[Sidecar]:
    """Start a server below ``folder``; at its end it must have left no file."""
    top = folder / "sidecar"
    for path in (top, top / "socket", top / "fresh"):
        path.mkdir()
        path.chmod(0o711)
        if os.geteuid() == 0 and path != top:
            os.chown(path, _OTHER, _OTHER)
    shutil.copytree(Path(jail.__file__).parent, top / "package" / "jail")
    server = Sidecar(top)
    server.start()
    try:
        yield server
    finally:
        assert server.process is not None
        server.process.terminate()
        server.process.wait()
        assert list((top / "fresh").iterdir()) == []
        shutil.rmtree(top)


def local_host(sandbox: HostSandbox) -> LocalHost:
    """Return the host of a sandbox that has one of its own."""
    assert isinstance(sandbox.host, LocalHost)
    return sandbox.host


def processes() -> list[int]:
    """Return all processes of the machine."""
    return [int(path.name) for path in Path("/proc").iterdir() if path.name.isdigit()]


def processes_with(text: str) -> list[int]:
    """Return the processes whose command line contains a text."""
    found = []
    for pid in processes():
        with contextlib.suppress(OSError):
            if text.encode() in Path(f"/proc/{pid}/cmdline").read_bytes() and pid != os.getpid():
                found.append(pid)
    return found
