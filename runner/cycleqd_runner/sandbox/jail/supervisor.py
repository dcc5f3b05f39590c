"""One execution, watched from outside: set up, run, limit, kill all of it, collect. One process for each.

The supervisor is trusted and has the host's privileges; it reads nothing that code made before the code is dead.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import socket
import time
from dataclasses import dataclass, field

from . import linux, processes, tree, wire
from .payload import Code, Limits, mapped_bytes, start
from .providers import Unsafe

_CHUNK = 1 << 16
_FIRST_LOOK_SECONDS = 0.01
_LONGEST_LOOK_SECONDS = 0.1
_MEBIBYTE = 1 << 20


class SetupFailed(Exception):
    """The code could not be started; its answer is not judged."""


@dataclass
class _Stream:
    """Standard output or error, cut at ``limit`` bytes."""

    descriptor: int
    limit: int
    data: bytearray = field(default_factory=bytearray)
    open: bool = True

    def read(self) -> bool:
        """Take what is there; False if nothing was."""
        try:
            chunk = os.read(self.descriptor, _CHUNK)
        except BlockingIOError:
            return False
        self.open = bool(chunk)
        self.data += chunk
        return self.open

    @property
    def full(self) -> bool:
        return len(self.data) > self.limit


def supervise(provider: Unsafe, slot: int, client: socket.socket) -> None:
    """Serve the one request on ``client``: run it, answer it, leave nothing behind."""
    request = wire.Assembler()
    client.settimeout(60)
    while missing := request.missing():
        data = client.recv(min(missing, 1 << 20))
        if not data:
            return
        request.feed(data)
    header, blobs = request.message()
    try:
        linux.become_subreaper()
        answer = _Execution(provider, slot, client, header).run(blobs)
    except Exception as error:  # sent to the worker, which tries again and then reports the item as not scored
        answer = wire.pack({"error": f"{type(error).__name__}: {error}"})
    finally:
        provider.leave(slot)
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):
        client.sendall(answer)


class _Execution:
    """State of the one execution of this process."""

    def __init__(self, provider: Unsafe, slot: int, client: socket.socket, header: wire.Header) -> None:
        self.provider = provider
        self.slot = slot
        self.client = client
        self.header = header
        self.limits = Limits(**header["limits"])
        self.code = Code(header["argv"], header["python"], mapped_bytes())
        self.limit: str | None = None

    def run(self, blobs: list[bytes]) -> bytes:
        header, limits = self.header, self.limits
        directory = self.provider.enter(self.slot, limits.files_mebibytes)
        files = zip(header["files"], blobs, strict=False)  # the last blob is standard input
        tree.write(directory, files, header["directories"], header["executable"], self.provider.owner(self.slot))
        begun = time.monotonic()
        status = self._run(directory, blobs[-1])
        seconds = time.monotonic() - begun
        entries: list[tree.Entry] = []
        if self.limit is None and self._files_full(directory):
            self.limit = "files"
        if header["collect"]:
            entries, complete = tree.collect(directory, limits.files_mebibytes * _MEBIBYTE)
            if not complete and self.limit is None:
                self.limit = "files"
        cut = limits.output_kibibytes * 1024
        answer = {
            "exit_code": status,
            "timed_out": self.limit == "time",
            "limit": self.limit,
            "seconds": seconds,
            "tree": [entry[:4] for entry in entries],
        }
        outputs = [bytes(stream.data[:cut]) for stream in self.outputs]
        return wire.pack(answer, [*outputs, *(entry[4] for entry in entries)])

    def _run(self, directory: str, stdin: bytes) -> int | None:
        """Run the code to its end, kill what is left of it, return its exit code; None if a limit ended it."""
        given_out, take_out = os.pipe()
        given_err, take_err = os.pipe()
        setup_out, setup_in = os.pipe()
        if stdin:
            input_out, input_in = os.pipe()
        else:
            input_out, input_in = os.open("/dev/null", os.O_RDONLY), -1
        leader = os.fork()
        if leader == 0:
            for source, target in ((input_out, 0), (take_out, 1), (take_err, 2)):
                os.dup2(source, target)
            if self.provider.own_pids:
                _init(self.provider, self.slot, directory, self.code, self.limits, setup_in)
            start(self.provider, self.slot, directory, self.code, self.limits, setup_in)
        for descriptor in (take_out, take_err, setup_in, input_out):
            os.close(descriptor)
        cut = self.limits.output_kibibytes * 1024
        self.outputs = (_Stream(given_out, cut), _Stream(given_err, cut))
        for stream in self.outputs:
            os.set_blocking(stream.descriptor, False)
        try:
            self._watch(leader, directory, input_in, memoryview(stdin))
        finally:
            killed = self.limit is not None
            status = self._kill(leader)
        for stream in self.outputs:  # what is still in the pipes; nobody can add to it any more
            while not stream.full and stream.read():
                pass
            if stream.full and self.limit is None:
                self.limit = "output"
        report = os.read(setup_out, 1 << 16)
        if report.startswith(b"E"):
            raise SetupFailed(report[1:].decode(errors="replace"))
        if report.startswith(b"S"):
            status = int(report[1:])
        code = os.waitstatus_to_exitcode(status)
        if self.limit is None and code in (-signal.SIGXFSZ, -signal.SIGXCPU):
            self.limit = "files" if code == -signal.SIGXFSZ else "time"
        return None if killed else code

    def _watch(self, leader: int, directory: str, input_in: int, stdin: memoryview) -> None:
        """Return when the leader has ended or a limit (then named in ``limit``) is reached."""
        poll = select.poll()
        pidfd = os.pidfd_open(leader)
        poll.register(pidfd, select.POLLIN)
        poll.register(self.client, select.POLLIN)
        streams = {stream.descriptor: stream for stream in self.outputs}
        for descriptor in streams:
            poll.register(descriptor, select.POLLIN)
        if input_in >= 0:
            os.set_blocking(input_in, False)
            poll.register(input_in, select.POLLOUT)
        now = time.monotonic()
        deadline = now + self.limits.timeout_seconds
        pause = _FIRST_LOOK_SECONDS
        look = now + pause if not (self.provider.files_capped and self.provider.processes_capped) else deadline + 1
        while self.limit is None:
            now = time.monotonic()
            if now >= deadline:
                self.limit = "time"
                return
            if now >= look:
                self._look(directory)
                pause = min(2 * pause, _LONGEST_LOOK_SECONDS)
                look = time.monotonic() + pause
                continue
            ended = False
            for descriptor, _ in poll.poll(max(0.0, min(deadline, look) - now) * 1000 + 1):
                if descriptor in streams:
                    stream = streams[descriptor]
                    stream.read()
                    if not stream.open:
                        poll.unregister(descriptor)
                    if stream.full:
                        self.limit = "output"
                elif descriptor == input_in:
                    stdin = self._write(input_in, stdin)
                    if not stdin:
                        poll.unregister(input_in)
                        os.close(input_in)
                        input_in = -1
                elif descriptor == pidfd:
                    ended = True
                else:
                    self.limit = "abandoned"  # the worker went away; nobody will read the answer
            if ended:
                break
        os.close(pidfd)
        if input_in >= 0:
            os.close(input_in)

    @staticmethod
    def _write(descriptor: int, data: memoryview) -> memoryview:
        try:
            return data[os.write(descriptor, data[:_CHUNK]) :]
        except BlockingIOError:
            return data
        except BrokenPipeError:
            return data[:0]

    def _look(self, directory: str) -> None:
        """Check the limits that the kernel does not keep under this provider."""
        if not self.provider.files_capped:
            size, entries = tree.measure(directory)
            if size > self.limits.files_mebibytes * _MEBIBYTE or entries > tree.MAX_ENTRIES:
                self.limit = "files"
        if not self.provider.processes_capped and processes.threads_below(os.getpid()) > self.limits.processes:
            self.limit = "processes"

    def _files_full(self, directory: str) -> bool:
        if self.provider.files_capped:
            status = os.statvfs(directory)
            return status.f_bavail == 0 or status.f_favail == 0
        size, entries = tree.measure(directory)
        return size > self.limits.files_mebibytes * _MEBIBYTE or entries > tree.MAX_ENTRIES

    def _kill(self, leader: int) -> int:
        """Kill the leader and all that descends from it; return the leader's wait status."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(leader, signal.SIGKILL)  # no effect on one that has ended: it is not reaped yet
        _, status = os.waitpid(leader, 0)
        if self.provider.own_pids:
            return status  # the kernel has killed and reaped the whole namespace
        processes.kill_and_reap(self.provider.owner(self.slot))
        return status


def _init(provider: Unsafe, slot: int, directory: str, code: Code, limits: Limits, setup: int) -> None:
    """Be pid 1 of the new namespace: start the code, reap orphans, report the code's end. Its end kills the rest."""
    linux.die_with_parent()
    try:
        provider.inside()
        child = os.fork()
    except OSError as error:
        os.write(setup, b"E" + repr(error).encode())
        os._exit(1)
    if child == 0:
        start(provider, slot, directory, code, limits, setup)
    os.dup2(setup, 3)
    linux.close_from(4)
    for descriptor in (0, 1, 2):
        os.close(descriptor)
    while True:
        pid, status = os.wait()
        if pid == child:
            os.write(3, b"S%d" % status)
            os._exit(0)
