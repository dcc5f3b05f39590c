"""The few Linux calls that the standard library of Python 3.11 lacks. What they are used for is decided elsewhere."""

from __future__ import annotations

import ctypes
import os
import platform

CLONE_NEWNS = 0x00020000
CLONE_NEWUTS = 0x04000000
CLONE_NEWIPC = 0x08000000
CLONE_NEWUSER = 0x10000000
CLONE_NEWPID = 0x20000000
CLONE_NEWNET = 0x40000000

MS_NOSUID, MS_NODEV, MS_BIND, MS_REC, MS_PRIVATE = 0x2, 0x4, 0x1000, 0x4000, 0x40000
MNT_DETACH = 2

_PR_SET_PDEATHSIG, _PR_SET_NO_NEW_PRIVS, _PR_SET_CHILD_SUBREAPER, _PR_SET_DUMPABLE = 1, 38, 36, 4
_PR_SET_NAME = 15
_ARGUMENTS_START, _ARGUMENTS_END = 47, 48
"""Fields of /proc/PID/stat, from 0."""
_AT_RECURSIVE = 0x8000
_MOUNT_ATTR_RDONLY, _MOUNT_ATTR_NOSUID, _MOUNT_ATTR_NODEV = 1, 2, 4
_CAPABILITY_VERSION_3 = 0x20080522
_NUMBERS = {
    "x86_64": {"pivot_root": 155, "capset": 126, "close_range": 436, "mount_setattr": 442},
    "aarch64": {"pivot_root": 41, "capset": 91, "close_range": 436, "mount_setattr": 442},
}
MACHINE = platform.machine()

libc = ctypes.CDLL(None, use_errno=True)
libc.syscall.restype = ctypes.c_long


def _failed(what: str) -> OSError:
    code = ctypes.get_errno()
    return OSError(code, f"{what}: {os.strerror(code)}")


def syscall(name: str, number: int, *arguments: int | bytes | ctypes.Array[ctypes.c_char] | None) -> int:
    """Call the kernel directly. Raises OSError, its message begins with ``name``."""
    converted = [ctypes.c_long(value) if isinstance(value, int) else value for value in arguments]
    result = int(libc.syscall(ctypes.c_long(number), *converted))
    if result < 0:
        raise _failed(name)
    return result


def _number(name: str) -> int:
    if MACHINE not in _NUMBERS:
        raise OSError(f"{name}: system call numbers of {MACHINE} are not known")
    return _NUMBERS[MACHINE][name]


def unshare(flags: int) -> None:
    """Move this process (and, for pids, its future children) to new namespaces. Raises OSError."""
    if libc.unshare(ctypes.c_int(flags)):
        raise _failed("unshare")


def mount(source: str, target: str, kind: str | None, flags: int, options: str | None = None) -> None:
    """Mount a file system, arguments as in the manual page. Raises OSError."""
    encoded = [None if text is None else os.fsencode(text) for text in (source, target, kind, options)]
    if libc.mount(encoded[0], encoded[1], encoded[2], ctypes.c_ulong(flags), encoded[3]):
        raise _failed(f"mount {target}")


def read_only(target: str) -> None:
    """Make a mount and all below it read-only, without set-uid and devices (Linux 5.12). Raises OSError."""
    attributes = (ctypes.c_uint64 * 4)(_MOUNT_ATTR_RDONLY | _MOUNT_ATTR_NOSUID | _MOUNT_ATTR_NODEV, 0, 0, 0)
    raw = ctypes.create_string_buffer(bytes(attributes), 32)
    syscall("mount_setattr", _number("mount_setattr"), -100, os.fsencode(target), _AT_RECURSIVE, raw, 32)


def pivot_root(new: str, old: str) -> None:
    """Make ``new`` the root and move the former root to ``old``, a folder below it. Raises OSError."""
    syscall("pivot_root", _number("pivot_root"), os.fsencode(new), os.fsencode(old))


def detach(target: str) -> None:
    """Take a mount away as soon as nobody uses it. Raises OSError."""
    if libc.umount2(os.fsencode(target), ctypes.c_int(MNT_DETACH)):
        raise _failed(f"umount {target}")


def set_hostname(name: str) -> None:
    """Set the host name of this UTS namespace. Raises OSError."""
    if libc.sethostname(name.encode(), ctypes.c_size_t(len(name))):
        raise _failed("sethostname")


def close_from(first: int, last: int = 0x7FFFFFFF) -> None:
    """Close all descriptors from ``first`` to ``last``."""
    if first > last:
        return
    try:
        syscall("close_range", _number("close_range"), first, last, 0)
    except OSError:  # before Linux 5.9
        os.closerange(first, min(last + 1, 65536))


def _prctl(option: int, value: int) -> None:
    zero = ctypes.c_ulong(0)
    if libc.prctl(ctypes.c_int(option), ctypes.c_ulong(value), zero, zero, zero):
        raise _failed(f"prctl {option}")


def no_new_privileges() -> None:
    """From now on no exec of this process or its children gains privileges. Raises OSError."""
    _prctl(_PR_SET_NO_NEW_PRIVS, 1)


def become_subreaper() -> None:
    """Orphaned descendants become children of this process, not of pid 1. Raises OSError."""
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)


def die_with_parent() -> None:
    """Have the kernel kill this process when its parent ends. Raises OSError."""
    _prctl(_PR_SET_PDEATHSIG, 9)


def allow_own_proc() -> None:
    """Own the files of /proc/self again after a change of user, which user namespaces need. Raises OSError."""
    _prctl(_PR_SET_DUMPABLE, 1)


def rename(name: str, arguments: str) -> None:
    """Show this process and its children by another name and command line. Raises OSError."""
    if libc.prctl(ctypes.c_int(_PR_SET_NAME), ctypes.c_char_p(name.encode())):
        raise _failed("prctl name")
    encoded = f"{name} {arguments}".encode()
    with open("/proc/self/stat") as file:
        fields = file.read().rpartition(") ")[2].split()
    start, end = (int(fields[index - 2]) for index in (_ARGUMENTS_START, _ARGUMENTS_END))
    ctypes.memmove(start, encoded[: end - start].ljust(end - start, b"\0"), end - start)


def drop_capabilities() -> None:
    """Give up all capabilities of this process. Raises OSError."""
    header = ctypes.create_string_buffer(_CAPABILITY_VERSION_3.to_bytes(4, "little") + bytes(4), 8)
    syscall("capset", _number("capset"), header, ctypes.create_string_buffer(24))


def drop_user(uid: int) -> None:
    """Become the user and group ``uid`` with no further groups. Raises OSError."""
    os.setgroups([])
    os.setresgid(uid, uid, uid)
    os.setresuid(uid, uid, uid)
