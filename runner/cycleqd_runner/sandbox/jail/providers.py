"""What all ways to keep code in share, and the weakest of them: limits and a fresh directory.

A provider prepares the host once, each execution in its supervisor, and the code's own process. It says at
:meth:`Unsafe.prepare` whether the machine offers what it needs; none falls back to another.
"""

from __future__ import annotations

import os
import shutil
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

from . import linux, processes, seccomp, tree

if TYPE_CHECKING:
    from .machine_tree import Template

SLOTS = 256
"""Executions and machines at one time; each has a directory and, where the host is root, a user of its own."""
_MORE_THREADS = 1024
"""How many more threads than when the host started a user may have, where the kernel counts all of them together.

It bounds what a fork bomb becomes until the supervisor, which does the exact counting, gets to it.
"""

_SYSTEM = ("/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32")
_SETTINGS = ("/etc/ld.so.cache", "/etc/ld.so.conf", "/etc/ld.so.conf.d", "/etc/alternatives", "/etc/localtime")
"""What programs need of /etc; names of users and hosts are not among it."""
DEVICES = ("/dev/null", "/dev/zero", "/dev/full", "/dev/urandom", "/dev/random")
_NOT_COPIED = ("site-packages", "test", "tests", "idlelib", "tkinter", "turtledemo", "lib2to3", "ensurepip", "config-*")


class MissingError(Exception):
    """The machine lacks what a provider needs; the message names it."""


@dataclass
class Setup:
    """What the host was started with."""

    root: str
    """Folder of the host's own, on disk, removed by the client."""
    user: int | None = None
    """User to become at start; None: stay."""
    newest_landlock: int = 99
    """Use no later version of Landlock's interface than this."""
    library: str = os.path.dirname(os.__file__)
    """Folder of Python's standard library, readable for the code that is run."""


class Unsafe:
    """Limits and a fresh directory, nothing else: code runs as the worker's user and sees its files and network."""

    name = "Unsafe"
    own_pids = False
    """Whether code runs in a pid namespace, with an init of ours."""
    files_capped = False
    """Whether the file system itself limits the size of the fresh directory."""

    def __init__(self, setup: Setup) -> None:
        self.setup = setup
        self.users: int | None = None
        """First of the users for the slots; None: code runs as the host's user."""
        self.template: Template | None = None
        """What machines begin with; None: there can be none, as ``no_machines`` says."""
        self.no_machines = ""
        self._threads_of_user = 0

    @property
    def processes_capped(self) -> bool:
        """Whether the kernel counts the processes of each execution apart."""
        return self.users is not None

    def prepare(self) -> None:
        """Make the host ready. Raises MissingError."""
        if self.setup.user is not None:
            self._become(self.setup.user)
        self._threads_of_user = processes.threads_of_user()
        if self.name == Unsafe.name and os.geteuid() == 0:
            self.template = None
            self.no_machines = "root of a machine would be root of the worker's files; be another user, or keep it in"

    def enter(self, slot: int, files_mebibytes: int, entries: int) -> str:  # noqa: ARG002 - for providers that can cap it
        """Make the fresh directory (in the supervisor) and return its path."""
        path = os.path.join(self.setup.root, f"slot-{slot}")
        os.mkdir(path, 0o700)
        return path

    def leave(self, slot: int) -> None:
        """Remove the fresh directory (in the supervisor, or in the host after the supervisor's death)."""
        path = os.path.join(self.setup.root, f"slot-{slot}")
        if os.path.lexists(path):
            tree.remove(path)

    def inside(self) -> None:
        """Prepare the new pid namespace (in its init)."""

    def confine(self, slot: int, directory: str, *, machine: bool = False) -> None:  # noqa: ARG002 - for providers that keep code in
        """Give up all that the code must not have (in its process, just before it starts)."""
        linux.no_new_privileges()
        if machine:
            seccomp.install(seccomp.for_proot())

    def owner(self, slot: int) -> int | None:
        """Return the user that the code of a slot runs as; None if it is the host's own."""
        return None if self.users is None else self.users + slot

    def processes_limit(self, wanted: int) -> int:
        """Return the RLIMIT_NPROC of the code's process."""
        return wanted if self.processes_capped else self._threads_of_user + _MORE_THREADS

    def _become(self, user: int) -> None:
        self.copy_library()
        os.chown(self.setup.root, user, user)
        linux.drop_user(user)
        linux.allow_own_proc()

    def claim_users(self) -> None:
        """Choose users of our own for the slots, if we may become others at all."""
        if os.geteuid() != 0:
            return
        with open("/proc/self/uid_map") as map_file:
            first, count = max(((int(a), int(c)) for a, _, c in map(str.split, map_file)), key=lambda pair: pair[1])
        blocks = min(count, 1 << 31) // SLOTS
        if blocks <= 1:
            return
        # A random block in the upper half: no users of the system, and two hosts hardly ever meet.
        block = blocks // 2 + int.from_bytes(os.urandom(4), "big") % (blocks - blocks // 2)
        users = first + block * SLOTS
        probe = os.path.join(self.setup.root, "probe")
        child = os.fork()
        if child == 0:
            try:
                os.mkdir(probe)
                os.chown(probe, users, users)
                os.rmdir(probe)
                linux.drop_user(users)
            except OSError:
                os._exit(1)
            os._exit(0)
        if os.waitpid(child, 0)[1] == 0:
            self.users = users

    def copy_library(self) -> None:
        """Copy the standard library to where every user may read it, and import from there."""
        library, copy = self.setup.library, os.path.join(self.setup.root, "python")
        shutil.copytree(library, copy, symlinks=True, ignore=shutil.ignore_patterns(*_NOT_COPIED))
        os.chmod(copy, 0o755)  # noqa: S103 - public code
        self.setup.library = copy
        packages = [module.__path__ for module in list(sys.modules.values()) if hasattr(module, "__path__")]
        for paths in (sys.path, *packages):
            paths[:] = [copy + path[len(library) :] if path.startswith(library) else path for path in paths]

    def readable(self) -> list[str]:
        """Return the existing paths that code may read and execute."""
        folder = os.path.dirname(self.setup.library)  # with the C libraries that Python's own modules load
        paths = [*_SYSTEM, *_SETTINGS, *([] if folder == self.setup.root else [folder]), self.setup.library]
        return [path for path in paths if os.path.exists(path)]
