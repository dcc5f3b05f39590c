"""What models kept of the base model's skills: scores on benchmarks, normalised to the base (the paper's Table 3)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from cycleqd.records import TaskEvaluation
from cycleqd.report import Interval, Retention
from cycleqd.statistics import Estimate, Scores, mean_interval, mean_of, paired_ratio


def retention(benchmarked: Mapping[str, Sequence[TaskEvaluation]]) -> Retention:
    """Return the table of evaluations per model, one per benchmark; ``base`` is among the models."""
    tables = {name: {one.task: _scores(one) for one in own} for name, own in benchmarked.items()}
    base = tables["base"]
    shares = {name: {task: _share(name, own[task], base[task]) for task in base} for name, own in tables.items()}
    comparable = [task for task in base if shares["base"][task]]
    return Retention(
        benchmarks=tuple(base),
        scores={
            name: {task: None if one is None else Interval.of(mean_interval(one)) for task, one in own.items()}
            for name, own in tables.items()
        },
        kept={name: {task: _interval(one) for task, one in own.items()} for name, own in shares.items()},
        means={name: _interval(_mean([own[task] for task in comparable])) for name, own in shares.items()},
        unscored={
            name: reasons
            for name, own in benchmarked.items()
            if (reasons := {one.task: _reason(one) for one in own if one.unscored})
        },
    )


def _scores(evaluation: TaskEvaluation) -> Scores | None:
    """Return (n_items,) scores in [0, 1]; None if an item has none: a mean over the others is another benchmark's."""
    if evaluation.unscored:
        return None
    return np.array([outcome.score for outcome in evaluation.outcomes], np.float64)


def _share(name: str, scores: Scores | None, base: Scores | None) -> Estimate | None:
    if scores is None or base is None or not base.any():
        return None
    return Estimate(1.0, 1.0, 1.0, len(base)) if name == "base" else paired_ratio(scores, base)


def _mean(shares: Sequence[Estimate | None]) -> Estimate | None:
    known = [share for share in shares if share is not None]
    return mean_of(known) if known and len(known) == len(shares) else None


def _interval(estimate: Estimate | None) -> Interval | None:
    return None if estimate is None else Interval.of(estimate)


def _reason(evaluation: TaskEvaluation) -> str:
    missing = evaluation.broken or evaluation.unscored  # what asking again will not change comes first
    return f"{len(missing)} of {len(evaluation.outcomes)} items: {missing[0].reason}"
