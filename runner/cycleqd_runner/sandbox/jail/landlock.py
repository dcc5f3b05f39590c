"""Landlock's three system calls: which files a process may touch, and whom it may signal. Policy is in providers."""

from __future__ import annotations

import ctypes
import os
import stat
import struct
from collections.abc import Iterable

from . import linux

_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446  # the same numbers on all architectures
_RULE_PATH_BENEATH = 1
_CREATE_RULESET_VERSION = 1

EXECUTE, WRITE_FILE, READ_FILE, READ_DIR = 1 << 0, 1 << 1, 1 << 2, 1 << 3
_REFER, _TRUNCATE, _IOCTL_DEV = 1 << 13, 1 << 14, 1 << 15
_ALL_OF_FIRST_VERSION = (1 << 13) - 1
_FOR_FILES = EXECUTE | WRITE_FILE | READ_FILE | _TRUNCATE | _IOCTL_DEV
_NET_ALL = 0b11
"""Bind and connect TCP."""
_SCOPE_ALL = 0b11
"""Abstract UNIX sockets and signals."""

_NET_SINCE = 4
READ = EXECUTE | READ_FILE | READ_DIR

SIGNALS_SINCE = 6
"""First version of the interface that keeps signals inside (Linux 6.12)."""
TRUNCATE_SINCE = 3
"""First version of the interface that knows about truncation (Linux 6.2)."""


def version() -> int:
    """Return the version of the kernel's Landlock interface; 0 if there is none."""
    try:
        return linux.syscall("landlock_create_ruleset", _CREATE_RULESET, None, 0, _CREATE_RULESET_VERSION)
    except OSError:
        return 0


def all_access(abi: int) -> int:
    """Return the bits of all that version ``abi`` can restrict on files."""
    bits = _ALL_OF_FIRST_VERSION
    for since, bit in ((2, _REFER), (TRUNCATE_SINCE, _TRUNCATE), (5, _IOCTL_DEV)):
        if abi >= since:
            bits |= bit
    return bits


def restrict(abi: int, rules: Iterable[tuple[int, int]]) -> None:
    """Deny this process and its children every file, TCP port and outside signal except by ``rules``.

    ``rules`` are pairs of a descriptor (a folder, with all below it, or a file) and the allowed access bits.
    Needs :func:`linux.no_new_privileges`. Raises OSError.
    """
    handled = all_access(abi)
    attributes = struct.pack("=QQQ", handled, _NET_ALL, _SCOPE_ALL)
    size = 24 if abi >= SIGNALS_SINCE else 16 if abi >= _NET_SINCE else 8
    ruleset = linux.syscall(
        "landlock_create_ruleset", _CREATE_RULESET, ctypes.create_string_buffer(attributes, 24), size, 0
    )
    try:
        for descriptor, access in rules:
            allowed = access & handled
            if not stat.S_ISDIR(os.fstat(descriptor).st_mode):
                allowed &= _FOR_FILES
            rule = ctypes.create_string_buffer(struct.pack("=Qi", allowed, descriptor), 12)
            linux.syscall("landlock_add_rule", _ADD_RULE, ruleset, _RULE_PATH_BENEATH, rule, 0)
        linux.syscall("landlock_restrict_self", _RESTRICT_SELF, ruleset, 0)
    finally:
        os.close(ruleset)
