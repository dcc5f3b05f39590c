"""A filter of system calls, assembled by hand: what no item needs and what could reach beyond the sandbox.

A deny list, because items run whatever the image has installed; files, signals and processes are the business of
namespaces or Landlock, this closes the doors that those leave open (sockets above all) and much kernel surface.
"""

from __future__ import annotations

import ctypes
import errno
import socket
import struct
from collections.abc import Iterable

from . import linux

_AUDIT_ARCH = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
_COLUMN = {"x86_64": 0, "aarch64": 1}
_X32_BIT = 0x40000000

# numbers on (x86_64, aarch64); None where the architecture has no such call
_DENIED: dict[str, tuple[int | None, int | None]] = {
    # reaching others: sockets, other processes' memory and descriptors, System V IPC, message queues
    "connect": (42, 203), "bind": (49, 200), "listen": (50, 201), "accept": (43, 202),
    "accept4": (288, 242), "ptrace": (101, 117), "process_vm_readv": (310, 270), "process_vm_writev": (311, 271),
    "pidfd_getfd": (438, 438), "kcmp": (312, 272), "process_madvise": (440, 440), "process_mrelease": (448, 448),
    "migrate_pages": (256, 238), "move_pages": (279, 239), "shmget": (29, 194), "msgget": (68, 186),
    "semget": (64, 190), "mq_open": (240, 180), "sched_setscheduler": (144, 119), "sched_setparam": (142, 118),
    "sched_setattr": (314, 274), "ioprio_set": (251, 30),
    # other roots, mounts and namespaces; handles that avoid paths; device nodes
    "mount": (165, 40), "umount2": (166, 39), "pivot_root": (155, 41), "chroot": (161, 51), "unshare": (272, 97),
    "setns": (308, 268), "move_mount": (429, 429), "open_tree": (428, 428), "fsopen": (430, 430),
    "fsconfig": (431, 431), "fsmount": (432, 432), "fspick": (433, 433), "mount_setattr": (442, 442),
    "open_tree_attr": (467, 467), "open_by_handle_at": (304, 265), "name_to_handle_at": (303, 264),
    "fanotify_init": (300, 262), "quotactl": (179, 60), "quotactl_fd": (443, 443), "swapon": (167, 224),
    "swapoff": (168, 225), "uselib": (134, None),
    # kernel surface that ordinary programs do without
    "bpf": (321, 280), "keyctl": (250, 219), "add_key": (248, 217), "request_key": (249, 218),
    "userfaultfd": (323, 282), "perf_event_open": (298, 241), "io_uring_setup": (425, 425),
    "io_uring_enter": (426, 426), "io_uring_register": (427, 427), "kexec_load": (246, 104),
    "kexec_file_load": (320, 294), "init_module": (175, 105), "finit_module": (313, 273),
    "delete_module": (176, 106), "reboot": (169, 142), "acct": (163, 89), "syslog": (103, 116),
    "settimeofday": (164, 170), "clock_settime": (227, 112), "clock_adjtime": (305, 266), "adjtimex": (159, 171),
    "sethostname": (170, 161), "setdomainname": (171, 162), "iopl": (172, None), "ioperm": (173, None),
    "vhangup": (153, 58), "lookup_dcookie": (212, 18), "modify_ldt": (154, None),
    # memory that no limit on files or address space counts
    "memfd_create": (319, 279), "memfd_secret": (447, 447),
}  # fmt: skip
_SIGNALS: dict[str, tuple[int | None, int | None]] = {
    "kill": (62, 129), "tkill": (200, 130), "tgkill": (234, 131), "rt_sigqueueinfo": (129, 138),
    "rt_tgsigqueueinfo": (297, 240), "pidfd_send_signal": (424, 424),
}  # fmt: skip
_TRUNCATE: dict[str, tuple[int | None, int | None]] = {"truncate": (76, 45)}
# PRoot is a tracer of its children. Calls that take paths and are too new for it have to seem missing, so that programs
# use the older ones; it would let them pass with the paths of the world outside.
_FOR_TRACERS = ("ptrace", "process_vm_readv", "process_vm_writev")
_UNKNOWN_TO_PROOT: dict[str, tuple[int, int]] = {
    "statx": (332, 291), "renameat2": (316, 276), "execveat": (322, 281), "openat2": (437, 437),
    "faccessat2": (439, 439), "fchmodat2": (452, 452), "setxattrat": (463, 463), "getxattrat": (464, 464),
    "listxattrat": (465, 465), "removexattrat": (466, 466), "file_getattr": (468, 468), "file_setattr": (469, 469),
}  # fmt: skip
# To whom files belong is something that only root could change. PRoot pretends, except inside user namespaces.
_CHANGING_OWNERS: dict[str, tuple[int | None, int | None]] = {
    "chown": (92, None), "fchown": (93, 55), "lchown": (94, None), "fchownat": (260, 54),
}  # fmt: skip
_SOCKET, _CLONE, _CLONE3, _SOCKETPAIR = (41, 198), (56, 220), (435, 435), (53, 199)
_PRLIMIT, _IOCTL = (302, 261), (16, 29)
_SETPRIORITY, _SETAFFINITY, _PERSONALITY, _FCNTL = (141, 140), (203, 122), (135, 92), (72, 25)
_CLONE_NAMESPACES = 0x7E020000
_TIOCSTI, _TIOCLINUX = 0x5412, 0x541C
_FIOSETOWN, _SIOCSPGRP = 0x8901, 0x8902
_F_SETOWN, _F_SETSIG, _F_SETOWN_EX = 8, 10, 15
"""Ways to have the kernel send a signal of one's choice when a pipe becomes readable."""
_PERSONALITY_QUERY = 0xFFFFFFFF

_LOAD, _JUMP_EQUAL, _JUMP_SET, _JUMP_GREATER_EQUAL, _RETURN = 0x20, 0x15, 0x45, 0x35, 0x06
_KILL, _ERRNO, _ALLOW = 0x80000000, 0x00050000, 0x7FFF0000
_DATA_NUMBER, _DATA_ARCH, _DATA_ARGUMENTS = 0, 4, 16
_PR_SET_SECCOMP, _SECCOMP_MODE_FILTER = 22, 2


def _op(code: int, value: int, if_true: int = 0, if_false: int = 0) -> bytes:
    return struct.pack("=HBBI", code, if_true, if_false, value)


def _deny(number: int, error: int = errno.EPERM) -> list[bytes]:
    return [_op(_JUMP_EQUAL, number, 0, 1), _op(_RETURN, _ERRNO | error)]


def _deny_unless(number: int, argument: int, allowed: int) -> list[bytes]:
    """Deny the call unless the low 32 bits of an argument equal ``allowed``."""
    return [
        _op(_JUMP_EQUAL, number, 0, 4),
        _op(_LOAD, _DATA_ARGUMENTS + 8 * argument),
        _op(_JUMP_EQUAL, allowed, 1, 0),
        _op(_RETURN, _ERRNO | errno.EPERM),
        _op(_RETURN, _ALLOW),
    ]


def _deny_if(number: int, argument: int, jump: int, values: Iterable[int]) -> list[bytes]:
    """Deny the call if an argument equals one of the values, or has one of their bits, by the kind of ``jump``."""
    checks = [part for value in values for part in (_op(jump, value, 0, 1), _op(_RETURN, _ERRNO | errno.EPERM))]
    body = [_op(_LOAD, _DATA_ARGUMENTS + 8 * argument), *checks, _op(_RETURN, _ALLOW)]
    return [_op(_JUMP_EQUAL, number, 0, len(body)), *body]


def _column(machine: str) -> int:
    if machine not in _COLUMN:
        raise OSError(f"seccomp: system call numbers of {machine} are not known")
    return _COLUMN[machine]


def _beginning(machine: str) -> list[bytes]:
    """Return what looks at the architecture and loads the call's number."""
    parts = [
        _op(_LOAD, _DATA_ARCH),
        _op(_JUMP_EQUAL, _AUDIT_ARCH[machine], 1, 0),
        _op(_RETURN, _KILL),  # a 32-bit call on a 64-bit kernel has other numbers
        _op(_LOAD, _DATA_NUMBER),
    ]
    if machine == "x86_64":
        parts += [_op(_JUMP_GREATER_EQUAL, _X32_BIT, 0, 1), _op(_RETURN, _ERRNO | errno.EPERM)]
    return parts


def _for_proot(column: int) -> list[bytes]:
    parts = []
    for numbers in _UNKNOWN_TO_PROOT.values():
        parts += _deny(numbers[column], errno.ENOSYS)
    for call in _CHANGING_OWNERS.values():
        if (number := call[column]) is not None:
            parts += _deny(number, 0)  # success, without having done anything
    return parts


def for_proot(machine: str = linux.MACHINE) -> bytes:
    """Return a filter that keeps nothing in, but has PRoot work: OSError for unknown architectures."""
    column = _column(machine)
    return b"".join([*_beginning(machine), *_for_proot(column), _op(_RETURN, _ALLOW)])


def program(
    machine: str = linux.MACHINE, *, signals: bool = True, truncate: bool = True, machine_root: bool = False
) -> bytes:
    """Return the filter's instructions for an architecture.

    Args:
        machine: ``x86_64`` or ``aarch64``; OSError for others.
        signals: whether processes may send signals; False where nothing else keeps them inside.
        truncate: whether truncate(2) by path is allowed; False where nothing else checks its path.
        machine_root: whether PRoot runs under it.
    """
    column = _column(machine)
    denied = {**_DENIED, **({} if signals else _SIGNALS), **({} if truncate else _TRUNCATE)}
    parts = _beginning(machine)
    if machine_root:
        denied = {name: numbers for name, numbers in denied.items() if name not in _FOR_TRACERS}
        parts += _for_proot(column)
    for numbers in denied.values():
        number = numbers[column]
        if number is not None:
            parts += _deny(number)
    parts += _deny(_SOCKET[column], errno.EAFNOSUPPORT)  # what programs take for a kernel without it, and go on
    parts += _deny(_CLONE3[column], errno.ENOSYS)  # its flags are behind a pointer; the C library falls back to clone
    parts += _deny_if(_CLONE[column], 0, _JUMP_SET, [_CLONE_NAMESPACES])
    by_descriptor = [] if signals else [_FIOSETOWN, _SIOCSPGRP]
    parts += _deny_if(_IOCTL[column], 1, _JUMP_EQUAL, [_TIOCSTI, _TIOCLINUX, *by_descriptor])
    if not signals:
        parts += _deny_if(_FCNTL[column], 1, _JUMP_EQUAL, [_F_SETOWN, _F_SETSIG, _F_SETOWN_EX])
    parts += _deny_unless(_SOCKETPAIR[column], 0, int(socket.AF_UNIX))
    parts += _deny_unless(_PRLIMIT[column], 0, 0)
    parts += _deny_unless(_SETPRIORITY[column], 1, 0)
    parts += _deny_unless(_SETAFFINITY[column], 0, 0)
    parts += _deny_unless(_PERSONALITY[column], 0, _PERSONALITY_QUERY)
    parts.append(_op(_RETURN, _ALLOW))
    return b"".join(parts)


def install(instructions: bytes) -> None:
    """Put a filter on this process and its future children. Needs :func:`linux.no_new_privileges`. Raises OSError."""
    code = ctypes.create_string_buffer(instructions, len(instructions))
    header = struct.pack("@HP", len(instructions) // 8, ctypes.addressof(code))
    if linux.libc.prctl(
        ctypes.c_int(_PR_SET_SECCOMP), ctypes.c_ulong(_SECCOMP_MODE_FILTER), ctypes.create_string_buffer(header)
    ):
        raise OSError(ctypes.get_errno(), "seccomp filter refused")
