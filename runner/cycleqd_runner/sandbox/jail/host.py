"""The host process: imports what items need, then forks a supervisor for each request. It runs no code itself.

It is started with an empty environment and one descriptor, the control socket, whose end is the end of the host. A
request comes on a socket of its own: one that a message on the control socket carries, or, where the host was also
given a socket to listen on, one that a worker has connected.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import itertools
import json
import os
import select
import signal
import site
import socket
import sys
import traceback
from typing import NoReturn

from . import linux, processes, wire
from .keep_by_landlock import Landlock
from .keep_by_namespaces import Namespaces
from .machine_tree import read_template
from .providers import SLOTS, MissingError, Setup, Unsafe
from .supervisor import supervise

_PROVIDERS: dict[str, type[Unsafe]] = {kind.name: kind for kind in (Namespaces, Landlock, Unsafe)}

# What short programs import, so that no item pays for it; sqlite3 also needs its C library loaded.
_PREIMPORTED = (
    "abc", "argparse", "array", "base64", "bisect", "builtins", "calendar", "cmath", "collections.abc",
    "concurrent.futures", "contextlib", "copy", "csv", "dataclasses", "datetime", "decimal", "enum", "fractions",
    "functools", "hashlib", "heapq", "inspect", "io", "itertools", "json", "linecache", "locale", "math", "numbers",
    "operator", "os", "pathlib", "pprint", "queue", "random", "re", "secrets", "shutil", "sqlite3", "statistics",
    "string", "struct", "subprocess", "tempfile", "textwrap", "threading", "time", "traceback", "types", "typing",
    "unicodedata", "unittest", "uuid", "warnings", "zlib",
)  # fmt: skip


def main() -> None:
    """Run the host. ``sys.argv``: the control socket's descriptor and a JSON object with the settings."""
    control = socket.socket(fileno=int(sys.argv[1]))
    settings = json.loads(sys.argv[2])
    listener = None if settings["listener"] is None else socket.socket(fileno=settings["listener"])
    kept = sorted({2, control.fileno(), control.fileno() if listener is None else listener.fileno()})
    for first, second in itertools.pairwise([*kept, 1 << 30]):
        linux.close_from(first + 1, second - 1)
    provider = _PROVIDERS[settings["kind"]](Setup(settings["root"], settings["user"], settings["newest_landlock"]))
    for name in _PREIMPORTED:
        importlib.import_module(name)
    site.setquit()  # exit() and help(), which -S left out with the folders that items must not import from
    site.sethelper()
    linux.become_subreaper()
    linux.rename("sandbox", settings["root"])  # code that kills all that is called python does not mean us
    try:
        provider.template = read_template()
    except MissingError as missing:
        provider.no_machines = str(missing)
    try:
        provider.prepare()
    except MissingError as missing:
        control.send(wire.pack({"missing": str(missing)}))
        return
    gc.collect()
    gc.freeze()
    control.send(wire.pack({"no_machines": provider.no_machines}))
    _Host(provider, control, listener).serve()


class _Host:
    """Slots and their supervisors."""

    def __init__(self, provider: Unsafe, control: socket.socket, listener: socket.socket | None) -> None:
        self.provider = provider
        self.control = control
        self.listener = listener
        self.doors = [door.fileno() for door in (control, listener) if door is not None]
        self.free = list(range(SLOTS))
        self.busy: dict[int, tuple[int, int]] = {}
        """By pidfd: supervisor's pid and slot."""

    def serve(self) -> None:
        """Fork a supervisor per request until the worker closes the control socket."""
        poll = select.poll()
        for door in self.doors:
            poll.register(door, select.POLLIN)
        open_ = True
        while True:
            for descriptor, _ in poll.poll():
                if descriptor in self.busy:
                    poll.unregister(descriptor)
                    self._ended(descriptor, poll)
                elif self.free and not self._request(descriptor, poll):
                    return
            if open_ != bool(self.free):
                open_ = bool(self.free)
                for door in self.doors:
                    (poll.register if open_ else poll.unregister)(door, *([select.POLLIN] if open_ else []))

    def _request(self, door: int, poll: select.poll) -> bool:
        if self.listener is not None and door == self.listener.fileno():
            client, _ = self.listener.accept()
        else:
            message, descriptors, _, _ = socket.recv_fds(self.control, 16, 1)
            if not message:
                return False
            client = socket.socket(fileno=descriptors[0])
        slot = self.free.pop(0)
        try:
            pid = os.fork()
        except OSError as error:
            client.sendall(wire.pack({"error": f"fork failed: {error}"}))
            self.free.append(slot)
        else:
            if pid == 0:
                self._supervise(slot, client)
            self._watch(poll, pid, slot)
        client.close()
        return True

    def _watch(self, poll: select.poll, pid: int, slot: int) -> None:
        descriptor = os.pidfd_open(pid)
        self.busy[descriptor] = (pid, slot)
        poll.register(descriptor, select.POLLIN)

    def _supervise(self, slot: int, client: socket.socket) -> NoReturn:
        code = 1
        try:
            self._forget()
            supervise(self.provider, slot, client)
            code = 0
        except Exception:  # noqa: BLE001 - the worker sees the socket's end and tries again; the host cleans the slot
            traceback.print_exc()
        finally:
            os._exit(code)

    def _forget(self) -> None:
        """Close, in a child, what belongs to the host."""
        self.control.close()
        if self.listener is not None:
            self.listener.close()
        for descriptor in self.busy:
            os.close(descriptor)

    def _ended(self, descriptor: int, poll: select.poll) -> None:
        pid, slot = self.busy.pop(descriptor)
        os.close(descriptor)
        _, status = os.waitpid(pid, 0)
        if status == 0:
            self.free.append(slot)
            return
        # The supervisor was killed or failed: what it would have killed and removed is now ours to do.
        known = {pid for pid, _ in self.busy.values()}
        for orphan in processes.children(os.getpid()):
            if orphan not in known:
                for process in (*processes.descendants(orphan), orphan):
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(process, signal.SIGKILL)
                with contextlib.suppress(ChildProcessError):
                    os.waitpid(orphan, 0)
        cleaner = os.fork()
        if cleaner == 0:
            self._clean(slot)
        self._watch(poll, cleaner, slot)

    def _clean(self, slot: int) -> NoReturn:
        code = 1
        try:
            self._forget()
            owner = self.provider.owner(slot)
            if owner is not None and not self.provider.own_pids:
                processes.kill_user(owner)
            self.provider.leave(slot)
            code = 0
        except OSError:  # files may still be in use; the next cleaner tries again
            traceback.print_exc()
        finally:
            os._exit(code)
