"""What can be done with any object store: whole folders, and a trial before a long run. Only the contract is used."""

from __future__ import annotations

import secrets
from collections.abc import Container
from pathlib import Path

from cycleqd.errors import MissingObject, UnsupportedHere
from cycleqd.store.contract import ObjectStore, check_prefix


def upload_folder(store: ObjectStore, folder: Path, prefix: str, last: Container[str] = ()) -> int:
    """Upload all files below ``folder`` as ``prefix``/RELATIVE PATH, in the order of their names.

    Each object appears whole, the set of them does not: readers need an object that is written last.

    Args:
        store: to upload to.
        folder: with the files.
        prefix: of their keys.
        last: names of files that follow all others.

    Returns:
        How many files there were.

    Raises:
        MissingObject: there is no such folder.
    """
    if not folder.is_dir():
        raise MissingObject(f"There is no folder {folder} to upload: make it first, or correct its name.")
    files = sorted((path for path in folder.rglob("*") if path.is_file()), key=lambda path: (path.name in last, path))
    for path in files:
        store.upload(path, _below(prefix) + path.relative_to(folder).as_posix())
    return len(files)


def download_folder(store: ObjectStore, prefix: str, folder: Path) -> int:
    """Download all objects below ``prefix`` into ``folder``; a file of the right size is not fetched again.

    Only for write-once prefixes: the size does not tell two versions of an object apart.

    Returns:
        How many objects there are.

    Raises:
        MissingObject: there are none.
    """
    start = _below(prefix)
    count = 0
    for key in store.list(start):
        target = folder / key.removeprefix(start)
        if not target.is_file() or target.stat().st_size != store.size(key):
            store.download(key, target)
        count += 1
    if not count:
        raise MissingObject(
            f"The store {store.uri} has nothing{f' below {start}' if start else ''}: "
            "check the URI and whether it was written."
        )
    return count


def folder_size(store: ObjectStore, prefix: str) -> int:
    """Return the length of all objects below ``prefix`` together, in bytes; 0 if there are none."""
    return sum(store.size(key) for key in store.list(_below(prefix)))


def probe(store: ObjectStore) -> None:
    """Write, read and remove a small object, so that a run meets a useless store at its beginning.

    Raises:
        UnsupportedHere: the store does not honour write-once, so that results could be overwritten.
        CycleQDError: it cannot be reached, refuses the credentials, has no such bucket or no room.
    """
    key = f"probe/{secrets.token_hex(8)}"
    store.put_once(key, b"first")
    honoured = not store.put_once(key, b"second") and store.get(key) == b"first"
    store.delete(key)
    if not honoured:
        raise UnsupportedHere(
            f"The store {store.uri} overwrites objects in spite of 'If-None-Match: *', so results could be lost: "
            "use a server that honours conditional writes."
        )


def _below(prefix: str) -> str:
    """Return ``prefix`` with one slash at its end; empty stays empty."""
    return check_prefix(prefix.rstrip("/") + "/") if prefix else ""
