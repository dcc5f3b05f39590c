"""The fresh directory of one execution: write it, measure it while code runs in it, collect it, remove it.

Whatever is found there was made by model-written code: links are never followed, only regular files are opened,
and nothing here recurses, so depth and odd permissions do no harm.
"""

from __future__ import annotations

import contextlib
import os
import stat
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

_Result = TypeVar("_Result")

MAX_ENTRIES = 4096
"""Files, folders and links that one execution may have; more counts as the limit on files."""
MAX_DEPTH = 64
"""Folders below this depth are not collected."""
_LONG_PATH = 3500
"""Bytes; beyond it a path soon stops being a path (PATH_MAX), so nesting that deep counts as the limit on files."""
_BLOCK = 512
"""Unit of ``st_blocks``, bytes."""
_SETTLED_NS = 100_000_000
"""Age from which a folder's change time tells it from any later one: kernels count it in ticks of up to 10 ms."""

Entry = tuple[str, str, int, str, bytes]
"""Relative path, kind (file, directory, symlink, other), permission bits, link target, content."""


def write(
    top: str,
    files: Iterable[tuple[str, bytes]],
    directories: Sequence[str],
    executable: Sequence[str],
    owner: int | None,
) -> None:
    """Fill the fresh directory. ``owner`` (uid and gid) gets all of it, also the directory itself."""
    made = {""}

    def make(path: str) -> None:
        if path not in made:
            make(os.path.dirname(path))
            os.mkdir(os.path.join(top, path), 0o755)
            made.add(path)

    for path in directories:
        make(path.strip("/"))
    for path, content in files:
        make(os.path.dirname(path))
        mode = 0o755 if path in executable else 0o644
        descriptor = os.open(os.path.join(top, path), os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
        made.add(path)
    if owner is not None:
        for path in made:
            os.chown(os.path.join(top, path), owner, owner)


@dataclass(frozen=True)
class _Listing:
    """What a folder held when it was last listed; ``stamp`` tells whether anything has come or gone since."""

    stamp: tuple[int, int, int]
    entries: int
    folders: tuple[str, ...]
    others: tuple[str, ...]
    """Paths of files and what else may take space; links are too short to count, and machines have many."""


class Meter:
    """Measures a directory while code runs in it. Folders in which nothing has come or gone are not listed again."""

    def __init__(self, top: str) -> None:
        self._top = top
        self._known: dict[str, _Listing] = {}

    def measure(self, most: int = MAX_ENTRIES) -> tuple[int, int]:
        """Return (bytes on disk, entries). More than ``most`` entries are not counted to the end."""
        size = count = 0
        pending, known = [self._top], self._known
        self._known = {}
        while pending and count <= most:
            path = pending.pop()
            if len(path) > _LONG_PATH:
                return size, most + 1
            with contextlib.suppress(OSError):  # went away while we looked, or closed to us for the moment
                status = os.lstat(path)
                size += status.st_blocks * _BLOCK if path != self._top else 0
                listing = self._listing(path, status, known.get(path), most)
                count += listing.entries
                pending += listing.folders
                size += sum(map(_bytes_on_disk, listing.others))
        return size, count

    def _listing(self, path: str, status: os.stat_result, last: _Listing | None, most: int) -> _Listing:
        """Return what a folder holds. A change's time, unlike the others, is nothing that code could set."""
        now = time.time_ns()
        listing = last
        if listing is None or listing.stamp != _stamp(status):
            listing = _list(path, status, most)
        if listing.entries <= most and now - status.st_ctime_ns > _SETTLED_NS:
            self._known[path] = listing
        return listing


def _stamp(status: os.stat_result) -> tuple[int, int, int]:
    return status.st_dev, status.st_ino, status.st_ctime_ns


def _list(path: str, status: os.stat_result, most: int) -> _Listing:
    """List a folder, no further than to one more than ``most`` entries. Raises OSError."""
    count, folders, others = 0, [], []
    with os.scandir(path) as entries:
        for entry in entries:
            count += 1
            if count > most:
                break
            if entry.is_dir(follow_symlinks=False):
                folders.append(entry.path)
            elif not entry.is_symlink():
                others.append(entry.path)
    return _Listing(_stamp(status), count, tuple(folders), tuple(others))


def _bytes_on_disk(path: str) -> int:
    try:
        return os.lstat(path).st_blocks * _BLOCK
    except OSError:
        return 0


def collect(top: str, budget: int) -> tuple[list[Entry], bool]:
    """Return the final state of the tree and whether it is complete.

    Contents beyond ``budget`` bytes in total, entries beyond :data:`MAX_ENTRIES` and folders deeper than
    :data:`MAX_DEPTH` are left out. Nothing may run in the directory any more.
    """
    entries: list[Entry] = []
    complete = True
    pending = [("", top, 0)]
    while pending:
        relative, absolute, depth = pending.pop()
        for name in sorted(_opened_up(absolute, os.listdir)):
            if len(entries) >= MAX_ENTRIES:
                return entries, False
            path, inner = os.path.join(absolute, name), os.path.join(relative, name)
            status = os.lstat(path)
            mode = stat.S_IMODE(status.st_mode)
            if stat.S_ISDIR(status.st_mode):
                entries.append((inner, "directory", mode, "", b""))
                if depth < MAX_DEPTH:
                    pending.append((inner, path, depth + 1))
                else:
                    complete = False
            elif stat.S_ISLNK(status.st_mode):
                entries.append((inner, "symlink", mode, os.readlink(path), b""))
            elif stat.S_ISREG(status.st_mode):
                content = b""
                if status.st_size <= budget:
                    content = _opened_up(path, _read)
                    budget -= status.st_size
                else:
                    complete = False
                entries.append((inner, "file", mode, "", content))
            else:
                entries.append((inner, "other", mode, "", b""))
    return entries, complete


def _read(path: str) -> bytes:
    with open(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK), "rb") as file:
        return file.read()


def _opened_up(path: str, read: Callable[[str], _Result]) -> _Result:
    """Return ``read(path)``; whoever closed the path to its owner (chmod 000) must not close it to us."""
    try:
        return read(path)
    except PermissionError:
        os.chmod(path, 0o700)
        return read(path)


def remove(top: str) -> None:
    """Remove the directory with all its content, however deep and whatever its permissions.

    Folders that are not empty are first moved up to ``top``, so paths stay short at any depth.
    """
    moved = _names()
    pending = [top]
    while pending:
        path = pending.pop()
        os.chmod(path, 0o700)
        with os.scandir(path) as scanned:
            entries = list(scanned)
        for entry in entries:
            child = entry.path
            if not entry.is_dir(follow_symlinks=False):
                os.unlink(child)
                continue
            try:
                os.rmdir(child)
            except OSError:  # not empty, or closed
                os.chmod(child, 0o700)
                target = os.path.join(top, next(moved))
                os.rename(child, target)
                pending.append(target)
        if path != top:
            os.rmdir(path)
    os.rmdir(top)


def _names() -> Iterator[str]:
    """Names that code in the sandbox could not have chosen in advance."""
    token = os.urandom(8).hex()
    number = 0
    while True:
        number += 1
        yield f".removing-{token}-{number}"
