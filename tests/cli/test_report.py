"""``cycleqd report --beside``: other runs on the page, or one sentence and nothing written."""

from __future__ import annotations

from pathlib import Path

import pytest

from cycleqd import keys
from cycleqd.records import FinalEvaluation, ItemOutcome, TaskEvaluation
from cycleqd.store import ObjectStore
from tests.cli.support import TASKS, add_report, cycleqd, objects, started
from tests.cli.test_bad_input import is_one_sentence

DIGEST = "a" * 64


def finished(folder: Path, right: int) -> tuple[Path, ObjectStore]:
    """Finish a run whose merged model answered so many of ten test items a task rightly."""
    folder.mkdir()
    manifest, store = started(folder)
    report = add_report(store)
    chosen = report.candidates[0].model_copy(update={"genome_sha256": DIGEST})
    store.put(keys.REPORT, report.model_copy(update={"candidates": (chosen,)}).model_dump_json().encode())
    outcomes = tuple(ItemOutcome(item=f"{k}", score=float(k < right)) for k in range(10))
    evaluations = tuple(TaskEvaluation(task=task, split="test", outcomes=outcomes) for task in TASKS)
    test = FinalEvaluation(name="merged", evaluations=evaluations)
    store.put(keys.final_evaluation(DIGEST, "test"), test.model_dump_json().encode())
    return manifest, store


def page(folder: Path) -> str:
    """Return the page that the command left in a run's folder, on one line."""
    return " ".join((folder / "run" / keys.REPORT_PAGE).read_text(encoding="utf-8").split())


def test_another_run_stands_beside_it(tmp_path: Path) -> None:
    manifest, _ = finished(tmp_path / "a", right=8)
    other, _ = finished(tmp_path / "b", right=3)
    before = objects(tmp_path / "b")
    told = cycleqd("report", manifest, "--beside", other)
    assert told.exit_code == 0, told.stderr
    assert "Beside another run" in page(tmp_path / "a")
    assert '<b>better than</b> that of tiny (<span class="number">+50.0</span> points' in page(tmp_path / "a")
    assert objects(tmp_path / "b") == before
    assert cycleqd("report", manifest).exit_code == 0
    assert "Beside another run" not in page(tmp_path / "a")


def test_several_runs_stand_beside_it(tmp_path: Path) -> None:
    manifest, _ = finished(tmp_path / "a", right=8)
    others = [finished(tmp_path / name, right=right)[0].parent / "run" for name, right in (("b", 3), ("c", 9))]
    told = cycleqd("report", manifest, "--beside", others[0], "--beside", others[1])
    assert told.exit_code == 0, told.stderr
    assert "Beside other runs" in page(tmp_path / "a")
    assert "+50.0" in page(tmp_path / "a")
    assert "−10.0" in page(tmp_path / "a")


def test_a_report_of_an_older_version_has_no_paired_difference(tmp_path: Path) -> None:
    manifest, _ = finished(tmp_path / "a", right=8)
    other, store = finished(tmp_path / "b", right=3)
    add_report(store)
    assert cycleqd("report", manifest, "--beside", other).exit_code == 0
    assert "There is no paired difference to tiny" in page(tmp_path / "a")


def test_a_test_that_is_gone_leaves_no_paired_difference(tmp_path: Path) -> None:
    manifest, _ = finished(tmp_path / "a", right=8)
    other, store = finished(tmp_path / "b", right=3)
    store.delete(keys.final_evaluation(DIGEST, "test"))
    assert cycleqd("report", manifest, "--beside", other).exit_code == 0
    assert "There is no paired difference to tiny" in page(tmp_path / "a")


@pytest.mark.parametrize(
    ("key", "data", "expected"),
    [
        pytest.param(keys.REPORT, None, "The run tiny has no final report yet", id="unfinished"),
        pytest.param(keys.REPORT, b"{", f"{keys.REPORT} in", id="damaged report"),
        pytest.param(keys.final_evaluation(DIGEST, "test"), b"{", "is damaged: there is no", id="damaged test"),
        pytest.param(keys.RUN, None, "has not been started", id="not started"),
    ],
)
def test_a_run_that_cannot_be_shown(tmp_path: Path, key: str, data: bytes | None, expected: str) -> None:
    manifest, _ = finished(tmp_path / "a", right=8)
    other, store = finished(tmp_path / "b", right=3)
    store.delete(key)
    if data is not None:
        store.put(key, data)
    before = objects(tmp_path)
    told = cycleqd("report", manifest, "--beside", other, "--output", tmp_path / "page")
    assert (told.exit_code, is_one_sentence(told.stderr)) == (2, True), told.stderr
    assert expected in told.stderr
    assert objects(tmp_path) == before


def test_a_run_that_is_not_there(tmp_path: Path) -> None:
    manifest, _ = finished(tmp_path / "a", right=8)
    told = cycleqd("report", manifest, "--beside", tmp_path / "nothing.yaml", "--output", tmp_path / "page")
    assert told.exit_code == 2
    assert f"There is neither a manifest nor a run folder {tmp_path / 'nothing.yaml'}" in told.stderr
    assert not (tmp_path / "page").exists()
