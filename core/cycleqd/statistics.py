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
    """A mean, or a difference or ratio of means, with its interval."""

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
    estimate = mean_of([mean_interval(group) for group in groups])
    return estimate._replace(low=max(0.0, estimate.low), high=min(1.0, estimate.high))


def mean_of(estimates: Sequence[Estimate]) -> Estimate:
    """Return the mean of independent estimates, of at least one, with an interval made of their own (MOVER)."""
    mean = float(np.mean([one.mean for one in estimates]))
    below = float(np.linalg.norm([one.mean - one.low for one in estimates])) / len(estimates)
    above = float(np.linalg.norm([one.high - one.mean for one in estimates])) / len(estimates)
    return Estimate(mean, mean - below, mean + above, sum(one.items for one in estimates))


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


def paired_ratio(first: Scores, second: Scores) -> Estimate | None:
    """Return what ``first`` scores as a share of ``second`` on the same items; None where ``second`` scores nothing.

    The interval is Bonett and Price's hybrid of two Wilson intervals ("Confidence intervals for a ratio of binomial
    proportions based on paired data", 2006), whose counts of pairs are sums over the items here, so that graded scores
    have one too. Where all items agree it does not shrink to a point, as a bootstrap would.

    Args:
        first: (n_items,) scores in [0, 1].
        second: likewise, in the same item order.

    Raises:
        ValueError: the items are not the same, or there are none.
    """
    if not len(first) or len(first) != len(second):
        raise ValueError("a ratio needs the same items twice, and at least one")
    a, b = float(first.sum()), float(second.sum())
    if not b:
        return None
    either, differing = float(np.maximum(first, second).sum()), float(np.abs(first - second).sum())
    both = np.sqrt((differing + 2) / ((a + 1) * (b + 1)))
    each = [np.sqrt((1 - (own + 1) / (either + 2)) / (own + 1)) for own in (a, b)]
    z = float(Z * both / sum(each))
    (low_a, high_a), (low_b, high_b) = (_wilson(own, either, z) for own in (a, b))
    return Estimate(a / b, low_a / high_b, high_a / low_b, len(first))


def _wilson(right: float, items: float, z: float) -> tuple[float, float]:
    """Return Wilson's interval of a proportion, ``z`` standard errors to each side."""
    half = z * float(np.sqrt(z * z + 4 * right * max(0.0, 1 - right / items)))
    centre, width = 2 * right + z * z, 2 * (items + z * z)
    return (centre - half) / width, (centre + half) / width
