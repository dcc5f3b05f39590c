from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from cycleqd import keys
from tests.runner.cli.support import SCORES, add_report, add_result, cycleqd, objects, started


def test_status_counts_what_the_store_holds(tmp_path: Path) -> None:
    manifest, store = started(tmp_path)
    before = objects(tmp_path / "run")

    told = cycleqd("status", manifest, "-o", "json")

    assert told.exit_code == 0, told.stderr
    now = json.loads(told.stdout)
    assert (now["run"], now["phase"], now["children"], now["target"]) == ("tiny", "Breeding", 2, 10)
    assert now["evaluated"] == now["prepared"] == ["sql-expert", "shell-expert", "python-expert"]
    assert [archive["best"] for archive in now["archives"]] == [0.8, 0.9, 0.7]
    assert [archive["best_id"] for archive in now["archives"]] == [0, 1, 2]
    assert now["best_mean"] == pytest.approx(0.5)
    assert now["best_id"] == 3
    assert objects(tmp_path / "run") == before, "looking changes nothing"
    for argument in (store.uri, tmp_path / "run"):
        assert json.loads(cycleqd("status", argument, "-o", "json").stdout) == now
    assert yaml.safe_load(cycleqd("status", manifest, "-o", "yaml").stdout) == now


@pytest.mark.parametrize(
    ("ids", "phase"),
    [pytest.param([], "Evaluating", id="no scores"), pytest.param([0, 1, 2], "Breeding", id="experts only")],
)
def test_a_young_run_has_a_status(tmp_path: Path, ids: list[int], phase: str) -> None:
    manifest, _ = started(tmp_path, ids)
    assert json.loads(cycleqd("status", manifest, "-o", "json").stdout)["phase"] == phase
    assert cycleqd("status", manifest).exit_code == 0


def test_the_table_shows_every_archive_and_what_is_damaged(tmp_path: Path) -> None:
    manifest, store = started(tmp_path)
    store.put(keys.result(5), b"{")
    told = cycleqd("status", manifest)
    assert told.exit_code == 0, told.stderr
    for expected in ("tiny", "2 of 10", "sql", "shell", "python", ".900", "individual 3", "results/0000005.json"):
        assert expected in told.stdout, expected


def test_a_finished_run_shows_its_result(tmp_path: Path) -> None:
    manifest, store = started(tmp_path)
    for child in range(5, 13):
        add_result(store, child, SCORES[4])
    add_report(store)
    told = cycleqd("status", manifest, "-o", "json")
    assert json.loads(told.stdout)["phase"] == "Finalizing", "a report about fewer children is out of date"
