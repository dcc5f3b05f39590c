"""The worker's side of the sandbox: sends executions and commands to a host, and replaces one that dies.

How code is kept in is the business of the host's providers (``jail/``), where the host is that of ``hosts``.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from collections.abc import AsyncIterator, Sequence

from cycleqd.api.tasks import SandboxLimits
from cycleqd.errors import Unscored, UnsupportedHere
from cycleqd_runner.sandbox.hosts import SOCKET_VARIABLE, HostDiedError, HostSettings, start_host
from cycleqd_runner.sandbox.interface import Completed, Entry, Execution, Kind, MachineSpec
from cycleqd_runner.sandbox.jail import wire

_GRACE_SECONDS = 60.0
"""Beyond an execution's own time-out, before its host is taken for dead; killing and collecting take time too."""
_TRIES = 3
_CHUNK = 1 << 20
_MACHINES = 128
"""Machines at one time; the host has places for them and for executions besides."""

Answer = tuple[wire.Header, list[bytes]]


class HostMachine:
    """A machine of :class:`~cycleqd_runner.sandbox.interface.Machine`: one connection to the host."""

    def __init__(self, connection: socket.socket, limits: SandboxLimits, at_once: asyncio.Semaphore) -> None:
        self._connection = connection
        self._limits = limits
        self._at_once = at_once
        self._one_after_the_other = asyncio.Lock()

    async def run(self, argv: Sequence[str], *, stdin: bytes = b"", timeout_seconds: float | None = None) -> Completed:
        """See Machine."""
        seconds = timeout_seconds or self._limits.timeout_seconds
        request = wire.pack({"argv": list(argv), "timeout_seconds": seconds}, [stdin])
        async with self._one_after_the_other, self._at_once:
            try:
                answer, blobs = await _ask(self._connection, request, seconds + _GRACE_SECONDS)
            except BaseException as error:
                # A late answer must not be taken for that of the next command. Not closed: leaving waits for the end.
                with contextlib.suppress(OSError):
                    self._connection.shutdown(socket.SHUT_WR)
                if isinstance(error, HostDiedError):
                    raise Unscored(f"the sandbox lost a machine ({error}); nothing is wrong with the answer") from error
                raise
        if "error" in answer:
            raise Unscored(f"the sandbox failed to run a command ({answer['error']}); nothing is wrong with the answer")
        return _completed(answer, blobs, collected=False)


class HostSandbox:
    """The sandbox of :class:`~cycleqd_runner.sandbox.interface.Sandbox` on this machine."""

    def __init__(self, kind: str, settings: HostSettings) -> None:
        """Start or find the host. Raises UnsupportedHere, Unscored."""
        self._kind = kind
        self._settings = settings
        self.host = start_host(kind, settings)
        self._at_once = asyncio.Semaphore(min(settings.concurrency or (os.cpu_count() or 1) + 2, 64))
        self._machines = asyncio.Semaphore(_MACHINES)
        self._restarting = asyncio.Lock()
        self._closed = False

    @property
    def name(self) -> str:
        """See Sandbox."""
        return self._kind

    def require_machines(self) -> None:
        """See Sandbox."""
        if self.host.no_machines:
            raise UnsupportedHere(f"sandbox {self._kind} has no machines: {self.host.no_machines}")

    async def run(self, execution: Execution, limits: SandboxLimits) -> Completed:
        """See Sandbox."""
        names = list(execution.files)
        header = {
            "do": "execute",
            "argv": execution.argv,
            "python": execution.python,
            "files": names,
            "directories": execution.directories,
            "executable": execution.executable,
            "collect": execution.collect,
            "limits": _limits(limits),
        }
        request = wire.pack(header, [*(execution.files[name] for name in names), execution.stdin])
        async with self._at_once:
            connection, (answer, blobs) = await self._begin(request, limits.timeout_seconds + _GRACE_SECONDS)
        connection.close()
        return _completed(answer, blobs, collected=execution.collect)

    @contextlib.asynccontextmanager
    async def machine(self, spec: MachineSpec, limits: SandboxLimits) -> AsyncIterator[HostMachine]:
        """See Sandbox."""
        self.require_machines()
        names = list(spec.files)
        header = {"do": "machine", "files": names, "executable": spec.executable, "limits": _limits(limits)}
        request = wire.pack(header, [spec.files[name] for name in names])
        async with self._machines:
            async with self._at_once:
                connection, _ = await self._begin(request, _GRACE_SECONDS)
            try:
                yield HostMachine(connection, limits, self._at_once)
            finally:
                await asyncio.shield(_hang_up(connection))

    async def _begin(self, request: bytes, seconds: float) -> tuple[socket.socket, Answer]:
        """Send a first request, several times if need be; return the connection and the answer. Raises Unscored."""
        reason = ""
        for _ in range(_TRIES):
            if self._closed:
                raise Unscored("the sandbox was closed before the item was run; open it again")
            host = self.host
            try:
                connection = host.connect()
                try:
                    answer = await _ask(connection, request, seconds)
                except BaseException:
                    connection.close()
                    raise
            except HostDiedError as error:
                reason = str(error)
                await self._restart(host)
                continue
            if "error" not in answer[0]:
                return connection, answer
            connection.close()
            reason = answer[0]["error"]
        raise Unscored(f"the sandbox failed {_TRIES} times to run an item ({reason}); nothing is wrong with the answer")

    async def _restart(self, dead: object) -> None:
        """Replace a host, once, however many executions noticed; one whose supervisor alone died is kept."""
        async with self._restarting:
            if self.host is not dead or self._closed:
                return
            await asyncio.sleep(0.01)  # a dying host needs a moment to be seen as dead
            if await asyncio.to_thread(self.host.is_dead):
                await asyncio.to_thread(self.host.close)
                self.host = await asyncio.to_thread(start_host, self._kind, self._settings)

    async def close(self) -> None:
        """See Sandbox."""
        self._closed = True
        async with self._restarting:
            await asyncio.to_thread(self.host.close)


async def _ask(connection: socket.socket, request: bytes, seconds: float) -> Answer:
    """Send one request and return its answer. Raises HostDiedError."""
    loop = asyncio.get_running_loop()
    answer = wire.Assembler()
    try:
        async with asyncio.timeout(seconds):
            await loop.sock_sendall(connection, request)
            while missing := answer.missing():
                data = await loop.sock_recv(connection, min(missing, _CHUNK))
                if not data:
                    raise HostDiedError("it ended without an answer")
                answer.feed(data)
    except (OSError, TimeoutError) as error:
        raise HostDiedError(str(error) or "it did not answer in time") from error
    return answer.message()


async def _hang_up(connection: socket.socket) -> None:
    """Say that no more comes and wait for the other side's end, which is when nothing of the machine is left."""
    with connection, contextlib.suppress(OSError, TimeoutError):
        connection.shutdown(socket.SHUT_WR)
        async with asyncio.timeout(_GRACE_SECONDS):
            while await asyncio.get_running_loop().sock_recv(connection, _CHUNK):
                pass


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


def candidates(kind: Kind) -> tuple[str, ...]:
    """Return the providers to try for ``kind``, in order. Auto takes nothing but the sidecar where there is one."""
    if kind != "Auto":
        return (kind,)
    return ("Sidecar",) if os.environ.get(SOCKET_VARIABLE) else ("Namespaces", "Landlock")


def _start(kind: Kind, settings: HostSettings) -> HostSandbox:
    reasons = []
    for candidate in candidates(kind):
        try:
            return HostSandbox(candidate, settings)
        except UnsupportedHere as error:
            if kind != "Auto":
                raise
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
    for kind in ("Sidecar", "Namespaces", "Landlock", "Unsafe"):
        try:
            start_host(kind, HostSettings()).close()
        except (UnsupportedHere, Unscored) as error:
            found[kind] = str(error)
        else:
            found[kind] = "available"
    return found
