"""Intervals: what a mean over a few dozen items can say. All intervals are at the 95 % level."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

Scores = npt.NDArray[np.float64]
"""(n_items,) scores in [0, 1] of one model on one task, in item order."""

Z = 1.959963984540054
"""97.5 % quantile of the normal distribution: two-sided 95 % intervals."""
RESAMPLES = 10_000
"""Bootstrap resamples: the interval's ends are then good to about a tenth of a standard error."""


class Estimate(NamedTuple):
    """A mean, or a difference of means, with its interval."""

    mean: float
    low: float
    high: float
    items: int


def mean_interval(scores: Scores) -> Estimate:
    """Return the mean of one task's scores with Wilson's interval.

    Wilson's score interval is for proportions; for graded scores in [0, 1], whose variance is at most that of a
    proportion of the same mean, it is conservative. It stays in [0, 1] and is sensible at 0 and 1.

    Raises:
        ValueError: no scores.
    """
    n = len(scores)
    if not n:
        raise ValueError("a mean needs at least one score")
    mean = float(scores.mean())
    centre = (mean + Z * Z / (2 * n)) / (1 + Z * Z / n)
    half = Z / (1 + Z * Z / n) * float(np.sqrt(mean * (1 - mean) / n + Z * Z / (4 * n * n)))
    return Estimate(mean, max(0.0, min(centre - half, mean)), min(1.0, max(centre + half, mean)), n)


def grouped_interval(groups: Sequence[Scores]) -> Estimate:
    """Return the mean over tasks, each with equal weight, with an interval made of the tasks' own.

    The tasks' Wilson intervals are combined by the distances of their ends from the means, root of the sum of squares
    (MOVER, Zou & Donner 2008). A bootstrap would be sure of itself where all items agree: of a model that solves
    nothing it says 0 to 0, and near the ends its intervals miss the truth twice as often as they should.

    Args:
        groups: one array of scores per task.

    Raises:
        ValueError: no tasks, or a task without scores.
    """
    if not groups:
        raise ValueError("a mean over tasks needs at least one task")
    tasks = [mean_interval(group) for group in groups]
    mean = float(np.mean([task.mean for task in tasks]))
    below = float(np.linalg.norm([task.mean - task.low for task in tasks])) / len(tasks)
    above = float(np.linalg.norm([task.high - task.mean for task in tasks])) / len(tasks)
    return Estimate(mean, max(0.0, mean - below), min(1.0, mean + above), sum(task.items for task in tasks))


def grouped_difference(first: Sequence[Scores], second: Sequence[Scores], rng: np.random.Generator) -> Estimate:
    """Return how much better ``first`` is than ``second`` on the same items: a paired bootstrap within tasks.

    Args:
        first: one array of scores per task.
        second: likewise, in the same item order.
        rng: of the resampling.

    Raises:
        ValueError: the items are not the same, or there are none.
    """
    if not first or not all(len(group) for group in first):
        raise ValueError("a difference needs at least one task, and each task at least one score")
    if [len(group) for group in first] != [len(group) for group in second]:
        raise ValueError("paired scores need the same items")
    groups = [a - b for a, b in zip(first, second, strict=True)]
    means = np.zeros(RESAMPLES)
    for group in groups:
        n = len(group)
        means += group[rng.integers(0, n, size=(RESAMPLES, n))].mean(axis=1) / len(groups)
    low, high = np.quantile(means, [0.025, 0.975])
    mean = float(np.mean([group.mean() for group in groups]))
    return Estimate(mean, float(low), float(high), sum(len(group) for group in groups))
