"""The providers under test and a worker to attack: what every row of the conformance tables is run against."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import tempfile
import threading
from collections.abc import Coroutine, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from cycleqd.api.tasks import SandboxLimits
from cycleqd_runner.sandbox import HostSandbox, HostSettings, Kind, open_sandbox
from cycleqd_runner.sandbox.hosts import LocalHost
from tests.runner.sandbox.behaviours import Behaviour

_Result = TypeVar("_Result")
NOBODY = 65534

LIMITS = SandboxLimits(timeout_seconds=30, memory_mebibytes=256, processes=24, output_kibibytes=64, files_mebibytes=4)


@dataclass(frozen=True)
class Variant:
    """A provider and the circumstances it runs in."""

    id: str
    kind: Kind
    user: int | None = None
    newest_landlock: int = 99

    @property
    def confined(self) -> bool:
        """Whether the provider promises more than limits."""
        return self.kind != "Unsafe"

    @property
    def signals(self) -> bool:
        """Whether code may send signals to its own processes."""
        return self.newest_landlock >= 6

    def can_be_asked(self, behaviour: Behaviour) -> bool:
        """Whether the row is about something that this provider promises."""
        return (self.signals or not behaviour.needs_signals) and (self.confined or not behaviour.needs_confinement)


VARIANTS = (
    Variant("namespaces", "Namespaces"),
    Variant("namespaces-unprivileged", "Namespaces", NOBODY),
    Variant("landlock", "Landlock"),
    Variant("landlock-unprivileged", "Landlock", NOBODY),
    Variant("landlock-of-linux-5.13-unprivileged", "Landlock", NOBODY, newest_landlock=1),
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
def attackable_worker() -> Iterator[Worker]:
    """Open sockets and files that everybody on the machine may use, unless kept in."""
    secret = b"secret-of-the-worker-" + os.urandom(8).hex().encode()
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="cycleqd-worker-", dir="/var/tmp")))
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
    manager = open_sandbox(variant.kind, settings)
    sandbox = loop.run(manager.__aenter__())
    try:
        yield sandbox
    finally:
        loop.run(manager.__aexit__(None, None, None))


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
