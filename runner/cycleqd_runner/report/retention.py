"""What models kept of the base model's skills: scores on benchmarks, normalised to the base (the paper's Table 3)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import fmean

import numpy as np

from cycleqd.records import TaskEvaluation
from cycleqd.report import Interval, Retention
from cycleqd.statistics import mean_interval


def retention(benchmarked: Mapping[str, Sequence[TaskEvaluation]]) -> Retention:
    """Return the table of evaluations per model, one per benchmark; ``base`` is among the models."""
    scores = {name: {one.task: _interval(one) for one in own} for name, own in benchmarked.items()}
    base = scores["base"]
    kept = {
        name: {task: one.mean / base[task].mean if base[task].mean > 0 else None for task, one in own.items()}
        for name, own in scores.items()
    }
    known = {name: [share for share in own.values() if share is not None] for name, own in kept.items()}
    means = {name: fmean(shares) if shares else None for name, shares in known.items()}
    return Retention(benchmarks=tuple(base), scores=scores, kept=kept, means=means)


def _interval(evaluation: TaskEvaluation) -> Interval:
    return Interval.of(mean_interval(np.array([outcome.score for outcome in evaluation.outcomes], np.float64)))
