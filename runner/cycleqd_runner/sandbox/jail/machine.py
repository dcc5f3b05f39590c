"""One machine from outside: build it, have its keeper start commands, end those that go too far, end it all.

Commands come one after the other on the client's socket; its end is the end of the machine. The supervisor's process
is the same as for single executions, and so are the watch, the limits and the kill at the end.
"""

from __future__ import annotations

import math
import os
import select
import signal
import socket
import time
from dataclasses import dataclass, replace

from . import processes, tree, wire
from .keeper import keep
from .machine_tree import ENTRIES, MEBIBYTES, OWN_PROCESSES
from .payload import Code, Job, Limits, mapped_bytes
from .providers import Unsafe
from .watch import Stream, Watch, too_many_files

_MEBIBYTE = 1 << 20
_ANSWER_SECONDS = 20.0
"""How long the keeper may take to start a command; after that code has done something to it."""
_KILL_SECONDS = 10.0
_REPORT_BYTES = 64
"""Two short lines; code that writes there, too, is not listened to for longer."""
_KILLED = -int(signal.SIGKILL)


class SetupError(Exception):
    """The machine could not be built, so there is nothing to judge."""


@dataclass
class _Ended:
    """How a command ended."""

    exit_code: int | None
    limit: str | None


class Machine:
    """A machine and its keeper. ``close`` leaves nothing of it but what the provider removes."""

    def __init__(self, provider: Unsafe, slot: int, header: wire.Header, contents: list[bytes]) -> None:
        """Build it. Raises SetupError, OSError."""
        if provider.template is None:
            raise SetupError(provider.no_machines)
        self._template = provider.template
        limits = Limits(**header["limits"])
        files, entries = limits.files_mebibytes + MEBIBYTES, tree.MAX_ENTRIES + ENTRIES

        directory = provider.enter(slot, files, entries)
        inside = replace(limits, files_mebibytes=files, processes=limits.processes + OWN_PROCESSES)
        own = dict(zip(header["files"], contents, strict=True))
        self._template.write(directory, own, header["executable"], provider.owner(slot))
        code = Code(mapped_bytes=mapped_bytes())
        self.job = Job(provider, slot, directory, tree.Meter(directory), code, inside, entries, machine=True)
        self.left: list[Stream] = []
        """Outputs that something which a command left behind may still write to."""
        self._control, theirs = socket.socketpair()
        self.keeper = os.fork()
        if self.keeper == 0:
            self._control.close()
            keep(self.job, theirs)
        theirs.close()
        self._control.settimeout(_ANSWER_SECONDS)
        ready = wire.receive(self._control)
        if ready is None or "error" in ready[0]:
            self.close()
            raise SetupError("the machine's first process ended" if ready is None else ready[0]["error"])

    def run(self, header: wire.Header, stdin: bytes, client: socket.socket) -> bytes:
        """Run one command to its end and return the answer."""
        seconds = header["timeout_seconds"] or self.job.limits.timeout_seconds
        job = self._job(seconds)
        begun = time.monotonic()
        command = _Command(self, job, header["argv"])
        ended = command.run(stdin, client)
        answer: wire.Header = {
            "exit_code": ended.exit_code,
            "timed_out": ended.limit == "time",
            "limit": ended.limit,
            "seconds": time.monotonic() - begun,
            "tree": [],
        }
        return wire.pack(answer, [bytes(stream.data[: stream.limit]) for stream in command.outputs])

    def _job(self, seconds: float) -> Job:
        """Return the job of the next command. Where the machine is too full already, it may still tidy up."""
        job = replace(self.job, limits=replace(self.job.limits, timeout_seconds=seconds))
        if job.provider.files_capped:
            return job
        size, entries = job.meter.measure(2 * job.entries)
        files = max(job.limits.files_mebibytes, math.ceil(size / _MEBIBYTE))
        return replace(job, limits=replace(job.limits, files_mebibytes=files), entries=max(job.entries, entries))

    def start(self, argv: list[str], descriptors: list[int]) -> bool:
        """Have the keeper start a command; False if there is none any more that could."""
        memory = self.job.limits.memory_mebibytes
        program, environment = self._template.command(self.job.directory, argv, memory)
        try:
            socket.send_fds(self._control, [b"x"], descriptors)
            self._control.sendall(wire.pack({"argv": program, "environment": environment}))
        except OSError:
            return False
        return True

    def wait_for(self, client: socket.socket) -> bool:
        """Return when there is something to read for us; until then throw away what background processes write."""
        while True:
            poll = select.poll()
            for descriptor in (client.fileno(), *(stream.descriptor for stream in self.left)):
                poll.register(descriptor, select.POLLIN)
            if client.fileno() in (descriptor for descriptor, _ in poll.poll()):
                return True
            self.left = [stream for stream in self.left if stream.discard()]

    def kill(self, command: int) -> None:
        """Kill a command and all that it started. ``command``: its number as the keeper counts."""
        if not self.job.provider.own_pids:
            processes.kill_traced(self.keeper, command)
            return
        try:
            helper = os.fork()  # /proc is the machine's, and so is the number of whoever kills
        except OSError:  # there is no machine any more
            return
        if helper == 0:
            try:
                processes.kill_traced(1, command)
            finally:
                os._exit(0)
        os.waitpid(helper, 0)

    def close(self) -> None:
        """Kill all of it. Raises SurvivorsError."""
        self._control.close()
        self.kill_all()
        for stream in self.left:
            os.close(stream.descriptor)

    def kill_all(self) -> None:
        """Kill all processes of the machine, which is none any more: what is asked of it then is as if killed."""
        if self.keeper:
            if not self.job.provider.own_pids:
                processes.stop(processes.children(self.keeper))
            os.kill(self.keeper, signal.SIGKILL)  # no effect on one that has ended: it is not reaped yet
            os.waitpid(self.keeper, 0)
            self.keeper = 0
        if not self.job.provider.own_pids:
            processes.kill_and_reap(self.job.provider.owner(self.job.slot))


class _Command:
    """One command of a machine, from its pipes to the kill if it goes too far."""

    def __init__(self, machine: Machine, job: Job, argv: list[str]) -> None:
        self._machine, self._job, self._argv = machine, job, argv
        cut = job.limits.output_kibibytes * 1024
        self._pipes = [os.pipe() for _ in range(3)]
        self.outputs = (Stream(self._pipes[0][0], cut), Stream(self._pipes[1][0], cut))
        self._report = self._pipes[2][0]
        self._told = b""

    def run(self, stdin: bytes, client: socket.socket) -> _Ended:
        """Run it. A machine that is no more, by the code's own doing, is as if the command was killed."""
        reader, writer = os.pipe() if stdin else (os.open("/dev/null", os.O_RDONLY), None)
        theirs = [reader, *(pipe[1] for pipe in self._pipes)]
        started = self._machine.start(self._argv, theirs)
        for descriptor in theirs:
            os.close(descriptor)
        for descriptor in (*(stream.descriptor for stream in self.outputs), self._report):
            os.set_blocking(descriptor, False)
        number = self._number() if started else 0
        if not number:
            if writer is not None:
                os.close(writer)
            return self._concluded(_KILLED, None)
        watch = Watch(self._job, self._report, self.outputs, client, ended=bool(self._said(b"S")))
        for stream in self._machine.left:
            watch.discard(stream)
        if writer is not None:
            watch.feed(writer, stdin)
        watch.until_the_end()
        watch.close()
        self._machine.left = [stream for stream in self._machine.left if not stream.ended]
        if watch.limit:
            self._machine.kill(number)
            if not self._is_gone():
                self._machine.kill_all()
        exit_code = None if watch.limit else self._exit_code()
        return self._concluded(exit_code, watch.limit or ("files" if too_many_files(self._job) else None))

    def _number(self) -> int:
        """Return the number of the process that the keeper started for this; 0 if it started none."""
        while not (told := self._said(b"P")) and select.select([self._report], [], [], _ANSWER_SECONDS)[0]:
            if not self._listen():
                break
        return int(told or 0)

    def _exit_code(self) -> int:
        """Return the exit code that the command's shell told; a shell that told none was killed."""
        self._listen()
        told = self._said(b"S")
        return int(told) & 0xFF if told else _KILLED

    def _listen(self) -> bool:
        """Take what was told on the report; False if nothing was."""
        try:
            heard = os.read(self._report, _REPORT_BYTES)
        except BlockingIOError:
            return False
        self._told += heard
        return bool(heard)

    def _said(self, kind: bytes) -> bytes:
        """Return the number that a line of a kind tells: ``P`` the keeper's, ``S`` the shell's, which may be first."""
        lines = self._told[:_REPORT_BYTES].split(b"\n")[:-1]
        return next((line[1:] for line in lines if line[:1] == kind and line[1:].isdigit()), b"")

    def _is_gone(self) -> bool:
        """Whether nothing of a killed command has its report open any more; it may take a moment to die."""
        poll = select.poll()
        poll.register(self._report, 0)
        return bool(poll.poll(_KILL_SECONDS * 1000))

    def _concluded(self, exit_code: int | None, limit: str | None) -> _Ended:
        for stream in self.outputs:
            stream.drain()
            if limit is None and stream.full:
                limit = "output"
            if stream.ended:
                os.close(stream.descriptor)
            else:
                self._machine.left.append(Stream(stream.descriptor, 0))
        os.close(self._report)
        return _Ended(exit_code, limit)
