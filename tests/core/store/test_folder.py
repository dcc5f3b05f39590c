"""What only the folder store can suffer: killed writers, full disks, file systems without links, foreign files."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from cycleqd.errors import (
    AccessDenied,
    BadData,
    BadManifest,
    CycleQDError,
    MissingObject,
    NoSpace,
    StoreUnreachable,
    UnsupportedHere,
)
from cycleqd.store import FolderStore, atomic, folder
from cycleqd.store.atomic import translate


@pytest.fixture
def store(tmp_path: Path) -> FolderStore:
    return FolderStore(tmp_path / "store")


_UPLOAD = """
import sys
from collections.abc import Callable
from pathlib import Path
from cycleqd.store import FolderStore
FolderStore(Path(sys.argv[1])).upload(Path(sys.argv[2]), "basis/x")
"""


def test_a_killed_upload_leaves_nothing_to_see(store: FolderStore, tmp_path: Path) -> None:
    """The writer reads from a pipe that ends in the middle; then it is killed."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    writer = subprocess.Popen([sys.executable, "-c", _UPLOAD, str(store.root), str(pipe)])
    with pipe.open("wb", buffering=0) as half:
        for _ in range(80):  # 10 MiB, more than the pipe and the writer's buffer hold: so part of it is on the disk
            half.write(b"x" * (1 << 17))
        os.kill(writer.pid, signal.SIGKILL)
        writer.wait()
    leftovers = list(store.root.rglob("*.part"))
    assert [path.stat().st_size > 0 for path in leftovers] == [True]
    assert not store.exists("basis/x")
    assert list(store.list()) == []
    os.utime(leftovers[0], (0, 0))
    FolderStore(store.root).put("basis/x", b"")
    assert list(store.root.rglob("*.part")) == []


def test_temporary_files_of_living_writers_stay(store: FolderStore) -> None:
    store.put("a", b"")
    young = store.root / ".cycleqd-tmp" / ".x.0123.part"
    young.write_bytes(b"being written")
    assert FolderStore(store.root).clear_abandoned() == 0
    assert young.exists()


@pytest.mark.parametrize("write", ["put", "put_once"])
@pytest.mark.parametrize(("first", "second"), [("a", "a/b"), ("a/b", "a"), ("a/b/c", "a")])
def test_a_key_below_another_is_refused(store: FolderStore, write: str, first: str, second: str) -> None:
    getattr(store, write)(first, b"kept")
    with pytest.raises(BadData, match="above or below"):
        getattr(store, write)(second, b"")
    assert list(store.list()) == [first]
    assert store.get(first) == b"kept"
    assert list(store.root.rglob("*.part")) == []


def test_reading_from_a_folder_that_is_not_there(store: FolderStore) -> None:
    assert list(store.list()) == []
    assert not store.exists("a")
    with pytest.raises(MissingObject):
        store.get("a")
    assert not store.root.exists()


def test_files_that_cannot_be_keys_are_not_listed(store: FolderStore) -> None:
    store.put("a", b"")
    (store.root / "back\\slash").touch()
    (store.root / os.fsdecode(b"latin-1 \xe9")).touch()
    assert list(store.list()) == ["a"]


def test_deleting_removes_empty_folders_but_not_the_root(store: FolderStore) -> None:
    store.put("a/b/c", b"")
    store.put("a/d", b"")
    store.delete("a/b/c")
    assert sorted(path.name for path in (store.root / "a").iterdir()) == ["d"]
    store.delete("a/d")
    assert store.root.is_dir()
    assert not (store.root / "a").exists()


def test_no_hard_links(store: FolderStore, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.EOPNOTSUPP, os.strerror(errno.EOPNOTSUPP))

    monkeypatch.setattr(os, "link", refuse)
    with pytest.raises(UnsupportedHere, match="hard links"):
        store.put_once("a", b"")
    assert list(store.list()) == []


def test_a_link_whose_confirmation_got_lost_counts(store: FolderStore, monkeypatch: pytest.MonkeyPatch) -> None:
    link = os.link

    def link_and_deny(source: Path, target: Path) -> None:
        link(source, target)
        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST))

    monkeypatch.setattr(os, "link", link_and_deny)
    assert store.put_once("a", b"mine") is True


def test_parents_that_vanish_are_made_again(store: FolderStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another process deletes the last other object of the folder just before this one's gets its name."""
    link = os.link
    vanished: list[Path] = []

    def vanish_once(source: Path, target: Path) -> None:
        if not vanished:
            target.parent.rmdir()
            vanished.append(target.parent)
        link(source, target)

    monkeypatch.setattr(os, "link", vanish_once)
    assert store.put_once("a/b", b"") is True
    assert vanished


@pytest.mark.parametrize(
    ("number", "kind", "advice"),
    [
        (errno.ENOSPC, NoSpace, "free space"),
        (errno.EDQUOT, NoSpace, "free space"),
        (errno.EFBIG, NoSpace, "free space"),
        (errno.EACCES, AccessDenied, "permissions"),
        (errno.EROFS, AccessDenied, "permissions"),
        (errno.ENOTDIR, BadManifest, "rename"),
        (errno.EIO, StoreUnreachable, "check the disk"),
        (errno.ESTALE, StoreUnreachable, "check the disk"),
    ],
    ids=lambda value: errno.errorcode.get(value) if isinstance(value, int) else None,
)
def test_the_operating_systems_errors(number: int, kind: type[CycleQDError], advice: str) -> None:
    error = translate(OSError(number, os.strerror(number)), "The store x")
    assert type(error) is kind
    assert str(error).startswith("The store x ")
    assert advice in str(error)


@pytest.mark.parametrize(
    "write",
    [
        lambda store, source: store.put("new", source.read_bytes()),
        lambda store, source: store.put_once("new", source.read_bytes()),
        lambda store, source: store.upload(source, "new"),
        lambda store, source: store.download("old", source.with_name("copy")),
    ],
    ids=["put", "put_once", "upload", "download"],
)
def test_a_full_device(
    store: FolderStore,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    write: Callable[[FolderStore, Path], object],
) -> None:
    """The temporary file is a device that is always full: the kernel itself says so."""
    full = tmp_path / "full.part"
    full.symlink_to("/dev/full")
    source = tmp_path / "source"
    source.write_bytes(b"x" * 10_000)
    store.put("old", b"old")
    monkeypatch.setattr(folder, "temporary_name", lambda *_: full)
    monkeypatch.setattr(atomic, "temporary_name", lambda *_: full)
    with pytest.raises(NoSpace, match=r"no room left \(no space left on device\)"):
        write(store, source)
    assert list(store.list()) == ["old"]
    assert not (tmp_path / "copy").exists()
