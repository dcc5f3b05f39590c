"""The folder of downloads, with the processes that share it."""

from __future__ import annotations

import fcntl
import multiprocessing
import os
import shutil
import signal
import time
from concurrent.futures import ThreadPoolExecutor
from multiprocessing.queues import Queue
from multiprocessing.synchronize import Event
from pathlib import Path
from typing import Any

import pytest

from cycleqd.errors import BadManifest, StoreUnreachable
from cycleqd_runner import cache
from cycleqd_runner.cache import cached, limit_bytes

SPAWN = multiprocessing.get_context("spawn")
SIZE = 1000


@pytest.fixture(autouse=True)
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("CYCLEQD_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "downloads"


def limit(monkeypatch: pytest.MonkeyPatch, n_bytes: int) -> None:
    monkeypatch.setenv("CYCLEQD_CACHE_GIB", str(n_bytes / 2**30))


def fill(folder: Path) -> None:
    (folder / "file").write_bytes(b"x" * SIZE)


def nobody_uses(*names: str) -> None:
    """End the use of entries by this process, as if it had ended."""
    for folder in [folder for folder in cache._used if folder.name in names]:
        os.close(cache._used.pop(folder))


def have(name: str) -> Path:
    """Ask for an entry; a clock of file systems is coarse, so let it tick."""
    time.sleep(0.02)
    return cached("run", name, lambda: SIZE, fill)


def entries(root: Path) -> set[str]:
    return {path.name for path in (root / "run").iterdir() if path.is_dir()}


def test_an_entry_is_made_once(root: Path) -> None:
    assert have("a") == root / "run" / "a"
    nobody_uses("a")
    assert cached("run", "a", lambda: 1 // 0, lambda folder: 1 // 0) == root / "run" / "a"
    assert cached("other", "a", lambda: SIZE, fill) == root / "other" / "a"


def test_an_entry_that_was_not_finished_is_not_there_but_goes_on(root: Path) -> None:
    def fail(folder: Path) -> None:
        fill(folder)
        raise StoreUnreachable("The store is gone.")

    with pytest.raises(StoreUnreachable):
        cached("run", "a", lambda: SIZE, fail)
    assert entries(root) == {"a.partial"}
    folder = cached("run", "a", lambda: SIZE, lambda folder: (folder / "more").touch())
    assert {path.name for path in folder.iterdir()} == {"file", "more"}
    assert entries(root) == {"a"}


def test_what_was_not_used_for_longest_goes_first(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    limit(monkeypatch, 3 * SIZE)
    for name in ("a", "b", "c"):
        have(name)
    nobody_uses("a", "b", "c")
    have("a")
    nobody_uses("a")
    have("d")
    assert entries(root) == {"a", "c", "d"}
    assert not (root / "run" / "b.lock").exists()


def test_what_is_used_stays_and_what_is_needed_comes(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    limit(monkeypatch, 2 * SIZE)
    for name in ("a", "b", "c"):
        have(name)
    assert entries(root) == {"a", "b", "c"}
    nobody_uses("b")
    have("d")
    assert entries(root) == {"a", "c", "d"}


def test_a_full_disk_counts_as_a_limit(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    have("a")
    nobody_uses("a")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: type("Usage", (), {"free": SIZE - 1}))
    have("b")
    assert entries(root) == {"b"}


def test_files_of_models_are_no_locks(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    limit(monkeypatch, 0)
    folder = cached("run", "a", lambda: 1, lambda folder: (folder / "poetry.lock").touch())
    have("b")
    assert (folder / "poetry.lock").exists()


def test_folders_of_runs_go_with_their_last_entry(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cached("old", "a", lambda: SIZE, fill)
    nobody_uses("a")
    limit(monkeypatch, SIZE)
    have("b")
    assert [path.name for path in root.iterdir()] == ["run"]


def test_the_limit_is_a_number(monkeypatch: pytest.MonkeyPatch) -> None:
    assert limit_bytes() == 200 * 2**30
    monkeypatch.setenv("CYCLEQD_CACHE_GIB", "a lot")
    with pytest.raises(BadManifest, match="'a lot', which is no number of GiB"):
        limit_bytes()


def test_a_lock_file_that_was_removed_is_no_lock(root: Path) -> None:
    entry = root / "run" / "a"

    def wait() -> bool:
        with cache._locked(entry, fcntl.LOCK_EX) as lock:
            return os.path.samestat(os.fstat(lock), (root / "run" / "a.lock").stat())

    with ThreadPoolExecutor(1) as pool:
        with cache._locked(entry, fcntl.LOCK_EX):
            waiting = pool.submit(wait)
            time.sleep(0.2)
            (root / "run" / "a.lock").unlink()
        assert waiting.result()


def use(root: Path, size: int, told: Queue[tuple[str, Any]], go_on: Event | None) -> None:
    """One worker: needs an entry, tells when it fills it, and what it found there."""
    os.environ["CYCLEQD_CACHE"] = str(root.parent)

    def slowly(folder: Path) -> None:
        told.put(("fills", os.getpid()))
        (folder / "first").write_bytes(b"x" * size)
        if go_on:
            go_on.wait()
        (folder / "second").write_bytes(b"x" * size)

    told.put(("asks", os.getpid()))
    folder = cached("run", "a", lambda: 2 * size, slowly)
    told.put(("has", sorted((path.name, path.stat().st_size) for path in folder.iterdir())))


def test_of_many_workers_one_downloads_also_when_it_is_killed(root: Path) -> None:
    told: Queue[tuple[str, Any]] = SPAWN.Queue()
    never = SPAWN.Event()
    first = SPAWN.Process(target=use, args=(root, SIZE, told, never))
    first.start()
    assert [told.get(timeout=60) for _ in range(2)] == [("asks", first.pid), ("fills", first.pid)]
    others = [SPAWN.Process(target=use, args=(root, SIZE, told, None)) for _ in range(4)]
    for other in others:
        other.start()
    assert {told.get(timeout=60) for _ in others} == {("asks", other.pid) for other in others}
    time.sleep(0.5)
    assert told.empty(), "they wait"
    assert entries(root) == {"a.partial"}
    assert first.pid is not None
    os.kill(first.pid, signal.SIGKILL)
    heard = [told.get(timeout=60) for _ in range(5)]
    for other in others:
        other.join()
    assert [what for what, _ in heard].count("fills") == 1
    assert [found for what, found in heard if what == "has"] == [[("first", SIZE), ("second", SIZE)]] * 4
    assert entries(root) == {"a"}


def fill_alone(folder: Path) -> None:
    """Fill an entry; fail if another process does so at the same time."""
    (folder / "being filled").touch(exist_ok=False)
    time.sleep(0.003)
    fill(folder)
    (folder / "being filled").unlink()


def churn(root: Path, seed: int, told: Queue[str]) -> None:
    """Need one entry after another, more than fit; tell what was wrong with them."""
    os.environ["CYCLEQD_CACHE"], os.environ["CYCLEQD_CACHE_GIB"] = str(root.parent), str(3 * SIZE / 2**30)
    wrong = ""
    for step in range(100):
        name = str((seed * 7 + step * step) % 5)
        folder = cached("run", name, lambda: SIZE, fill_alone)
        for _ in range(3):
            if (folder / "file").read_bytes() != b"x" * SIZE:
                wrong = f"{name} in step {step}"
        nobody_uses(name)
    told.put(wrong)


def test_nobody_loses_what_it_uses_to_another_who_makes_room(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told: Queue[str] = SPAWN.Queue()
    workers = [SPAWN.Process(target=churn, args=(root, seed, told)) for seed in range(4)]
    for worker in workers:
        worker.start()
    assert [told.get(timeout=120) for _ in workers] == [""] * 4
    for worker in workers:
        worker.join()
        assert worker.exitcode == 0
    limit(monkeypatch, 3 * SIZE)
    cache.make_room(0)  # those who made room at the same time may have made too little
    assert len(entries(root)) == 3
