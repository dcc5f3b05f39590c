"""The report of a stored run: real log, real archives, results written by hand."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from cycleqd import keys
from cycleqd.api import RunSpec
from cycleqd.identity import RunIdentity, read_identity, read_spec
from cycleqd.records import ItemOutcome, Result, TaskEvaluation, Timings
from cycleqd.report import OWN_EXPERTS, Candidate, Report
from cycleqd.store import ObjectStore
from cycleqd_runner.report.build import PROGRESS_POINTS, build_report, progress, view_run
from cycleqd_runner.report.card import LINEAGE_LINES, lineage
from cycleqd_runner.report.costs import FinalUsage, Usage
from cycleqd_runner.report.html import render
from cycleqd_runner.report.publish import publish
from tests.cli.support import SCORES, TASKS, started
from tests.runner.report.support import (
    SKILLS,
    demo_report,
    empty_report,
    population_of,
    result_of,
    run_spec,
    search,
)

USAGE = FinalUsage(
    choosing=Usage(seconds=12.5, gpu_seconds=25.0, prompt_tokens=100, answer_tokens=10, evaluations=7),
    benchmarks=Usage(seconds=3.5, prompt_tokens=40, answer_tokens=4, evaluations=2),
)


def evaluations(scores: tuple[float, ...], items: int = 20) -> tuple[TaskEvaluation, ...]:
    """Return evaluations in which the first items of each task are right."""
    return tuple(
        TaskEvaluation(
            task=task,
            split="test",
            outcomes=tuple(ItemOutcome(item=f"{i}", score=float(i < round(score * items))) for i in range(items)),
        )
        for task, score in zip(TASKS, scores, strict=True)
    )


@pytest.fixture
def store(tmp_path: Path) -> ObjectStore:
    return started(tmp_path)[1]


def report_of(store: ObjectStore, merged: tuple[float, ...] = (0.9, 0.9, 0.8)) -> Report:
    """Return the report of the run in the store, with made-up test scores."""
    identity: RunIdentity = read_identity(store)
    spec: RunSpec = read_spec(store)
    tested = {"base": evaluations((0.0, 0.1, 0.0))}
    tested |= {expert.name: evaluations(SCORES[k]) for k, expert in enumerate(spec.experts)}
    tested |= {"average": evaluations((0.5, 0.5, 0.5)), "merged": evaluations(merged)}
    candidates = (
        Candidate(name="aggregate", weights={0: 0.5, 4: 0.5}, validation=dict.fromkeys(TASKS, 0.4)),
        Candidate(name="greedy-1", weights={3: 0.5, 4: 0.5}, validation=dict.fromkeys(TASKS, 0.6), chosen=True),
    )
    return build_report(identity, spec, view_run(store, spec), candidates, tested, USAGE)


def test_view_holds_everybody_with_scores_and_parents(store: ObjectStore) -> None:
    view = view_run(store, read_spec(store))
    assert {one.id: one.scores for one in view.individuals} == {k: pytest.approx(own) for k, own in SCORES.items()}
    assert [one.parents for one in view.individuals] == [(), (), (), (0, 1), (0, 1)]
    assert view.cost.evaluations == len(SCORES)


def test_archives_name_their_axes_and_hold_the_experts(store: ObjectStore) -> None:
    view = view_run(store, read_spec(store))
    assert [archive.task for archive in view.archives] == list(TASKS)
    assert [archive.axes for archive in view.archives] == [tuple(t for t in TASKS if t != task) for task in TASKS]
    for archive in view.archives:
        assert {member for _, member in archive.cells} <= set(SCORES)
        bins = [len(edges) - 1 for edges in archive.edges]
        assert archive.coverage == pytest.approx(len(archive.cells) / np.prod(bins))
        for cell, member in archive.cells:
            for index, axis, edges in zip(cell, archive.axes, archive.edges, strict=True):
                score = SCORES[member][TASKS.index(axis)]
                low, high = edges[index], edges[index + 1]
                assert low < score <= high or index in {0, len(edges) - 2}


def test_view_of_the_past_knows_only_the_first_children(store: ObjectStore) -> None:
    view = view_run(store, read_spec(store), children=1)
    assert [one.id for one in view.individuals] == [0, 1, 2, 3]
    assert view.progress[-1].children == 1


def test_a_run_without_results_has_nothing_to_show(tmp_path: Path) -> None:
    store = started(tmp_path, ids=())[1]
    view = view_run(store, read_spec(store))
    assert (view.individuals, view.archives, view.progress, view.versions) == ((), (), (), {})


def test_children_without_experts_open_no_archive(tmp_path: Path) -> None:
    store = started(tmp_path, ids=(0, 3))[1]
    view = view_run(store, read_spec(store))
    assert [one.id for one in view.individuals] == [0, 3]
    assert (view.archives, view.progress) == ((), ())


def test_a_damaged_result_is_left_out(store: ObjectStore) -> None:
    store.put(keys.result(4), b"{")
    assert [one.id for one in view_run(store, read_spec(store)).individuals] == [0, 1, 2, 3]


def test_cost_adds_up_and_given_up_children_are_told(store: ObjectStore) -> None:
    result = Result(
        id=5,
        parents=(3, 4),
        active_task=2,
        evaluations=evaluations((0.5, 0.5, 0.5)),
        timings=Timings(
            open_seconds=9.0,
            breed_seconds=1.0,
            load_seconds=2.0,
            evaluate_seconds=30.0,
            wait_seconds=4.0,
            write_seconds=0.5,
        ),
        versions={"torch": "9.9"},
        genome_sha256="0" * 64,
    )
    before = view_run(store, read_spec(store)).cost
    store.put(keys.result(5), result.model_dump_json().encode())
    store.put(keys.quarantine(7), b"{}")
    view = view_run(store, read_spec(store))
    added = {kind: view.cost.seconds[kind] - before.seconds[kind] for kind in view.cost.seconds}
    assert added == pytest.approx({"open": 9.0, "breed": 1.0, "load": 2.0, "evaluate": 30.0, "wait": 4.0, "write": 0.5})
    assert view.quarantined == (7,)
    assert view.versions == {"torch": "9.9"}


def test_report_has_scores_of_all_models_and_differences(store: ObjectStore) -> None:
    report = report_of(store)
    assert list(report.scores) == ["base", *(f"{task}-expert" for task in TASKS), "average", "merged"]
    assert report.means["merged"].mean == pytest.approx((0.9 + 0.9 + 0.8) / 3)
    assert report.scores["sql-expert"]["sql"].mean == pytest.approx(0.8)
    assert [one.against for one in report.differences] == ["shell-expert", "average", OWN_EXPERTS]
    assert report.differences[1].mean == pytest.approx(report.means["merged"].mean - 0.5)
    assert report.cost.seconds["finalize"] == 12.5
    assert report.cost.gpu_seconds["finalize"] == 25.0
    assert (report.cost.final_prompt_tokens, report.cost.final_answer_tokens) == (100, 10)
    assert report.cost.final_evaluations == 7
    assert report.cost.seconds["benchmarks"] == 3.5
    assert (report.cost.benchmark_prompt_tokens, report.cost.benchmark_answer_tokens) == (40, 4)
    assert report.cost.benchmark_evaluations == 2
    searched = report.cost.prompt_tokens + report.cost.answer_tokens
    assert report.cost.evaluation_tokens == searched + 110, "benchmarks choose nothing, so no method pays for them"
    assert report.progress[-1].tokens == searched
    assert report.chosen
    assert report.chosen.name == "greedy-1"


def test_each_skill_is_compared_with_its_own_expert(store: ObjectStore) -> None:
    report = report_of(store, merged=(0.4, 0.9, 0.9))
    assert report.own_experts == {task: f"{task}-expert" for task in TASKS}
    ideal = next(one for one in report.differences if one.against == OWN_EXPERTS)
    changes = {"sql": -0.4, "shell": 0.0, "python": 0.2}
    assert {task: change.mean for task, change in ideal.tasks.items()} == pytest.approx(changes)
    assert all(change.low <= change.mean <= change.high for change in ideal.tasks.values())
    assert ideal.mean == pytest.approx(sum(changes.values()) / 3)
    assert {task: report.kept(task) for task in TASKS} == pytest.approx({"sql": 0.5, "shell": 1.0, "python": 0.9 / 0.7})


def test_reports_of_older_versions_can_be_read(store: ObjectStore) -> None:
    older = json.loads(report_of(store).model_dump_json())
    del older["own_experts"], older["failures"]
    for difference in older["differences"]:
        del difference["tasks"]
    for name in ("gpu_seconds", "final_prompt_tokens", "final_answer_tokens", "final_evaluations"):
        del older["cost"][name]
    for point in older["progress"]:
        del point["worker_seconds"], point["tokens"]
    report = Report.model_validate(older)
    assert report.kept("sql") is None
    assert "The merged model scores" in render(report)


def test_progress_knows_what_it_took() -> None:
    spec = run_spec(3)
    individuals = search(3, 30, np.random.default_rng(0))
    points = progress(population_of(individuals, spec), [result_of(one, SKILLS[:3]) for one in individuals])
    assert (points[0].children, points[0].worker_seconds, points[0].tokens) == (0, 300.0, 9900)
    assert (points[-1].children, points[-1].worker_seconds, points[-1].tokens) == (30, 3300.0, 33 * 3300)


def test_progress_knows_what_was_trained_on() -> None:
    individuals = search(3, 10, np.random.default_rng(0))
    results = [
        result_of(one, SKILLS[:3]).model_copy(update={"training_tokens": 7 * (one.id >= 3)}) for one in individuals
    ]
    points = progress(population_of(individuals, run_spec(3)), results)
    assert [point.training_tokens for point in points] == [7 * point.children for point in points]


def test_gpus_count_while_they_are_held(store: ObjectStore) -> None:
    before = view_run(store, read_spec(store)).cost
    result = Result(
        id=5,
        evaluations=evaluations((0.5, 0.5, 0.5)),
        timings=Timings(open_seconds=9.0, evaluate_seconds=30.0),
        gpus=2,
        genome_sha256="0" * 64,
    )
    store.put(keys.result(5), result.model_dump_json().encode())
    cost = view_run(store, read_spec(store)).cost
    assert (cost.gpu_seconds["open"], cost.gpu_seconds["evaluate"]) == (18.0, 60.0)
    assert cost.seconds["evaluate"] - before.seconds["evaluate"] == 30.0


def test_report_of_the_same_run_is_the_same(store: ObjectStore) -> None:
    first, second = (report_of(store).model_copy(update={"finished_at": 0.0}) for _ in range(2))
    assert first == second
    assert Report.model_validate_json(first.model_dump_json()) == first


def test_publishing_writes_the_data_last(store: ObjectStore) -> None:
    written = []

    class Watched:
        def put(self, key: str, data: bytes) -> None:
            written.append(key)
            store.put(key, data)

    report = report_of(store)
    publish(Watched(), report)  # type: ignore[arg-type]
    assert written == ["final/archives.png", "final/progress.png", keys.REPORT_PAGE, keys.REPORT]
    assert Report.model_validate_json(store.get(keys.REPORT)) == report
    assert store.get(keys.REPORT_PAGE).startswith(b"<!DOCTYPE html>")


def test_progress_ends_at_the_archives_and_has_a_bounded_number_of_points() -> None:
    spec = run_spec(3)
    population = population_of(search(3, 450, np.random.default_rng(0)), spec)
    points = progress(population)
    assert len(points) == PROGRESS_POINTS
    assert [points[0].children, points[-1].children] == [0, 450]
    assert points[-1].coverage == tuple(archive.coverage for archive in population.archives)
    for series in ([p.coverage[0] for p in points], [p.qd_score[1] for p in points], [p.best_mean for p in points]):
        assert series == sorted(series)


def test_lineage_goes_from_the_blend_down_to_the_experts() -> None:
    report = demo_report(2, children=6)
    chosen = report.chosen
    assert chosen
    lines = lineage(report, chosen.weights)
    assert lines[0].startswith("final model = ")
    told = {line.split(" = ")[0] for line in lines[1:]}
    for line in lines[1:]:
        for parent in line.split(" = ")[1].split(", ")[0].split(" x "):
            assert parent in told | set(report.experts)


def test_a_long_lineage_says_how_much_it_leaves_out() -> None:
    report = demo_report(3, children=200)
    everybody = {one.id: 1.0 / 203 for one in report.individuals}
    lines = lineage(report, everybody)
    assert len(lines) == LINEAGE_LINES + 2
    assert lines[-1] == f"... and {200 - LINEAGE_LINES} older ancestors"


def test_nobody_has_no_lineage() -> None:
    assert lineage(empty_report(), {}) == ["final model = "]


def test_what_truncated_experts_lost_is_a_note(tmp_path: Path) -> None:
    store = started(tmp_path, basis={"rank": 4})[1]
    store.put(keys.basis_manifest("sql-expert"), b'{"kept": {"energy": 0.954, "error": 0.2145}}')
    note = report_of(store).notes[0]
    assert note.startswith("Expert sql-expert is cut to search.basis.rank 4: it keeps 95.4%")
    assert "it keeps 95.4%" in render(report_of(store))
