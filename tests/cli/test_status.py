from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from cycleqd import keys
from cycleqd_cli.opening import open_run
from cycleqd_cli.where import Where
from tests.cli.support import (
    SCORES,
    add_report,
    add_result,
    cycleqd,
    document,
    lines_of,
    objects,
    started,
    write,
)


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


def test_what_truncated_experts_lost_is_shown(tmp_path: Path) -> None:
    manifest, store = started(tmp_path, basis={"rank": 4})
    store.put(keys.basis_manifest("sql-expert"), b'{"kept": {"energy": 0.954, "error": 0.2145}}')
    told = cycleqd("status", manifest)
    assert told.exit_code == 0, told.stderr
    assert "sql-expert is cut to search.basis.rank 4: it keeps 95.4%" in " ".join(told.stdout.split())


def test_the_table_shows_every_archive_and_what_is_damaged(tmp_path: Path) -> None:
    manifest, store = started(tmp_path)
    store.put(keys.result(5), b"{")
    told = cycleqd("status", manifest)
    assert told.exit_code == 0, told.stderr
    for expected in ("tiny", "2 of 10", "sql", "shell", "python", "90.0 %", "individual 3", "results/0000005.json"):
        assert expected in told.stdout, expected


def finished(folder: Path) -> Path:
    """Return the manifest of a run whose ten children and final report are there."""
    manifest, store = started(folder)
    for child in range(5, 13):
        add_result(store, child, SCORES[4])
    add_report(store, range(13))
    return manifest


def test_a_finished_run_shows_its_result(tmp_path: Path) -> None:
    manifest = finished(tmp_path)
    assert json.loads(cycleqd("status", manifest, "-o", "json").stdout)["phase"] == "Succeeded"
    told = cycleqd("status", manifest)
    for expected in ("Finished", "average", "merged", "final/model", "from_pretrained", "report.html"):
        assert expected in told.stdout, expected


def test_a_report_about_fewer_children_is_out_of_date(tmp_path: Path) -> None:
    manifest = finished(tmp_path)
    add_report(open_run(str(manifest), Where()).store)
    assert json.loads(cycleqd("status", manifest, "-o", "json").stdout)["phase"] == "Finalizing"


@pytest.mark.parametrize("output", ["plain", "rich", "json-lines"])
def test_running_a_finished_run_says_so_and_starts_no_worker(tmp_path: Path, output: str) -> None:
    manifest = finished(tmp_path)
    told = cycleqd("run", manifest, "--output", output, "--no-plots")
    assert told.exit_code == 0, told.stderr
    assert not (tmp_path / "run" / "logs").exists()
    if output == "json-lines":
        assert [line["phase"] for line in lines_of(told)] == ["Succeeded"]
    else:
        assert "is finished already" in told.stdout
        assert "merged" in told.stdout


def test_the_number_of_children_may_be_lowered_and_is_recorded(tmp_path: Path) -> None:
    manifest = finished(tmp_path)
    told = cycleqd("run", manifest, "--children", "4", "--workers", "2", "--no-plots")
    assert told.exit_code == 0, told.stderr
    spec = open_run(str(manifest), Where()).spec
    assert (spec.search.children, spec.workers.parallelism) == (4, 2)


@pytest.mark.parametrize(
    ("state", "code", "expected"),
    [
        pytest.param("Paused", 2, "set spec.desiredState to Running", id="paused"),
        pytest.param("Cancelled", 0, "set spec.desiredState to Running", id="cancelled"),
    ],
)
def test_a_run_that_shall_not_run_says_how_to_go_on(tmp_path: Path, state: str, code: int, expected: str) -> None:
    started(tmp_path)
    manifest = document(tmp_path)
    manifest["spec"]["desiredState"] = state
    told = cycleqd("run", write(tmp_path / "still.yaml", manifest), "--no-plots")
    assert told.exit_code == code
    assert expected in told.stderr
