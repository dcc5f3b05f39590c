"""The provider with a small world of its own: root, pids and an empty network from namespaces, and the seccomp filter.

Root makes them directly and gives each slot a user; others make them inside a user namespace, one more per execution.
"""

from __future__ import annotations

import os
import platform
import re

from . import linux, seccomp, tree
from .providers import DEVICES, MissingError, Setup, Unsafe

_MEBIBYTE = 1 << 20
_USER_INSIDE = 65530
"""Beyond those that useradd gives, so that no user of a machine seems to run its processes."""
_COUNTS_PER_NAMESPACE = (5, 14)
"""First Linux that counts processes for RLIMIT_NPROC per user namespace."""
INSIDE = "/work"
"""The fresh directory's path."""


class Namespaces(Unsafe):
    """An own root with nothing but the system's programs, own pids, an empty network, and the seccomp filter."""

    name = "Namespaces"
    own_pids = True
    files_capped = True

    def __init__(self, setup: Setup) -> None:
        super().__init__(setup)
        self._nested = False
        self._filter = self._filter_of_machines = b""

    @property
    def processes_capped(self) -> bool:
        """See :attr:`Unsafe.processes_capped`."""
        numbers = tuple(int(number) for number in re.findall(r"\d+", platform.release())[:2])
        return self.users is not None or numbers >= _COUNTS_PER_NAMESPACE

    def owner(self, slot: int) -> int | None:
        """See :meth:`Unsafe.owner`."""
        return _USER_INSIDE if self._nested else super().owner(slot)

    def prepare(self) -> None:
        """See :meth:`Unsafe.prepare`."""
        super().prepare()
        self.claim_users()
        try:
            self._filter = seccomp.program()
            self._filter_of_machines = seccomp.program(machine_root=True)
            spaces = linux.CLONE_NEWNS | linux.CLONE_NEWNET | linux.CLONE_NEWIPC | linux.CLONE_NEWUTS
            self._leave_the_worlds(spaces)
            self._build_root()
            self._try()
        except OSError as error:
            raise MissingError(f"this process cannot make namespaces ({error.strerror or error})") from error

    def _leave_the_worlds(self, spaces: int) -> None:
        """Make the host's namespaces, by right or else inside a user namespace."""
        if self.users is not None:
            try:
                linux.unshare(spaces)
            except PermissionError:  # root of a container without CAP_SYS_ADMIN
                self.users = None
            else:
                return
        self._nested = True
        self._new_user_namespace(spaces)

    def _new_user_namespace(self, others: int) -> None:
        uid, gid = os.geteuid(), os.getegid()
        linux.unshare(linux.CLONE_NEWUSER | others)
        for name, text in (
            ("setgroups", "deny"),
            ("uid_map", f"{_USER_INSIDE} {uid} 1"),
            ("gid_map", f"{_USER_INSIDE} {gid} 1"),
        ):
            with open(f"/proc/self/{name}", "w") as file:
                file.write(text)

    def _build_root(self) -> None:
        """Replace the host's root by a small one; executions only add their fresh directory and /proc to it."""
        new = os.path.join(self.setup.root, "root")
        os.mkdir(new)
        linux.mount("none", "/", None, linux.MS_REC | linux.MS_PRIVATE)
        linux.mount("tmpfs", new, "tmpfs", linux.MS_NOSUID | linux.MS_NODEV, "mode=755,size=1m")
        for path in (*self.readable(), *DEVICES):
            self._show(path, new)
        for folder in ("/proc", INSIDE, "/former", "/dev", "/etc"):
            os.makedirs(new + folder, 0o755, exist_ok=True)
        for name, target in (("fd", ""), ("stdin", "/0"), ("stdout", "/1"), ("stderr", "/2")):
            os.symlink("/proc/self/fd" + target, f"{new}/dev/{name}")
        # Linux lets a user namespace mount a new /proc only where a complete one is visible; each execution covers it.
        linux.mount("/proc", new + "/proc", None, linux.MS_BIND | linux.MS_REC)
        linux.pivot_root(new, new + "/former")
        os.chdir("/")
        linux.detach("/former")
        os.rmdir("/former")
        linux.set_hostname("sandbox")

    @staticmethod
    def _show(path: str, new: str) -> None:
        """Make a path of the old root visible under the new one, read-only unless it is a device."""
        target = new + path
        if os.path.lexists(target) or not os.path.exists(path):
            return
        os.makedirs(os.path.dirname(target), 0o755, exist_ok=True)
        if os.path.islink(path):
            os.symlink(os.readlink(path), target)
            return
        if os.path.isdir(path):
            os.mkdir(target)
        else:
            os.close(os.open(target, os.O_CREAT | os.O_WRONLY, 0o644))
        linux.mount(path, target, None, linux.MS_BIND | linux.MS_REC)
        if path not in DEVICES:
            linux.read_only(target)

    def _try(self) -> None:
        child = os.fork()
        if child == 0:
            try:
                self.enter(0, 1, tree.MAX_ENTRIES)
                inner = os.fork()
                if inner == 0:
                    self.inside()
                    self.confine(0, INSIDE)
                    os._exit(0)
                os._exit(0 if os.waitpid(inner, 0)[1] == 0 else 1)
            except OSError as error:
                os._exit(error.errno or 1)
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        if code:
            raise OSError(code, os.strerror(code))

    def enter(self, slot: int, files_mebibytes: int, entries: int) -> str:  # noqa: ARG002 - each namespace has its own
        """See :meth:`Unsafe.enter`. The directory is a file system of its own, in memory, limited in size."""
        if self._nested:
            self._new_user_namespace(linux.CLONE_NEWNS | linux.CLONE_NEWPID)
        else:
            linux.unshare(linux.CLONE_NEWNS | linux.CLONE_NEWPID)
        size = f"size={files_mebibytes * _MEBIBYTE},nr_inodes={entries},mode=700"
        linux.mount("tmpfs", INSIDE, "tmpfs", linux.MS_NOSUID | linux.MS_NODEV, size)
        return INSIDE

    def leave(self, slot: int) -> None:
        """See :meth:`Unsafe.leave`. The file system goes with its namespace."""

    def inside(self) -> None:
        """See :meth:`Unsafe.inside`."""
        try:
            linux.mount("proc", "/proc", "proc", linux.MS_NOSUID | linux.MS_NODEV)
        except OSError:  # where parts of /proc are masked, as in containers: then none at all
            linux.mount("tmpfs", "/proc", "tmpfs", linux.MS_NOSUID | linux.MS_NODEV, "size=0,mode=555")

    def confine(self, slot: int, directory: str, *, machine: bool = False) -> None:  # noqa: ARG002 - there is no other directory
        """See :meth:`Unsafe.confine`."""
        linux.no_new_privileges()
        owner = super().owner(slot)
        if owner is not None:
            linux.drop_user(owner)
        linux.drop_capabilities()
        seccomp.install(self._filter_of_machines if machine else self._filter)
