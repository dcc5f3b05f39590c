"""Scores by kind of item, for tasks that have kinds: SELECT, INSERT and UPDATE of AgentBenchDB."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from cycleqd.records import TaskEvaluation
from cycleqd.report import MACRO, MICRO, Interval
from cycleqd.statistics import grouped_interval, mean_interval


def by_group(
    tasks: Sequence[str], tested: Mapping[str, Sequence[TaskEvaluation]]
) -> dict[str, dict[str, dict[str, Interval]]]:
    """Return the test scores per task, model and kind: kinds in alphabetical order, then their two means.

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
    if not scores:
        return {}
    kinds = {name: np.array(scores[name], np.float64) for name in sorted(scores)}
    shown = {name: mean_interval(own) for name, own in kinds.items()}
    shown |= {MICRO: mean_interval(np.concatenate([*kinds.values()])), MACRO: grouped_interval([*kinds.values()])}
    return {name: Interval.of(estimate) for name, estimate in shown.items()}
