"""Nothing is left of many untidy items: processes, mounts, files, databases. ``CYCLEQD_LEAK_ITEMS`` says how many."""

from __future__ import annotations

import functools
import os
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from benchmarks.leaks import cases, leave
from benchmarks.synthetic.census import census, staying
from benchmarks.synthetic.untidy import MARK
from cycleqd.errors import UnsupportedHere

ITEMS = int(os.environ.get("CYCLEQD_LEAK_ITEMS", "60"))


@pytest.mark.parametrize("case", cases())
def test_nothing_is_left(case: str) -> None:
    try:
        found = leave(*cases()[case], ITEMS)
    except UnsupportedHere as error:
        pytest.skip(str(error))
    assert found.wrong == []
    assert found.things == {"processes": [], "mounts": [], "files": [], "databases": []}


def test_what_is_left_is_seen(tmp_path: Path) -> None:
    """A file deep down, a child, a zombie that a thread started, and a process that got away from us."""
    before = census(tmp_path, MARK)
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "a" / "b" / "c").touch()
    runaway = int(subprocess.check_output(["sh", "-c", f"setsid sleep {MARK} >/dev/null 2>&1 & echo $!"]))
    wanted = [f"sleep {MARK}", "sleep 314159", f"true, a zombie of {os.getpid()}"]
    with subprocess.Popen(["sleep", "314159"]) as child, ThreadPoolExecutor(1) as thread:
        zombie = thread.submit(subprocess.Popen, ["true"]).result()
        try:
            for _ in range(100):  # until all have become what they are started as
                found = census(tmp_path, MARK).since(before)
                if sorted(found["processes"]) == wanted:
                    break
                time.sleep(0.05)
            assert sorted(found["processes"]) == wanted
            assert found["files"] == [str(tmp_path / "a"), str(tmp_path / "a" / "b"), str(tmp_path / "a" / "b" / "c")]
            assert found["mounts"] == []
        finally:
            child.kill()
            zombie.wait()
            os.kill(runaway, 9)


def test_a_process_that_ends_by_itself_is_not_left(tmp_path: Path) -> None:
    look = functools.partial(census, tmp_path, MARK)
    before = look()
    subprocess.run(["sh", "-c", f"setsid sleep 2.{MARK} >/dev/null 2>&1 &"], check=True)
    assert staying(look, before, patience_seconds=0)["processes"] != []
    assert staying(look, before)["processes"] == []
