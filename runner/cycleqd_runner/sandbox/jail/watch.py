"""Watching code while it runs: its output, its input, its time, and the limits that the kernel does not keep.

Ends when the code's first process ends or a limit is reached; killing and collecting are the supervisor's.
"""

from __future__ import annotations

import functools
import os
import select
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from . import processes
from .payload import Job

_CHUNK = 1 << 16
_FIRST_LOOK_SECONDS = 0.01
_LONGEST_LOOK_SECONDS = 0.1
_MEBIBYTE = 1 << 20


@dataclass
class Stream:
    """Standard output or error, read up to ``limit`` bytes and one chunk."""

    descriptor: int
    limit: int
    data: bytearray = field(default_factory=bytearray)
    ended: bool = False
    """Whether nobody can write to it any more."""

    def read(self) -> bool:
        """Take what is there; False at the end of the stream, or if nothing was there."""
        try:
            chunk = os.read(self.descriptor, _CHUNK)
        except BlockingIOError:
            return False
        self.data += chunk
        self.ended = not chunk
        return bool(chunk)

    @property
    def full(self) -> bool:
        """Whether more came than may."""
        return len(self.data) > self.limit

    def drain(self) -> None:
        """Take the rest, when nobody can add to it any more."""
        while not self.full and self.read():
            pass

    def discard(self) -> bool:
        """Throw away what is there; False, and the descriptor is closed, if nobody can write to it any more."""
        while self.read():
            self.data.clear()
        if self.ended:
            os.close(self.descriptor)
        return not self.ended


class Watch:
    """The watch over one execution, or over one command of a machine."""

    def __init__(
        self, job: Job, end: int, outputs: tuple[Stream, Stream], client: socket.socket, *, ended: bool = False
    ) -> None:
        """``end`` becomes readable when the code has ended, which it may have already."""
        self.limit: str | None = None
        """The limit that was reached: time, output, files, processes; abandoned if the worker went away."""
        self._job = job
        self._ended = ended
        self._input: int | None = None
        self._handlers: dict[int, Callable[[], None]] = {}
        self._poll = select.poll()
        self._on(end, select.POLLIN, self._code_ended)
        self._on(client.fileno(), select.POLLIN, functools.partial(self._reached, "abandoned"))
        for stream in outputs:
            self._on(stream.descriptor, select.POLLIN, functools.partial(self._read, stream))

    def feed(self, descriptor: int, data: bytes) -> None:
        """Write standard input to a pipe as the code reads it, then close the pipe."""
        rest = memoryview(data)
        self._input = descriptor

        def write() -> None:
            nonlocal rest
            try:
                rest = rest[os.write(descriptor, rest[:_CHUNK]) :]
            except BlockingIOError:
                return
            except BrokenPipeError:  # code need not read what it is given
                rest = rest[:0]
            if not rest:
                self._poll.unregister(descriptor)
                self.close()

        os.set_blocking(descriptor, False)
        self._on(descriptor, select.POLLOUT, write)

    def discard(self, stream: Stream) -> None:
        """Also throw away what comes from an earlier command's background processes."""

        def discard() -> None:
            if not stream.discard():
                self._poll.unregister(stream.descriptor)

        self._on(stream.descriptor, select.POLLIN, discard)

    def close(self) -> None:
        """Close standard input, if the code has not read it to its end."""
        if self._input is not None:
            os.close(self._input)
            self._input = None

    def until_the_end(self) -> None:
        """Return when the code has ended, as its descriptor says, or a limit is reached, which ``limit`` names then."""
        provider = self._job.provider
        now = time.monotonic()
        deadline = now + self._job.limits.timeout_seconds
        pause = _FIRST_LOOK_SECONDS
        look = deadline + 1 if provider.files_capped and provider.processes_capped else now + pause
        while not self._ended and self.limit is None:
            now = time.monotonic()
            if now >= deadline:
                self._reached("time")
            elif now >= look:
                self._look()
                pause = min(2 * pause, _LONGEST_LOOK_SECONDS)
                look = time.monotonic() + pause
            else:
                for descriptor, _ in self._poll.poll((min(deadline, look) - now) * 1000 + 1):
                    self._handlers[descriptor]()

    def _on(self, descriptor: int, event: int, handler: Callable[[], None]) -> None:
        self._handlers[descriptor] = handler
        self._poll.register(descriptor, event)

    def _reached(self, limit: str) -> None:
        self.limit = self.limit or limit

    def _code_ended(self) -> None:
        self._ended = True

    def _read(self, stream: Stream) -> None:
        if not stream.read():
            self._poll.unregister(stream.descriptor)
        if stream.full:
            self._reached("output")

    def _look(self) -> None:
        """Check the limits that the kernel does not keep under this provider."""
        provider, limits = self._job.provider, self._job.limits
        if not provider.files_capped and too_many_files(self._job):
            self._reached("files")
        if not provider.processes_capped and processes.threads_below(os.getpid()) > limits.processes:
            self._reached("processes")


def too_many_files(job: Job) -> bool:
    """Whether the fresh directory is full, or fuller than it may be where nothing caps it."""
    if job.provider.files_capped:
        status = os.statvfs(job.directory)
        return status.f_bavail == 0 or status.f_favail == 0
    size, entries = job.meter.measure(job.entries)
    return size > job.limits.files_mebibytes * _MEBIBYTE or entries > job.entries
