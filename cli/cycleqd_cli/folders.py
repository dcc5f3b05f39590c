"""Output folders that people name: nothing is overwritten unasked, nothing is left half done."""

from __future__ import annotations

import contextlib
import errno
import shutil
from collections.abc import Iterator
from pathlib import Path

from cycleqd.errors import AccessDenied, BadData, NoSpace


@contextlib.contextmanager
def replaced_folder(folder: Path, *, force: bool) -> Iterator[Path]:
    """Give a path beside ``folder`` that does not exist yet, and let it become ``folder`` if all goes well.

    Args:
        folder: new or empty, or whatever it likes if ``force``; the old content stays until the new one is complete.
        force: replace what is there.

    Raises:
        BadData: it is a file, or not empty.
        NoSpace, AccessDenied: the disk is full, or may not be written.
    """
    if folder.exists() and not folder.is_dir():
        raise BadData(f"{folder} is a file: name a folder.")
    if folder.is_dir() and any(folder.iterdir()) and not force:
        raise BadData(f"The folder {folder} is not empty: name another one, or replace what is in it with --force.")
    # Not folder.parent: the last part of a path like `..` is no name.
    target = folder.resolve()
    work = target.with_name(f".{target.name}.new")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(work, ignore_errors=True)  # of a command that was killed
        yield work
        if target.exists():
            shutil.rmtree(target)
        work.rename(target)
    except OSError as error:
        raise _translate(error, folder) from error
    finally:
        shutil.rmtree(work, ignore_errors=True)


def write_text(file: Path, text: str) -> None:
    """Write a file that appears whole or not at all; its folder is made.

    Raises:
        NoSpace, AccessDenied: the disk is full, or may not be written.
    """
    work = file.with_name(f".{file.name}.new")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        work.write_text(text, encoding="utf-8")
        work.replace(file)
    except OSError as error:
        work.unlink(missing_ok=True)
        raise _translate(error, file) from error


def _translate(error: OSError, path: Path) -> Exception:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return NoSpace(f"The disk became full while {path} was written: free some space and try again.")
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EEXIST):
        return AccessDenied(f"{path} cannot be written ({error.strerror}): name another place.")
    return error
