"""The object store in a folder: a key is a file's relative path.

Several processes may use one folder, also over NFS: a write is a temporary file, made durable, that is renamed (put)
or hard-linked (put_once) to its name. What S3 does lives in :mod:`cycleqd.store.s3`.
"""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from cycleqd.errors import BadData, BadManifest, MissingObject, UnsupportedHere
from cycleqd.store.atomic import (
    check_arrived,
    complete_file,
    copy,
    make_durable,
    open_source,
    temporary_name,
    translate,
)
from cycleqd.store.contract import RESERVED_SEGMENT, check_key, check_prefix, is_key

_ABANDONED_SECONDS = 86_400.0
"""A temporary file this old belongs to a writer that was killed: no write takes a day."""

_PUBLISH_TRIES = 16
"""How often a folder may be removed by another process's :meth:`FolderStore.delete` before we call it broken."""

_NO_LINKS = frozenset({errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK})


class FolderStore:
    """An :class:`~cycleqd.store.contract.ObjectStore` in a folder, which is made at the first write."""

    def __init__(self, root: Path) -> None:
        """Name the folder.

        Raises:
            BadManifest: there is a file of that name.
        """
        self.root = Path(os.path.abspath(root))  # noqa: PTH100 - a linked folder keeps the name its user gave it
        if self.root.exists() and not self.root.is_dir():
            raise BadManifest(f"The store {root} is a file, not a folder: choose another storage.uri.")
        self._temporary = self.root / RESERVED_SEGMENT
        self._ready = False

    @property
    def uri(self) -> str:
        """``file:///PATH``, percent-encoded where need be."""
        return self.root.as_uri()

    def path(self, key: str) -> Path:
        """Return the file of a key, for readers that map files into memory. Write through the store only."""
        return self.root.joinpath(*check_key(key).split("/"))

    def get(self, key: str) -> bytes:
        """Return the whole object."""
        with self._reading(key):
            return self.path(key).read_bytes()

    def put(self, key: str, data: bytes) -> None:
        """Write the object, over an older one if need be."""
        self._publish(key, lambda temporary: _write(temporary, data), _rename)

    def put_once(self, key: str, data: bytes) -> bool:
        """Write the object unless there is one: a hard link has exactly one winner, also between machines."""
        if self.exists(key):
            return False
        return self._publish(key, lambda temporary: _write(temporary, data), _link)

    def list(self, prefix: str = "", after: str = "") -> Iterator[str]:
        """Yield the keys below ``prefix`` after ``after``, in order; at most one folder a level is in memory."""
        folder = check_prefix(prefix).rpartition("/")[0]
        start = f"{folder}/" if folder else ""
        try:
            yield from _walk(self.root / folder, start, prefix, after)
        except OSError as error:
            raise translate(error, f"The store {self.uri}") from error

    def exists(self, key: str) -> bool:
        """Return whether there is a file of this key."""
        with self._reading(key):
            return self.path(key).is_file()

    def size(self, key: str) -> int:
        """Return the file's length in bytes."""
        path = self.path(key)
        with self._reading(key):
            if path.is_dir():
                raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
            return path.stat().st_size

    def upload(self, path: Path, key: str) -> None:
        """Copy a file into the store."""
        with open_source(path) as source:
            self._publish(key, lambda temporary: copy(source, temporary), _rename)

    def download(self, key: str, path: Path) -> None:
        """Copy an object out of the store."""
        size = self.size(key)
        with self._reading(key):
            source = self.path(key).open("rb")
        with source, complete_file(path) as temporary:
            copy(source, temporary)
            check_arrived(temporary, size, f"the object {key} of the store {self.uri}")

    def delete(self, key: str) -> None:
        """Remove the file, and the folders that are empty then."""
        path = self.path(key)
        with self._reading(key):
            if path.is_file():
                path.unlink(missing_ok=True)
        self._prune(path.parent)

    def delete_prefix(self, prefix: str) -> int:
        """Remove all files below ``prefix``."""
        count = 0
        for key in self.list(check_prefix(prefix, folder=True)):
            self.delete(key)
            count += 1
        return count

    def clear_abandoned(self) -> int:
        """Remove the temporary files of writers that were killed more than a day ago; return how many.

        The first write through this object does it.
        """
        oldest = time.time() - _ABANDONED_SECONDS
        count = 0
        for leftover in self._temporary.glob(".*.part"):
            with suppress(FileNotFoundError):  # another process clears up, too
                if leftover.stat().st_mtime < oldest:
                    leftover.unlink()
                    count += 1
        return count

    def _publish(self, key: str, fill: Callable[[Path], None], install: Callable[[Path, Path], bool]) -> bool:
        """Let ``fill`` write a temporary file, make it durable and let ``install`` give it the key's name."""
        path = self.path(key)
        with self._writing(key):
            self._temporary.mkdir(parents=True, exist_ok=True)
            if not self._ready:
                self.clear_abandoned()
                self._ready = True
            temporary = temporary_name(self._temporary, path.name)
            try:
                fill(temporary)
                make_durable(temporary)
                installed = _with_parents(path, lambda: install(temporary, path))
            finally:
                with suppress(OSError):  # the first error is the one worth telling
                    temporary.unlink(missing_ok=True)
            make_durable(path.parent)
            return installed

    def _prune(self, folder: Path) -> None:
        """Remove empty folders from ``folder`` up to, not including, the root."""
        while folder != self.root:
            try:
                folder.rmdir()
            except OSError:  # not empty, or another process was faster: either way there is nothing to do
                return
            folder = folder.parent

    @contextmanager
    def _reading(self, key: str) -> Iterator[None]:
        """Translate errors of reading; whatever makes the file not be there means that there is no object."""
        try:
            yield
        except (FileNotFoundError, IsADirectoryError, NotADirectoryError) as error:
            raise MissingObject(
                f"The store {self.uri} has no object {key}: check the URI and whether it was written."
            ) from error
        except OSError as error:
            raise translate(error, f"The store {self.uri}") from error

    @contextmanager
    def _writing(self, key: str) -> Iterator[None]:
        """Translate errors of writing."""
        try:
            yield
        except (FileExistsError, IsADirectoryError, NotADirectoryError) as error:
            raise BadData(
                f"The store {self.uri} cannot hold {key}, because a key lies above or below it: choose another key."
            ) from error
        except OSError as error:
            raise translate(error, f"The store {self.uri}") from error


def _write(path: Path, data: bytes) -> None:
    path.write_bytes(data)


def _rename(temporary: Path, path: Path) -> bool:
    """Replace what is there."""
    temporary.replace(path)
    return True


def _link(temporary: Path, path: Path) -> bool:
    """Take the name if it is free."""
    try:
        os.link(temporary, path)
    except FileExistsError:
        if path.is_dir():
            raise
        # An NFS server whose answer got lost refuses the repeated link that it had made: two names mean we won.
        return temporary.stat().st_nlink > 1
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        raise UnsupportedHere(
            f"The folder {path.parent} lies on a file system without hard links, which writing once needs: "
            "choose a storage.uri on another file system, or S3."
        ) from error
    return True


def _with_parents(path: Path, install: Callable[[], bool]) -> bool:
    """Make the parents and install; again when a deleting process removed the empty parents in between."""
    for _ in range(_PUBLISH_TRIES):
        path.parent.mkdir(parents=True, exist_ok=True)
        with suppress(FileNotFoundError):
            return install()
    path.parent.mkdir(parents=True, exist_ok=True)
    return install()


def _walk(folder: Path, start: str, prefix: str, after: str) -> Iterator[str]:
    """Yield the keys in ``folder``, whose own key is ``start``, that begin with ``prefix`` and come after ``after``.

    A folder sorts as its name with a slash: thus the names of one folder are in the order of all keys below them.
    """
    try:
        with os.scandir(folder) as entries:
            names = sorted([f"{start}{entry.name}/" if entry.is_dir() else start + entry.name for entry in entries])
    except (FileNotFoundError, NotADirectoryError):  # removed while we read, or nothing was written yet
        return
    for name in names:
        if not name.endswith("/"):
            if name.startswith(prefix) and name > after and is_key(name):
                yield name
        elif _may_hold(name, prefix, after):
            yield from _walk(folder / name[len(start) :], name, prefix, after)


def _may_hold(folder: str, prefix: str, after: str) -> bool:
    """Return whether keys below ``folder``, which ends with a slash, can be part of a listing."""
    if folder == f"{RESERVED_SEGMENT}/":
        return False
    return (folder > after or after.startswith(folder)) and (folder.startswith(prefix) or prefix.startswith(folder))
