"""A machine's first process: it starts the commands and reaps what they leave. Its end is the end of the machine.

It is confined like the code it starts, so code may do to it what it likes. The supervisor therefore believes it
nothing but the number of the process it started, which it looks at again.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
from typing import NoReturn

from . import linux, wire
from .machine_tree import REPORT
from .payload import Job, prepare

_DESCRIPTORS = 4
"""Standard input, output and error, and the pipe on which the command's end is told."""
_SIGNALS = signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}
"""Those that can be ignored."""


def keep(job: Job, control: socket.socket) -> NoReturn:
    """Be the first process of a machine until ``control`` ends. Told there: whether it begins, and each command."""
    linux.die_with_parent()
    for name in _SIGNALS - {signal.SIGCHLD}:
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
        _start(header, descriptors)
        for descriptor in descriptors:
            os.close(descriptor)


def _reap(*_: object) -> None:
    with contextlib.suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass


def _start(header: wire.Header, descriptors: list[int]) -> None:
    """Start one command with its descriptors; on the last one its number is told, later its exit code.

    Not by a fork: that would copy the page tables of an interpreter, which takes longer than many a command.
    """
    report = descriptors[-1]
    for descriptor in descriptors:
        os.set_inheritable(descriptor, False)  # it came here without; only what is put in its place is the command's
    places = zip(descriptors, (0, 1, 2, REPORT), strict=True)
    try:
        child = os.posix_spawn(
            header["argv"][0],
            header["argv"],
            header["environment"],
            file_actions=[(os.POSIX_SPAWN_DUP2, descriptor, place) for descriptor, place in places],
            setsid=True,
            setsigdef=_SIGNALS,
        )
    except (OSError, ValueError):  # as many processes as there may be; arguments too long, or with a NUL
        child = 0
    os.write(report, b"P%d\n" % child)
