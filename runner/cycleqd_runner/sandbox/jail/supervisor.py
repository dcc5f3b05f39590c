"""One execution from outside: set up, start, have it watched, kill all of it, collect. One process for each.

The supervisor is trusted and has the host's privileges; it reads nothing that code made before the code is dead.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import time
from typing import NoReturn

from . import linux, processes, tree, wire
from .machine import Machine
from .payload import Code, Job, Limits, mapped_bytes, start
from .providers import Unsafe
from .watch import Stream, Watch, too_many_files

_REQUEST_SECONDS = 60
_CHUNK = 1 << 20
_MEBIBYTE = 1 << 20
_LIMIT_OF_SIGNAL = {-signal.SIGXFSZ: "files", -signal.SIGXCPU: "time"}


class SetupError(Exception):
    """The code could not be started, so there is nothing to judge."""


def supervise(provider: Unsafe, slot: int, client: socket.socket) -> None:
    """Serve the one request on ``client``: run it, answer it, leave nothing behind."""
    client.settimeout(_REQUEST_SECONDS)
    request = wire.receive(client)
    if request is None:
        return
    header, blobs = request
    try:
        linux.become_subreaper()
        answer = _SERVICES[header["do"]](provider, slot, client, header, blobs)
    except Exception as error:  # noqa: BLE001 - sent to the worker, which tries again, then reports "not scored"
        answer = wire.pack({"error": f"{type(error).__name__}: {error}"})
    finally:
        provider.leave(slot)
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):
        client.sendall(answer)


def _keep_machine(
    provider: Unsafe, slot: int, client: socket.socket, header: wire.Header, contents: list[bytes]
) -> bytes:
    """Serve a machine's commands until the client's end, which the last answer tells nobody."""
    machine = Machine(provider, slot, header, contents)
    try:
        client.sendall(wire.pack({}))
        while machine.wait_for(client) and (request := wire.receive(client)) is not None:
            client.sendall(machine.run(request[0], request[1][0], client))
    finally:
        machine.close()
    return b""


def _run(provider: Unsafe, slot: int, client: socket.socket, header: wire.Header, blobs: list[bytes]) -> bytes:
    """Return the answer to a request."""
    limits = Limits(**header["limits"])
    directory = provider.enter(slot, limits.files_mebibytes, tree.MAX_ENTRIES)
    *contents, stdin = blobs
    files = zip(header["files"], contents, strict=True)
    tree.write(directory, files, header["directories"], header["executable"], provider.owner(slot))
    code = Code(header["argv"], header["python"], mapped_bytes())
    job = Job(provider, slot, directory, tree.Meter(directory), code, limits)
    begun = time.monotonic()
    execution = _Execution(job, client)
    execution.run(stdin)
    seconds = time.monotonic() - begun
    limit = execution.limit or ("files" if too_many_files(job) else None)
    entries: list[tree.Entry] = []
    if header["collect"]:
        entries, complete = tree.collect(directory, limits.files_mebibytes * _MEBIBYTE)
        limit = limit or (None if complete else "files")
    answer = {
        "exit_code": execution.exit_code,
        "timed_out": limit == "time",
        "limit": limit,
        "seconds": seconds,
        "tree": [entry[:4] for entry in entries],
    }
    outputs = [bytes(stream.data[: stream.limit]) for stream in execution.outputs]
    return wire.pack(answer, [*outputs, *(entry[4] for entry in entries)])


def _greet(
    provider: Unsafe,
    slot: int,  # noqa: ARG001 - as all services
    client: socket.socket,  # noqa: ARG001
    header: wire.Header,  # noqa: ARG001
    blobs: list[bytes],  # noqa: ARG001
) -> bytes:
    """Tell a worker that has connected what it has connected to."""
    return wire.pack({"kind": provider.name, "no_machines": provider.no_machines, "pid": os.getppid()})


_SERVICES = {"execute": _run, "machine": _keep_machine, "greet": _greet}


class _Execution:
    """The processes of one execution, from the first fork to the last kill."""

    def __init__(self, job: Job, client: socket.socket) -> None:
        self.job = job
        self.client = client
        self.limit: str | None = None
        self.exit_code: int | None = None
        """Of the code's first process; negative for a signal, None if it was killed for a limit."""
        cut = job.limits.output_kibibytes * 1024
        self._out, self._err, self._setup = os.pipe(), os.pipe(), os.pipe()
        self.outputs = (Stream(self._out[0], cut), Stream(self._err[0], cut))

    def run(self, stdin: bytes) -> None:
        """Run the code to its end and kill what is left of it. Raises SetupError."""
        reader, writer = os.pipe() if stdin else (os.open("/dev/null", os.O_RDONLY), None)
        leader = os.fork()
        if leader == 0:
            self._become_the_code(reader)
        for descriptor in (self._out[1], self._err[1], self._setup[1], reader):
            os.close(descriptor)
        for stream in self.outputs:
            os.set_blocking(stream.descriptor, False)
        try:
            watch = Watch(self.job, os.pidfd_open(leader), self.outputs, self.client)
            if writer is not None:
                watch.feed(writer, stdin)
            watch.until_the_end()
        finally:
            status = self._kill(leader)
        self._conclude(watch.limit, status)

    def _become_the_code(self, stdin: int) -> NoReturn:
        for source, target in ((stdin, 0), (self._out[1], 1), (self._err[1], 2)):
            os.dup2(source, target)
        if self.job.provider.own_pids:
            _init(self.job, self._setup[1])
        start(self.job, self._setup[1])

    def _kill(self, leader: int) -> int:
        """Kill the leader and all that descends from it; return the leader's wait status."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(leader, signal.SIGKILL)  # no effect on one that has ended: it is not reaped yet
        _, status = os.waitpid(leader, 0)
        if not self.job.provider.own_pids:  # else the kernel has killed and reaped the whole namespace
            processes.kill_and_reap(self.job.provider.owner(self.job.slot))
        return status

    def _conclude(self, stopped_by: str | None, status: int) -> None:
        """Make exit code and limit of what was seen."""
        for stream in self.outputs:
            stream.drain()
        report = os.read(self._setup[0], _CHUNK)
        if report.startswith(b"E"):
            raise SetupError(report[1:].decode(errors="replace"))
        code = os.waitstatus_to_exitcode(int(report[1:]) if report else status)
        self.exit_code = None if stopped_by else code
        self.limit = stopped_by or _LIMIT_OF_SIGNAL.get(code)
        if self.limit is None and any(stream.full for stream in self.outputs):
            self.limit = "output"


def _init(job: Job, setup: int) -> NoReturn:
    """Be pid 1 of the new namespace: start the code, reap orphans, report the code's end. Its end kills the rest."""
    linux.die_with_parent()
    try:
        job.provider.inside()
        child = os.fork()
    except OSError as error:
        os.write(setup, b"E" + repr(error).encode())
        os._exit(1)
    if child == 0:
        start(job, setup)
    for descriptor in (0, 1, 2):
        os.close(descriptor)
    linux.close_from(3, setup - 1)
    linux.close_from(setup + 1)
    while True:
        pid, status = os.wait()
        if pid == child:
            os.write(setup, b"S%d" % status)
            os._exit(0)
