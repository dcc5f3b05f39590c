"""What every object store promises (cycleqd.store.contract), tried on each of them."""

from __future__ import annotations

import multiprocessing
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cycleqd.errors import BadData, MissingObject, TemporaryError
from cycleqd.store import FolderStore, ObjectStore
from cycleqd.store.transfer import download_folder, folder_size, probe, upload_folder
from tests.core.store.harness import PAGE_KEYS, Harness
from tests.core.store.race import write_in_threads

BIG = bytes(range(256)) * (11 << 12)
"""11 MiB: three parts over S3."""

KEYS = (
    "a-b/1",
    "a.json",
    "a/1",
    "a/10",
    "a/2",
    "a/b/c/d",
    "a/b.c",
    "a0",
    "results/0000001-1.json",
    "results/0000001.json",
    "results/0000002.json",
    "Zürich/模型 1",
    "z+&?#%20=;,:@!'()[]{}~",
)


@pytest.fixture
def store(harness: Harness) -> ObjectStore:
    return harness.open()


@pytest.fixture
def filled(store: ObjectStore) -> ObjectStore:
    for key in KEYS:
        store.put(key, key.encode())
    return store


@pytest.mark.parametrize("data", [b"", b"\x00\xff", b"x" * (1 << 20)], ids=["empty", "binary", "1 MiB"])
@pytest.mark.parametrize("write", ["put", "put_once"])
def test_reads_what_was_written(store: ObjectStore, write: str, data: bytes) -> None:
    getattr(store, write)("genomes/0000001.safetensors", data)
    assert store.get("genomes/0000001.safetensors") == data
    assert store.size("genomes/0000001.safetensors") == len(data)
    assert store.exists("genomes/0000001.safetensors")


def test_put_once_writes_once(store: ObjectStore) -> None:
    assert store.put_once("results/1.json", b"first") is True
    assert store.put_once("results/1.json", b"second") is False
    assert store.get("results/1.json") == b"first"
    store.put("archive/1.json", b"derived")
    assert store.put_once("archive/1.json", b"late") is False


def test_put_overwrites(store: ObjectStore) -> None:
    store.put("archive/1.json", b"a longer first version")
    store.put("archive/1.json", b"second")
    assert store.get("archive/1.json") == b"second"


def test_of_sixteen_racing_writers_one_wins(harness: Harness) -> None:
    processes = multiprocessing.get_context("spawn")
    gate, answers = processes.Barrier(2), processes.Queue()
    writers = [processes.Process(target=write_in_threads, args=(harness, i, 8, gate, answers)) for i in range(2)]
    for writer in writers:
        writer.start()
    winners = [name for _ in writers for name in answers.get(timeout=60)]
    for writer in writers:
        writer.join()
    assert len(winners) == 1
    assert harness.open().get("results/race.json") == winners[0].encode() * 1000


def test_readers_never_see_half_an_overwrite(harness: Harness) -> None:
    versions = [bytes([n]) * 200_000 for n in range(8)]
    harness.open().put("archive/1.json", versions[0])
    done = threading.Event()

    def read() -> set[bytes]:
        store, seen = harness.open(), set()
        while not done.is_set():
            seen.add(store.get("archive/1.json"))
        return seen

    with ThreadPoolExecutor(1) as pool:
        reading = pool.submit(read)
        for version in versions:
            harness.open().put("archive/1.json", version)
        done.set()
        assert reading.result() <= set(versions)


@pytest.mark.parametrize(
    ("prefix", "after"),
    [
        ("", ""),
        ("a", ""),
        ("a/", ""),
        ("a/b", ""),
        ("a/b/", ""),
        ("a/b/c/d", ""),
        ("results/0000001", ""),
        ("none/", ""),
        ("", "a/1"),
        ("", "a/b"),
        ("", "a/b/"),
        ("a/", "a/10"),
        ("a/", "a/15"),
        ("a/", "a"),
        ("a/", "b"),
        ("results/", "results/0000001-1.json"),
        ("results/", "results/0000002.json"),
        ("", "\U0010ffff"),
    ],
)
def test_lists_in_order_of_the_keys_bytes(filled: ObjectStore, prefix: str, after: str) -> None:
    matching = [key for key in KEYS if key.startswith(prefix) and key.encode() > after.encode()]
    assert list(filled.list(prefix, after)) == sorted(matching, key=str.encode)


_names = st.text("a0-./+é", min_size=1, max_size=6).filter(lambda s: set(s) - {".", "/"} and "//" not in s)
_paths = st.lists(_names.map(lambda s: s.strip("/").replace("./", "a/").strip("./") or "a"), min_size=1, max_size=3)


@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(paths=st.lists(_paths.map("/".join), max_size=8, unique=True), after=_names, data=st.data())
def test_listing_is_the_sorted_set_of_keys(harness: Harness, paths: list[str], after: str, data: st.DataObject) -> None:
    kept = sorted(p for p in paths if not any(q.startswith(f"{p}/") for q in paths))
    store = harness.open()
    store.delete_prefix("")
    for path in kept:
        store.put(path, b"")
    prefix = data.draw(st.sampled_from(["", *(p[: len(p) // 2].rstrip("/.") for p in kept)]))
    assert list(store.list()) == kept
    assert list(store.list(prefix, after)) == [p for p in kept if p.startswith(prefix) and p > after]


def test_pages_of_a_long_listing_join(store: ObjectStore) -> None:
    keys = [f"results/{n:07d}.json" for n in range(4 * PAGE_KEYS + 2)]
    for key in keys:
        store.put(key, b"{}")
    listed = list(store.list("results/"))
    assert listed == keys
    assert all(one < two for one, two in pairwise(listed))
    assert store.delete_prefix("results/") == len(keys)
    assert list(store.list()) == []


@pytest.mark.parametrize("key", ["results/9.json", "a", "a/1/2", "results"])
def test_missing_objects(filled: ObjectStore, key: str, tmp_path: Path) -> None:
    assert not filled.exists(key)
    for ask in (filled.get, filled.size, lambda k: filled.download(k, tmp_path / "file")):
        with pytest.raises(MissingObject, match="has no object"):
            ask(key)
    filled.delete(key)
    assert list(tmp_path.glob("file*")) == []
    assert list(filled.list()) == sorted(KEYS)


@pytest.mark.parametrize("key", ["", "/a", "a/", "a//b", "../a", "a/../b", "./a", ".cycleqd-tmp/a", "a\nb", "a\\b"])
def test_impossible_keys_are_refused(store: ObjectStore, key: str, tmp_path: Path) -> None:
    for ask in (store.get, store.size, store.exists, store.delete, lambda k: store.download(k, tmp_path / "file")):
        with pytest.raises(BadData):
            ask(key)
    for write in (store.put, store.put_once):
        with pytest.raises(BadData):
            write(key, b"")
    assert not (tmp_path / "a").exists()


@pytest.mark.parametrize("data", [b"", b"small", BIG], ids=["empty", "small", "three parts"])
def test_files_go_there_and_back(store: ObjectStore, tmp_path: Path, data: bytes) -> None:
    (tmp_path / "source").write_bytes(data)
    store.put("basis/coding/u.safetensors", b"older")
    store.upload(tmp_path / "source", "basis/coding/u.safetensors")
    assert store.size("basis/coding/u.safetensors") == len(data)
    target = tmp_path / "new folder" / "target"
    store.download("basis/coding/u.safetensors", target)
    store.download("basis/coding/u.safetensors", target)
    assert target.read_bytes() == data
    assert [path.name for path in target.parent.iterdir()] == ["target"]


def test_upload_of_no_file(store: ObjectStore, tmp_path: Path) -> None:
    with pytest.raises(MissingObject, match=r"no file .*absent to upload"):
        store.upload(tmp_path / "absent", "basis/x")
    assert list(store.list()) == []


@pytest.mark.parametrize(
    "write",
    [
        lambda store, source: store.upload(source, "basis/x"),
        lambda store, source: store.put("basis/x", source.read_bytes()),
        lambda store, source: store.put_once("basis/x", source.read_bytes()),
    ],
    ids=["upload", "put", "put_once"],
)
def test_an_interrupted_write_leaves_nothing(
    harness: Harness, tmp_path: Path, write: Callable[[ObjectStore, Path], object]
) -> None:
    (tmp_path / "source").write_bytes(BIG)
    with harness.breaking(after_bytes=7 << 20) as store, pytest.raises(TemporaryError):
        write(store, tmp_path / "source")
    after = harness.open()
    assert not after.exists("basis/x")
    assert list(after.list()) == []
    assert after.put_once("basis/x", b"now") is True


def test_an_interrupted_overwrite_keeps_the_old_object(harness: Harness, tmp_path: Path) -> None:
    (tmp_path / "source").write_bytes(BIG)
    harness.open().put("basis/x", b"old")
    with harness.breaking(after_bytes=7 << 20) as store, pytest.raises(TemporaryError):
        store.upload(tmp_path / "source", "basis/x")
    assert harness.open().get("basis/x") == b"old"


def test_an_interrupted_download_leaves_nothing_of_that_name(harness: Harness, tmp_path: Path) -> None:
    (tmp_path / "source").write_bytes(BIG)
    harness.open().upload(tmp_path / "source", "basis/x")
    target = tmp_path / "into" / "target"
    with harness.breaking(after_bytes=7 << 20) as store, pytest.raises(TemporaryError):
        store.download("basis/x", target)
    assert all(path.name.startswith(".target.") for path in target.parent.iterdir())
    target.write_bytes(b"old")
    with harness.breaking(after_bytes=1 << 20) as store, pytest.raises(TemporaryError):
        store.download("basis/x", target)
    assert target.read_bytes() == b"old"
    harness.open().download("basis/x", target)
    assert target.read_bytes() == BIG
    assert [path.name for path in target.parent.iterdir()] == ["target"]


def test_delete(filled: ObjectStore) -> None:
    filled.delete("a/b/c/d")
    assert list(filled.list("a/b")) == ["a/b.c"]
    filled.put("a/b/c", b"a folder no longer")
    assert filled.delete_prefix("a/") == 5
    assert list(filled.list("a")) == ["a-b/1", "a.json", "a0"]
    assert filled.delete_prefix("a/") == 0
    assert filled.delete_prefix("") == len(KEYS) - 5
    assert list(filled.list()) == []


def test_delete_prefix_takes_whole_names_only(filled: ObjectStore) -> None:
    with pytest.raises(BadData, match="slash"):
        filled.delete_prefix("a")
    assert list(filled.list()) == sorted(KEYS)


def test_folders_go_there_and_back(store: ObjectStore, tmp_path: Path) -> None:
    files = {"config.json": b"{}", "sub/model.safetensors": b"weights", "sub/empty": b""}
    for name, data in files.items():
        (tmp_path / "model" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "model" / name).write_bytes(data)
    assert upload_folder(store, tmp_path / "model", "final/model") == 3
    assert list(store.list()) == [f"final/model/{name}" for name in sorted(files)]
    assert download_folder(store, "final/model", tmp_path / "copy") == 3
    assert download_folder(store, "final/model", tmp_path / "copy") == 3
    assert folder_size(store, "final/model") == len(b"{}weights")
    assert folder_size(store, "final/mod") == 0
    assert {name: (tmp_path / "copy" / name).read_bytes() for name in files} == files
    with pytest.raises(MissingObject, match="nothing below final/mod/"):
        download_folder(store, "final/mod", tmp_path / "other")
    with pytest.raises(MissingObject, match="no folder"):
        upload_folder(store, tmp_path / "absent", "final/model")


def test_a_folder_is_uploaded_in_order_but_for_what_comes_last(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("a", "config.json", "z"):
        (tmp_path / name).touch()
    store, order = FolderStore(tmp_path / "store"), []
    monkeypatch.setattr(store, "upload", lambda path, key: order.append(key))
    upload_folder(store, tmp_path, "m", last=("config.json",))
    assert order == ["m/a", "m/z", "m/config.json"]


def test_probe_leaves_nothing(store: ObjectStore) -> None:
    probe(store)
    assert list(store.list()) == []
