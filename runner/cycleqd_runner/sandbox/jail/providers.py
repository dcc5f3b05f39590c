"""The three ways to keep code in: what each prepares once in the host, per execution, and in the code's process.

A provider says at :meth:`Unsafe.prepare` whether the machine offers what it needs; none falls back to another.
"""

from __future__ import annotations

import os
import platform
import re
import shutil
import sys
from dataclasses import dataclass

from . import landlock, linux, seccomp, tree

SLOTS = 64
"""Executions at one time; each has a directory and, where the host is root, a user of its own."""
_TRIES_PER_USER = 4096
"""Processes that a user without a count of its own may have beyond those it has; the watcher does the exact counting."""
_MEBIBYTE = 1 << 20

_SYSTEM = ("/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32")
_SETTINGS = ("/etc/ld.so.cache", "/etc/ld.so.conf", "/etc/ld.so.conf.d", "/etc/alternatives", "/etc/localtime")
"""What programs need of /etc; names of users and hosts are not among it."""
_DEVICES = ("/dev/null", "/dev/zero", "/dev/full", "/dev/urandom", "/dev/random")
_NOT_COPIED = ("site-packages", "test", "tests", "idlelib", "tkinter", "turtledemo", "lib2to3", "ensurepip", "config-*")
INSIDE = "/work"
"""The fresh directory's path where a provider can choose it."""
_USER_INSIDE = 1000


class Missing(Exception):
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
        self._filter = b""

    @property
    def processes_capped(self) -> bool:
        """Whether the kernel counts the processes of each execution apart."""
        return self.users is not None

    def prepare(self) -> None:
        """Make the host ready. Raises Missing."""
        if self.setup.user is not None:
            self._become(self.setup.user)

    def enter(self, slot: int, files_mebibytes: int) -> str:
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

    def confine(self, slot: int, directory: str) -> None:
        """Give up all that the code must not have (in its process, just before it starts)."""
        linux.no_new_privileges()

    def owner(self, slot: int) -> int | None:
        """Return the user that the code of a slot runs as; None if it is the host's own."""
        return None if self.users is None else self.users + slot

    def processes_limit(self, processes: int) -> int:
        """Return the RLIMIT_NPROC of the code's process."""
        return processes if self.processes_capped else _TRIES_PER_USER

    def _become(self, user: int) -> None:
        self._copy_libraries()
        os.chown(self.setup.root, user, user)
        linux.drop_user(user)
        linux.allow_own_proc()

    def _claim_users(self) -> None:
        """Choose users of our own for the slots, if we may become others at all."""
        if os.geteuid() != 0:
            return
        with open("/proc/self/uid_map") as map_file:
            first, count = max(((int(a), int(c)) for a, _, c in map(str.split, map_file)), key=lambda pair: pair[1])
        blocks = min(count, 1 << 31) // SLOTS
        if blocks < 2:
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

    def _copy_libraries(self) -> None:
        """Copy the standard library to where every user may read it, and import from there."""
        library, copy = self.setup.library, os.path.join(self.setup.root, "python")
        shutil.copytree(library, copy, symlinks=True, ignore=shutil.ignore_patterns(*_NOT_COPIED))
        os.chmod(copy, 0o755)  # noqa: S103 - public code
        self.setup.library = copy
        packages = [module.__path__ for module in list(sys.modules.values()) if hasattr(module, "__path__")]
        for paths in (sys.path, *packages):
            paths[:] = [copy + path[len(library) :] if path.startswith(library) else path for path in paths]

    def _readable(self) -> list[str]:
        """Return the existing paths that code may read and execute."""
        folder = os.path.dirname(self.setup.library)  # with the C libraries that Python's own modules load
        paths = [*_SYSTEM, *_SETTINGS, *([] if folder == self.setup.root else [folder]), self.setup.library]
        return [path for path in paths if os.path.exists(path)]


class Landlock(Unsafe):
    """Landlock for files and signals, a seccomp filter for sockets and the rest; no privileges needed."""

    name = "Landlock"

    def __init__(self, setup: Setup) -> None:
        super().__init__(setup)
        self._abi = 0
        self._rules: list[tuple[int, int]] = []

    def prepare(self) -> None:
        """See :meth:`Unsafe.prepare`."""
        self._abi = min(landlock.version(), self.setup.newest_landlock)
        if self._abi < 1:
            raise Missing(
                "the kernel does not offer Landlock (Linux 5.13 with CONFIG_SECURITY_LANDLOCK and lsm=landlock)"
            )
        super().prepare()
        self._claim_users()
        alone = self.users is not None
        if alone and not _open_to_all(self.setup.library):
            self._copy_libraries()
        try:
            self._filter = seccomp.program(
                signals=alone or self._abi >= landlock.SIGNALS_SINCE,
                truncate=alone or self._abi >= landlock.TRUNCATE_SINCE,
            )
        except OSError as error:
            raise Missing(str(error)) from error
        self._rules = [(os.open(path, os.O_PATH), landlock.READ) for path in self._readable()]
        for device in _DEVICES:
            if os.path.exists(device):
                self._rules.append((os.open(device, os.O_PATH), landlock.READ_FILE | landlock.WRITE_FILE))
        self._try()

    def _try(self) -> None:
        """Confine a process for trial: better no sandbox at start than at the first answer."""
        child = os.fork()
        if child == 0:
            try:
                self.confine(0, self.setup.root)
            except OSError:
                os._exit(1)
            os._exit(0)
        if os.waitpid(child, 0)[1] != 0:
            raise Missing("the kernel refuses Landlock or seccomp filters to this process")

    def confine(self, slot: int, directory: str) -> None:
        """See :meth:`Unsafe.confine`."""
        linux.no_new_privileges()
        descriptor = os.open(directory, os.O_PATH | os.O_DIRECTORY)
        landlock.restrict(self._abi, [*self._rules, (descriptor, landlock.all_access(self._abi))])
        owner = self.owner(slot)
        if owner is not None:
            linux.drop_user(owner)
        linux.drop_capabilities()
        seccomp.install(self._filter)


class Namespaces(Unsafe):
    """An own root with nothing but the system's programs, own pids, an empty network, and the seccomp filter."""

    name = "Namespaces"
    own_pids = True
    files_capped = True

    def __init__(self, setup: Setup) -> None:
        super().__init__(setup)
        self._nested = False

    @property
    def processes_capped(self) -> bool:
        """See :attr:`Unsafe.processes_capped`; since Linux 5.14 each user namespace has a count of its own."""
        numbers = tuple(int(number) for number in re.findall(r"\d+", platform.release())[:2])
        return self.users is not None or numbers >= (5, 14)

    def owner(self, slot: int) -> int | None:
        """See :meth:`Unsafe.owner`."""
        return _USER_INSIDE if self._nested else super().owner(slot)

    def prepare(self) -> None:
        """See :meth:`Unsafe.prepare`."""
        super().prepare()
        self._claim_users()
        try:
            self._filter = seccomp.program()
            spaces = linux.CLONE_NEWNS | linux.CLONE_NEWNET | linux.CLONE_NEWIPC | linux.CLONE_NEWUTS
            try:
                if self.users is None:
                    raise PermissionError
                linux.unshare(spaces)
            except PermissionError:
                self.users = None
                self._nested = True
                self._new_user_namespace(spaces)
            self._build_root()
            self._try()
        except OSError as error:
            raise Missing(f"this process cannot make namespaces ({error.strerror or error})") from error

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
        for path in (*self._readable(), *_DEVICES):
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
        if path not in _DEVICES:
            linux.read_only(target)

    def _try(self) -> None:
        child = os.fork()
        if child == 0:
            try:
                self.enter(0, 1)
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

    def enter(self, slot: int, files_mebibytes: int) -> str:
        """See :meth:`Unsafe.enter`. The directory is a file system of its own, in memory, limited in size."""
        if self._nested:
            self._new_user_namespace(linux.CLONE_NEWNS | linux.CLONE_NEWPID)
        else:
            linux.unshare(linux.CLONE_NEWNS | linux.CLONE_NEWPID)
        size = f"size={files_mebibytes * _MEBIBYTE},nr_inodes={tree.MAX_ENTRIES},mode=700"
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

    def confine(self, slot: int, directory: str) -> None:
        """See :meth:`Unsafe.confine`."""
        linux.no_new_privileges()
        owner = super().owner(slot)
        if owner is not None:
            linux.drop_user(owner)
        linux.drop_capabilities()
        seccomp.install(self._filter)


def _open_to_all(path: str) -> bool:
    """Whether every user may read a folder and reach it from the root."""
    if os.stat(path).st_mode & 0o005 != 0o005:
        return False
    while path != "/":
        path = os.path.dirname(path)
        if not os.stat(path).st_mode & 0o001:
            return False
    return True


PROVIDERS: dict[str, type[Unsafe]] = {kind.name: kind for kind in (Namespaces, Landlock, Unsafe)}
