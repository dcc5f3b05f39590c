"""A machine's first process: it starts the commands and reaps what they leave. Its end is the end of the machine.

It is confined like the code it starts, so code may do to it what it likes. The supervisor therefore believes it
nothing but the number of the process it started, which it looks at again.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import resource
import signal
import socket
from typing import NoReturn

from . import linux, wire
from .machine_tree import REPORT
from .payload import Job, execute, prepare, set_limit

_CHUNK = 1 << 20
_MEBIBYTE = 1 << 20
_DESCRIPTORS = 4
"""Standard input, output and error, and the pipe on which the command's end is told."""


def keep(job: Job, control: socket.socket) -> NoReturn:
    """Be the first process of a machine until ``control`` ends. Told there: whether it begins, and each command."""
    linux.die_with_parent()
    for name in set(signal.valid_signals()) - {signal.SIGKILL, signal.SIGSTOP, signal.SIGCHLD}:
        signal.signal(name, signal.SIG_IGN)  # only what is meant for it may end it
    try:
        if job.provider.own_pids:
            job.provider.inside()
        prepare(job)
        linux.become_subreaper()
    except BaseException as error:  # noqa: BLE001 - whatever it is: the supervisor tells the worker, which tries again
        control.sendall(wire.pack({"error": repr(error)}))
        os._exit(1)
    for descriptor in (0, 1, 2):
        os.close(descriptor)
        os.open("/dev/null", os.O_RDWR)
    linux.close_from(3, control.fileno() - 1)
    linux.close_from(control.fileno() + 1)
    control.sendall(wire.pack({}))
    signal.signal(signal.SIGCHLD, _reap)
    while True:
        message, descriptors, _, _ = socket.recv_fds(control, 1, _DESCRIPTORS)
        if not message:
            os._exit(0)
        request = wire.receive(control)
        if request is None:
            os._exit(0)
        header, _ = request
        _start(job, header, descriptors)
        for descriptor in descriptors:
            os.close(descriptor)


def _reap(*_: object) -> None:
    with contextlib.suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass


def _start(job: Job, header: wire.Header, descriptors: list[int]) -> None:
    """Start one command with its descriptors; on the last one its number is told, later its exit code."""
    report = descriptors[-1]
    try:
        child = os.fork()
    except OSError:  # as many processes as there may be
        os.write(report, b"P0\n")
        return
    if child == 0:
        for name in set(signal.valid_signals()) - {signal.SIGKILL, signal.SIGSTOP}:
            signal.signal(name, signal.SIG_DFL)
        os.setsid()
        # Out of the way first: a descriptor may have the number that another one is to get.
        high = [fcntl.fcntl(descriptor, fcntl.F_DUPFD, REPORT + 1) for descriptor in descriptors]
        for descriptor, target in zip(high, (0, 1, 2, REPORT), strict=True):
            os.dup2(descriptor, target)
        linux.close_from(3, REPORT - 1)
        linux.close_from(REPORT + 1)
        set_limit(resource.RLIMIT_AS, job.limits.memory_mebibytes * _MEBIBYTE)
        execute(header["argv"], header["environment"])
    os.write(report, b"P%d\n" % child)
