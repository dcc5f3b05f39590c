"""Scores by kind of item, for tasks that have kinds: SELECT, INSERT and UPDATE of AgentBenchDB."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from cycleqd.records import TaskEvaluation
from cycleqd.report import MACRO, Interval
from cycleqd.statistics import grouped_interval, mean_interval


def by_group(
    tasks: Sequence[str], tested: Mapping[str, Sequence[TaskEvaluation]]
) -> dict[str, dict[str, dict[str, Interval]]]:
    """Return the test scores per task, model and kind, kinds in alphabetical order and their mean last.

    Args:
        tasks: in cycle order.
        tested: evaluations per model, one per task.
    """
    found = {task: {model: _groups(own[at]) for model, own in tested.items()} for at, task in enumerate(tasks)}
    return {task: models for task, models in found.items() if any(models.values())}


def _groups(evaluation: TaskEvaluation) -> dict[str, Interval]:
    scores: dict[str, list[float]] = {}
    for outcome in evaluation.outcomes:
        if outcome.group and outcome.score is not None:
            scores.setdefault(outcome.group, []).append(outcome.score)
    kinds = {name: np.array(scores[name], np.float64) for name in sorted(scores)}
    shown = {name: Interval.of(mean_interval(own)) for name, own in kinds.items()}
    return shown | {MACRO: Interval.of(grouped_interval(list(kinds.values())))} if kinds else {}
