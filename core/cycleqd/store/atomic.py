"""Files that appear complete or not at all, and the one place that translates the operating system's errors.

Used by the folder store for its objects and by every store for the files it downloads. Nothing here knows keys.
"""

from __future__ import annotations

import errno
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from cycleqd.errors import AccessDenied, BadManifest, CycleQDError, MissingObject, NoSpace, StoreUnreachable

_CHUNK_BYTES = 4 << 20

_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
_DENIED = frozenset({errno.EACCES, errno.EPERM, errno.EROFS})
_NOT_A_FOLDER = frozenset({errno.ENOTDIR, errno.EISDIR, errno.ELOOP})


def translate(error: OSError, where: str) -> CycleQDError:
    """Return the error of the tree for an operating system's error; ``where`` names the store or the file."""
    reason = (error.strerror or str(error)).lower()
    if error.errno in _FULL:
        return NoSpace(f"{where} has no room left ({reason}): free space or choose another place, then run it again.")
    if error.errno in _DENIED:
        return AccessDenied(f"{where} cannot be read or written ({reason}): correct its owner or its permissions.")
    if error.errno in _NOT_A_FOLDER:
        return BadManifest(f"{where} has a file where a folder should be, or the reverse ({reason}): rename it.")
    return StoreUnreachable(f"{where} does not answer ({reason}): check the disk or the mount, then run it again.")


@contextmanager
def complete_file(path: Path) -> Iterator[Path]:
    """Give a temporary path beside ``path``; on success it is made durable and renamed, else it is removed.

    Raises:
        CycleQDError: an operating system's error, translated.
    """
    temporary = temporary_name(path.parent, path.name)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        make_durable(temporary)
        temporary.replace(path)
        make_durable(path.parent)
    except OSError as error:
        raise translate(error, f"The file {path}") from error
    finally:
        with suppress(OSError):  # the first error is the one worth telling
            temporary.unlink(missing_ok=True)


@contextmanager
def open_source(path: Path) -> Iterator[BinaryIO]:
    """Open a file to be read.

    Raises:
        MissingObject: there is no such file.
        CycleQDError: another error of the operating system, translated.
    """
    try:
        source = path.open("rb")
    except FileNotFoundError as error:
        raise MissingObject(f"There is no file {path} to upload: make it first, or correct its name.") from error
    except OSError as error:
        raise translate(error, f"The file {path}") from error
    with source:
        yield source


def copy(source: BinaryIO, path: Path) -> None:
    """Write the rest of ``source`` to the file ``path``."""
    with path.open("wb") as target:
        shutil.copyfileobj(source, target, _CHUNK_BYTES)


def check_arrived(path: Path, size: int, what: str) -> None:
    """Compare a file's length with the ``size`` [bytes] it should have.

    Raises:
        StoreUnreachable: it is another.
    """
    arrived = path.stat().st_size
    if arrived != size:
        raise StoreUnreachable(f"{arrived} bytes of {what} arrived instead of {size}: run it again.")


def temporary_name(folder: Path, name: str) -> Path:
    """Return a path that no other writer, in this or another process or machine, uses."""
    return folder / f".{name}.{secrets.token_hex(8)}.part"


def make_durable(path: Path) -> None:
    """Wait until a file's content or a folder's entries are on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
