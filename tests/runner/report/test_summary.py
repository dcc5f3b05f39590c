"""The answer in words stays true whatever came out."""

from __future__ import annotations

import pytest

from cycleqd.report import Candidate, Change, Report
from cycleqd_runner.report.summary import origin, reached, skills, verdict
from tests.runner.report.support import SKILLS, demo_report, empty_report, interval


def scored(merged: dict[str, float], own: dict[str, float]) -> Report:
    """Return a report with these test scores of the merged model and of each task's own expert."""
    experts = {task: f"{task}-expert" for task in own}
    return empty_report().model_copy(
        update={
            "tasks": tuple(merged),
            "experts": tuple(experts.values()),
            "own_experts": experts,
            "scores": {
                "merged": {task: interval(score) for task, score in merged.items()},
                **{experts[task]: {task: interval(score)} for task, score in own.items()},
            },
            "means": {"merged": interval(sum(merged.values()) / len(merged))},
        }
    )


def chosen(weights: dict[int, float]) -> Report:
    """Return a report with this blend as the merged model."""
    candidate = Candidate(name="any", weights=weights, validation={}, chosen=True)
    return demo_report(2, children=3).model_copy(update={"candidates": (candidate,)})


def sentence(report: Report) -> str:
    """Return the sentence about the skills with plain spaces."""
    return " ".join(reached(report).split())


def test_shares_are_of_each_tasks_own_expert() -> None:
    report = scored({"sql": 0.4, "shell": 0.9}, {"sql": 0.8, "shell": 0.6})
    assert sentence(report) == "Of what each task's own expert scores, it reaches 50 % on sql and 150 % on shell."


def test_an_expert_that_scores_nothing_is_no_measure() -> None:
    report = scored({"sql": 0.4, "shell": 0.9}, {"sql": 0.8, "shell": 0.0})
    assert sentence(report) == "Of what each task's own expert scores, it reaches 50 % on sql."
    assert [skill.kept for skill in skills(report)] == pytest.approx([0.5, None, 0.65 / 0.4])


def test_of_many_tasks_the_extremes_are_told() -> None:
    tasks = [f"task-{k}" for k in range(7)]
    report = scored({task: 0.1 * (k + 1) for k, task in enumerate(tasks)}, dict.fromkeys(tasks, 0.5))
    assert sentence(report).endswith("it reaches between 20 % on task-0 and 140 % on task-6.")


def test_rows_are_the_tasks_and_their_mean() -> None:
    report = demo_report(3)
    rows = skills(report)
    assert [row.name for row in rows] == [*SKILLS[:3], "mean"]
    for row in rows[:3]:
        assert row.merged == report.scores["merged"][row.name]
        assert (row.whose, row.expert) == (f"{row.name}-expert", report.scores[f"{row.name}-expert"][row.name].mean)
        assert row.average == report.scores["average"][row.name].mean
    assert rows[3].kept == pytest.approx(report.means["merged"].mean / 0.8)


def test_one_task_needs_no_mean() -> None:
    assert [row.name for row in skills(scored({"sql": 0.4}, {"sql": 0.8}))] == ["sql"]


def test_nothing_is_said_of_a_run_that_is_not_finished() -> None:
    assert (skills(empty_report()), reached(empty_report()), origin(empty_report())) == ((), "", "")


@pytest.mark.parametrize(
    ("weights", "expected"),
    [
        ({0: 1.0}, "It is the expert sql-expert itself"),
        ({0: 0.5, 1: 0.5}, "It is the plain average of the experts"),
        ({0: 0.7, 1: 0.3}, "It is a blend of experts only"),
        ({0: 0.5, 4: 0.5}, ""),
        ({3: 1.0}, ""),
    ],
)
def test_a_model_that_the_search_did_not_find_is_called_so(weights: dict[int, float], expected: str) -> None:
    told = origin(chosen(weights))
    assert told.startswith(expected)
    assert bool(told) == bool(expected)


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (0.01, 0.2, "better than"),
        (-0.2, -0.01, "worse than"),
        (-0.01, 0.02, "not distinguishable from"),
        (0.0, 0.0, "not distinguishable from"),
    ],
)
def test_verdicts_need_an_interval_without_zero(low: float, high: float, expected: str) -> None:
    assert verdict(Change(mean=(low + high) / 2, low=low, high=high)) == expected
