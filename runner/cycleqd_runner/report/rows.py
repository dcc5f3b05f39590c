"""Rows of the page's tables: test scores per model, differences, and cost per kind of work."""

from __future__ import annotations

from dataclasses import dataclass

from cycleqd.report import Change, Cost, Interval, Report
from cycleqd_runner.report.costs import BENCHMARKS, FINALIZE
from cycleqd_runner.report.formats import time_unit
from cycleqd_runner.report.summary import other_name

WORK = {
    "open": "opening models",
    "breed": "breeding",
    "load": "loading weights",
    "evaluate": "evaluation on the search split",
    "wait": "waiting for earlier children",
    "write": "writing results",
    FINALIZE: "validation and test",
    BENCHMARKS: "benchmarks",
}
"""What people call the kinds of work."""


@dataclass(frozen=True)
class ScoreRow:
    """A row of the score table.

    Attributes:
        model: its name.
        kind: ``base``, ``expert``, ``average`` or ``merged``.
        intervals: the mean over the tasks, then one per task; None: not tested.
    """

    model: str
    kind: str
    intervals: tuple[Interval | None, ...]


@dataclass(frozen=True)
class ChangeRow:
    """A row of differences below the scores.

    Attributes:
        against: whom the merged model is compared with.
        changes: of the mean over the tasks, then one per task; None: not known.
    """

    against: str
    changes: tuple[Change | None, ...]


@dataclass(frozen=True)
class CostRow:
    """A row of the cost table.

    Attributes:
        work: what was done.
        time, gpu_time: in the table's unit.
        share: of all worker time, in [0, 1].
        evaluations, prompt_tokens, answer_tokens: None where this work has none.
    """

    work: str
    time: float
    gpu_time: float
    share: float
    evaluations: int | None = None
    prompt_tokens: int | None = None
    answer_tokens: int | None = None


def score_rows(report: Report) -> tuple[ScoreRow, ...]:
    """Return a row per model."""
    kinds = {"base": "base", "average": "average", "merged": "merged"}
    return tuple(
        ScoreRow(
            model, kinds.get(model, "expert"), (report.means.get(model), *(own.get(task) for task in report.tasks))
        )
        for model, own in report.scores.items()
    )


def change_rows(report: Report) -> tuple[ChangeRow, ...]:
    """Return a row per model that the merged one is compared with."""
    return tuple(
        ChangeRow(other_name(report, one), (one, *(one.tasks.get(task) for task in report.tasks)))
        for one in report.differences
    )


def cost_rows(cost: Cost) -> tuple[str, tuple[CostRow, ...]]:
    """Return the unit of time that suits the total, and a row per kind of work that took any."""
    total = sum(cost.seconds.values())
    unit, size = time_unit(total)
    used = {
        "evaluate": (cost.evaluations + cost.reevaluations, cost.prompt_tokens, cost.answer_tokens),
        FINALIZE: (cost.final_evaluations, cost.final_prompt_tokens, cost.final_answer_tokens),
        BENCHMARKS: (cost.benchmark_evaluations, cost.benchmark_prompt_tokens, cost.benchmark_answer_tokens),
    }
    rows = [
        CostRow(
            WORK.get(kind, kind), seconds / size, cost.gpu_seconds.get(kind, 0.0) / size, seconds / total,
            *used.get(kind, (None, None, None)),
        )
        for kind, seconds in cost.seconds.items()
        if seconds > 0
    ]  # fmt: skip
    return unit, tuple(rows)
