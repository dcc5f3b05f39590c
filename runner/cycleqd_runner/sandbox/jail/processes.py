"""Finding and killing all processes that descend from an execution, also those that tried to get away."""

from __future__ import annotations

import contextlib
import os
import signal
import time

from . import linux

_MAX_SECONDS = 120.0
"""How long killing may take; a fork bomb takes about one second, and many where it starves whoever kills it."""


class SurvivorsError(Exception):
    """Processes of an execution survived; the supervisor's slot must not be used again as if it were clean."""


def children(pid: int) -> list[int]:
    """Return the processes whose parent is ``pid``."""
    try:
        with open(f"/proc/{pid}/task/{pid}/children") as file:
            return [int(word) for word in file.read().split()]
    except FileNotFoundError:  # the process ended, or a kernel without CONFIG_PROC_CHILDREN
        return [child for child, parent in _parents().items() if parent == pid]
    except OSError:
        return []


def _parents() -> dict[int, int]:
    parents = {}
    for name in os.listdir("/proc"):
        if name.isdigit():
            with contextlib.suppress(OSError), open(f"/proc/{name}/stat", "rb") as file:
                parents[int(name)] = int(file.read().rpartition(b")")[2].split()[1])
    return parents


def descendants(pid: int) -> list[int]:
    """Return all processes below ``pid``."""
    found: list[int] = []
    pending = [pid]
    while pending:
        below = children(pending.pop())
        found += below
        pending += below
    return found


def threads_below(pid: int) -> int:
    """Return the number of threads of all processes below ``pid``."""
    count = 0
    for process in descendants(pid):
        with contextlib.suppress(OSError):
            count += len(os.listdir(f"/proc/{process}/task"))
    return count


def kill_traced(ancestor: int, tracer: int) -> None:
    """Kill all below ``ancestor`` that are traced by its child ``tracer``, daemons included, then the tracer."""
    if tracer not in children(ancestor):
        return
    stop([tracer])  # now none of them can fork any more; nor quite die, for the tracer is to be told
    known: set[int] = set()
    while found := {process for process in descendants(ancestor) if _tracer(process) == tracer} - known:
        known |= found
        for process in found:
            with contextlib.suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)
    with contextlib.suppress(ProcessLookupError):
        os.kill(tracer, signal.SIGKILL)


def _tracer(process: int) -> int:
    """Return who traces a process; 0 if nobody does."""
    with contextlib.suppress(OSError), open(f"/proc/{process}/status", "rb") as file:
        for line in file:
            if line.startswith(b"TracerPid:"):
                return int(line.split()[1])
    return 0


def stop(tracers: list[int]) -> None:
    """Stop processes, so that those which they trace cannot fork while they are being killed."""
    for process in tracers:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(process, signal.SIGSTOP)


def kill_user(user: int) -> None:
    """Kill every process of a user at once, so that none can fork while others are being killed."""
    helper = os.fork()
    if helper == 0:
        try:
            linux.drop_user(user)
            os.kill(-1, signal.SIGKILL)
        finally:
            os._exit(0)
    os.waitpid(helper, 0)


def kill_groups() -> None:
    """Kill the process groups of this process' children, but for its own: each at once, so that none can fork.

    Most fork bombs are one group. Killing them one by one takes more processor time than they may leave.
    """
    for child in children(os.getpid()):
        with contextlib.suppress(ProcessLookupError, PermissionError):
            if (group := os.getpgid(child)) != os.getpgrp():
                os.killpg(group, signal.SIGKILL)


def threads_of_user() -> int:
    """Return the number of threads of all processes of this user that can be seen."""
    count, user = 0, os.geteuid()
    for name in os.listdir("/proc"):
        if name.isdigit():
            with contextlib.suppress(OSError):
                if os.stat(f"/proc/{name}").st_uid == user:
                    count += len(os.listdir(f"/proc/{name}/task"))
    return count


def kill_and_reap(user: int | None) -> None:
    """Kill and reap all descendants of this process, which must be a subreaper without children to keep.

    Raises SurvivorsError.
    """
    deadline = time.monotonic() + _MAX_SECONDS
    while True:
        try:
            pid, _ = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return
        if pid:
            continue
        if time.monotonic() > deadline:
            raise SurvivorsError("processes of the execution do not die")
        if user is not None:
            kill_user(user)
        kill_groups()
        for process in descendants(os.getpid()):
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(process, signal.SIGKILL)
        time.sleep(0.001)
