"""The worker's side of the sandbox: starts the host process, sends executions, restarts the host when it dies.

How code is kept in is the business of the host's providers (``jail/``); this module is all that talks to them.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

from cycleqd.api.tasks import SandboxLimits
from cycleqd.errors import Unscored, UnsupportedHere
from cycleqd_runner.sandbox.interface import Completed, Entry, Execution, Kind
from cycleqd_runner.sandbox.jail import wire
from cycleqd_runner.sandbox.jail.tree import remove

_START_SECONDS = 60.0
_GRACE_SECONDS = 60.0
"""Beyond an execution's own time-out, before its host is taken for dead; killing and collecting take time too."""
_TRIES = 3
_CHUNK = 1 << 20
_START_HOST = "import sys; sys.path.insert(0, sys.argv.pop()); from jail.host import main; main()"


@dataclass(frozen=True)
class HostSettings:
    """How the host is started. The defaults are right for every worker."""

    folder: Path | None = None
    """Where the host's temporary folder is made; None: the system's default."""
    user: int | None = None
    """User that the host becomes first (a worker that is root can give that up); None: the worker's."""
    newest_landlock: int = 99
    """Newest version of Landlock's interface to use; lower ones imitate older kernels."""
    concurrency: int | None = None
    """Executions at one time; None: number of CPUs + 2. At most 64."""


class _HostDiedError(Exception):
    """The host or a supervisor went away without an answer."""


class _Host:
    """One host process and its control socket."""

    def __init__(self, kind: str, settings: HostSettings) -> None:
        """Start a host and wait until it is ready. Raises UnsupportedHere or Unscored."""
        self.root = Path(tempfile.mkdtemp(prefix="cycleqd-sandbox-", dir=settings.folder))
        self.root.chmod(0o711)  # the users of the slots pass through
        self.control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        options = {"kind": kind, "root": str(self.root), "user": settings.user}
        options["newest_landlock"] = settings.newest_landlock
        command = [sys.executable, "-s", "-S", "-P", "-B", "-c", _START_HOST, str(theirs.fileno()), json.dumps(options)]
        try:
            self.process = subprocess.Popen(
                [*command, str(Path(__file__).parent)],
                env={"PYTHONHASHSEED": "0", "LANG": "C.UTF-8"},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                pass_fds=[theirs.fileno()],
                cwd="/",
                start_new_session=True,
            )
        except OSError as error:
            self.control.close()
            remove(str(self.root))
            raise Unscored(f"the sandbox's host process could not be started ({error}); try again") from error
        finally:
            theirs.close()
        self._wait_until_ready(kind)

    def _wait_until_ready(self, kind: str) -> None:
        self.control.settimeout(_START_SECONDS)
        ready = wire.Assembler()
        with contextlib.suppress(OSError):
            ready.feed(self.control.recv(_CHUNK))
        if ready.missing():
            self.close()
            raise Unscored("the sandbox's host process ended or hung before it was ready; see its messages, try again")
        header, _ = ready.message()
        if "missing" in header:
            self.close()
            raise UnsupportedHere(f"sandbox {kind} is not to be had: {header['missing']}")
        self.control.setblocking(False)

    def close(self) -> None:
        """End the host, its supervisors and their code, and remove its folder. Can be called twice."""
        self.control.close()
        try:
            self.process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        with contextlib.suppress(OSError):
            remove(str(self.root))
        shutil.rmtree(self.root, ignore_errors=True)  # what a dying supervisor may have been removing at the same time

    async def ask(self, request: bytes, seconds: float) -> tuple[wire.Header, list[bytes]]:
        """Send one request and return its answer. Raises _HostDiedError."""
        loop = asyncio.get_running_loop()
        ours, theirs = socket.socketpair()
        with ours:
            with theirs:
                try:
                    socket.send_fds(self.control, [b"x"], [theirs.fileno()])
                except OSError as error:
                    raise _HostDiedError(str(error)) from error
            ours.setblocking(False)
            answer = wire.Assembler()
            try:
                async with asyncio.timeout(seconds):
                    await loop.sock_sendall(ours, request)
                    while missing := answer.missing():
                        data = await loop.sock_recv(ours, min(missing, _CHUNK))
                        if not data:
                            raise _HostDiedError("it ended without an answer")
                        answer.feed(data)
            except (OSError, TimeoutError) as error:
                raise _HostDiedError(str(error) or "it did not answer in time") from error
        return answer.message()


class HostSandbox:
    """The sandbox of :class:`~cycleqd_runner.sandbox.interface.Sandbox` on this machine."""

    def __init__(self, kind: str, settings: HostSettings) -> None:
        """Start the host. Raises UnsupportedHere, Unscored."""
        self._kind = kind
        self._settings = settings
        self._host = _Host(kind, settings)
        self._at_once = asyncio.Semaphore(min(settings.concurrency or (os.cpu_count() or 1) + 2, 64))
        self._restarting = asyncio.Lock()
        self._closed = False

    @property
    def name(self) -> str:
        """See Sandbox."""
        return self._kind

    @property
    def host_pid(self) -> int:
        """Process that the executions are forked from."""
        return self._host.process.pid

    @property
    def host_folder(self) -> Path:
        """Temporary folder of the host."""
        return self._host.root

    async def run(self, execution: Execution, limits: SandboxLimits) -> Completed:
        """See Sandbox."""
        names = list(execution.files)
        header = {
            "argv": execution.argv,
            "python": execution.python,
            "files": names,
            "directories": execution.directories,
            "executable": execution.executable,
            "collect": execution.collect,
            "limits": _limits(limits),
        }
        request = wire.pack(header, [*(execution.files[name] for name in names), execution.stdin])
        reason = ""
        async with self._at_once:
            for _ in range(_TRIES):
                if self._closed:
                    raise Unscored("the sandbox was closed before the item was run; open it again")
                host = self._host
                try:
                    answer, blobs = await host.ask(request, limits.timeout_seconds + _GRACE_SECONDS)
                except _HostDiedError as error:
                    reason = str(error)
                    await self._restart(host)
                    continue
                if "error" not in answer:
                    return _completed(answer, blobs, collected=execution.collect)
                reason = answer["error"]
        raise Unscored(f"the sandbox failed {_TRIES} times to run an item ({reason}); nothing is wrong with the answer")

    async def _restart(self, dead: _Host) -> None:
        """Replace a host, once, however many executions noticed; one whose supervisor alone died is kept."""
        async with self._restarting:
            if self._host is not dead or self._closed:
                return
            await asyncio.sleep(0.01)  # a dying host needs a moment to be seen as dead
            if dead.process.poll() is not None:
                await asyncio.to_thread(dead.close)
                self._host = await asyncio.to_thread(_Host, self._kind, self._settings)

    async def close(self) -> None:
        """See Sandbox."""
        self._closed = True
        async with self._restarting:
            await asyncio.to_thread(self._host.close)


def _limits(limits: SandboxLimits) -> dict[str, int]:
    # Spelled out: the host must not depend on how the manifest names its fields.
    return {
        "timeout_seconds": limits.timeout_seconds,
        "memory_mebibytes": limits.memory_mebibytes,
        "processes": limits.processes,
        "output_kibibytes": limits.output_kibibytes,
        "files_mebibytes": limits.files_mebibytes,
    }


def _completed(answer: wire.Header, blobs: list[bytes], *, collected: bool) -> Completed:
    contents = iter(blobs[2:])
    tree = {
        path: Entry(kind=kind, mode=mode, target=target, content=next(contents))
        for path, kind, mode, target in answer["tree"]
    }
    return Completed(
        exit_code=answer["exit_code"],
        stdout=blobs[0],
        stderr=blobs[1],
        timed_out=answer["timed_out"],
        limit=answer["limit"],
        tree=tree if collected else None,
        seconds=answer["seconds"],
    )


def _start(kind: Kind, settings: HostSettings) -> HostSandbox:
    if kind != "Auto":
        return HostSandbox(kind, settings)
    reasons = []
    for candidate in ("Namespaces", "Landlock"):
        try:
            return HostSandbox(candidate, settings)
        except UnsupportedHere as error:
            reasons.append(str(error))
    raise UnsupportedHere(
        f"no sandbox for model-written code on this machine ({'; '.join(reasons)}); "
        "run where one is to be had, or set `sandbox: Unsafe` in the manifest to run such code without one"
    )


@contextlib.asynccontextmanager
async def open_sandbox(kind: Kind = "Auto", settings: HostSettings | None = None) -> AsyncIterator[HostSandbox]:
    """Open a sandbox for a worker, for as long as the context lasts.

    Raises UnsupportedHere if the machine lacks what ``kind`` needs; nothing weaker is used in its place.
    """
    sandbox = await asyncio.to_thread(_start, kind, settings or HostSettings())
    try:
        yield sandbox
    finally:
        await sandbox.close()


def available() -> dict[str, str]:
    """Try each provider and return, by its name, that it is there or what is missing, for ``cycleqd validate``."""
    found = {}
    for kind in ("Namespaces", "Landlock", "Unsafe"):
        try:
            _Host(kind, HostSettings()).close()
        except (UnsupportedHere, Unscored) as error:
            found[kind] = str(error)
        else:
            found[kind] = "available"
    return found
