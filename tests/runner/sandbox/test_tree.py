"""Writing, measuring, collecting and removing the fresh directory, on its own."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import pytest

from cycleqd_runner.sandbox.jail import tree


def test_written_tree_is_collected_alike(tmp_path: Path) -> None:
    """What is written comes back, parents included."""
    tree.write(str(tmp_path), [("a/b/f", b"1"), ("x", b"2")], ["e"], ["x"], None)
    entries, complete = tree.collect(str(tmp_path), 100)
    assert complete
    assert {entry[0]: entry[1:] for entry in entries} == {
        "a": ("directory", 0o755, "", b""),
        "a/b": ("directory", 0o755, "", b""),
        "a/b/f": ("file", 0o644, "", b"1"),
        "e": ("directory", 0o755, "", b""),
        "x": ("file", 0o755, "", b"2"),
    }


def test_collect_keeps_to_its_budget(tmp_path: Path) -> None:
    """Contents beyond the budget are left out and the tree is called incomplete."""
    (tmp_path / "a").write_bytes(b"12345")
    (tmp_path / "b").write_bytes(b"12345")
    entries, complete = tree.collect(str(tmp_path), 7)
    assert ([entry[4] for entry in entries], complete) == ([b"12345", b""], False)


def test_measure_counts_blocks_and_entries(tmp_path: Path) -> None:
    """Sizes are those on disk; links are counted, not followed."""
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "f").write_bytes(bytes(100_000))
    (tmp_path / "link").symlink_to("/usr")
    size, entries = tree.Meter(str(tmp_path)).measure()
    assert 100_000 <= size < 130_000
    assert entries == 3


def test_measure_lists_only_folders_in_which_something_came_or_went(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing that code can do to a folder's times hides a file, nor does a file's growth need a listing."""
    folder = tmp_path / "links"
    folder.mkdir()
    for number in range(50):
        (folder / str(number)).symlink_to("/usr")
    file = tmp_path / "file"
    file.touch()
    times = folder.stat()
    listed: list[str] = []
    scandir = os.scandir

    def listing(path: str) -> Any:
        listed.append(path)
        return scandir(path)

    monkeypatch.setattr(os, "scandir", listing)
    meter = tree.Meter(str(tmp_path))
    time.sleep(0.15)  # until the clock of the folders' times has moved on
    empty, entries = meter.measure()
    assert (entries, sorted(listed)) == (52, [str(tmp_path), str(folder)])
    listed.clear()
    file.write_bytes(bytes(100_000))
    size, entries = meter.measure()
    assert (entries, listed) == (52, [])
    assert size >= empty + 100_000
    (folder / "hidden").write_bytes(bytes(50_000))
    os.utime(folder, ns=(times.st_atime_ns, times.st_mtime_ns))
    more, entries = meter.measure()
    assert (entries, listed) == (53, [str(folder)])
    assert more >= size + 50_000
    assert meter.measure(most=52)[1] > 52


def test_remove_takes_what_was_made_hard_to_remove(tmp_path: Path) -> None:
    """Nesting deeper than any path, closed folders, links to folders: all gone, the links' targets stay."""
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "kept").touch()
    top = tmp_path / "top"
    top.mkdir()
    here = Path.cwd()
    try:
        os.chdir(top)
        Path("link").symlink_to(outside)
        for _ in range(700):
            Path("folder").mkdir()
            Path("file").touch()
            os.chdir("folder")
        Path("last").touch(mode=0)
    finally:
        os.chdir(here)
    (top / "folder").chmod(0)
    tree.remove(str(top))
    assert not top.exists()
    assert (outside / "kept").exists()
