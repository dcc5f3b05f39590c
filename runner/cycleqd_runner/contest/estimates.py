"""What test scores of several seeds say about a method, or about two: means with 95 % intervals.

Two things could have been others: the seed (splits and every draw of the search) and the items. Student's t over the
seeds' means says what another seed might give; the item intervals of :mod:`cycleqd.statistics`, over each item's mean
of all seeds, say what other items might. The wider of the two is reported, so a method that does the same with every
seed is not taken for certain, nor one that was lucky with a few seeds.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from statistics import fmean

import numpy as np

from cycleqd.records import TaskEvaluation
from cycleqd.rng import generator
from cycleqd.statistics import Estimate, Scores, grouped_difference, grouped_interval

LEVEL = 0.975
"""Quantile of two-sided 95 % intervals."""

Tested = Mapping[str, Mapping[str, float]]
"""Scores by task and item, of one method with one seed."""
Seeds = Mapping[int, Tested]
"""Of one method."""


def scores_of(evaluations: Iterable[TaskEvaluation]) -> dict[str, dict[str, float]]:
    """Return the scores of a test; a trial is only written when every item has one."""
    return {
        evaluation.task: {outcome.item: outcome.score for outcome in evaluation.outcomes if outcome.score is not None}
        for evaluation in evaluations
    }


def level(seeds: Seeds, tasks: Sequence[str]) -> Estimate:
    """Return the mean test score over seeds, tasks and items, in [0, 1].

    Args:
        seeds: at least one.
        tasks: at least one; each has the same weight.
    """
    means = [_mean(tested, tasks) for tested in seeds.values()]
    found = _wider(means, grouped_interval(_by_item(seeds, tasks)))
    return Estimate(found.mean, max(0.0, found.low), min(1.0, found.high), found.items)


def difference(first: Seeds, second: Seeds, tasks: Sequence[str]) -> Estimate:
    """Return how much better ``first`` is than ``second``, paired by seed and item, over the seeds that both have."""
    one, two, means = _paired(first, second, tasks)
    rng = generator(0, -1, f"contest/difference/{'/'.join(tasks)}")
    return _wider(means, grouped_difference(_by_item(one, tasks), _by_item(two, tasks), rng))


def p_value(first: Seeds, second: Seeds, tasks: Sequence[str]) -> float | None:
    """Return the two-sided p-value of a paired t-test over seeds; None where seeds are too few or all differ alike."""
    _, _, means = _paired(first, second, tasks)
    if len(means) < 2 or np.ptp(means) == 0.0:  # noqa: PLR2004 - a variance needs two
        return None
    from scipy import stats  # noqa: PLC0415 - of the extra compare

    return float(stats.ttest_1samp(means, 0.0).pvalue)


def _paired(first: Seeds, second: Seeds, tasks: Sequence[str]) -> tuple[Seeds, Seeds, list[float]]:
    """Return both methods with their common seeds, and the difference with each."""
    common = [seed for seed in first if seed in second]
    means = [_mean(first[seed], tasks) - _mean(second[seed], tasks) for seed in common]
    return {seed: first[seed] for seed in common}, {seed: second[seed] for seed in common}, means


def _mean(tested: Tested, tasks: Sequence[str]) -> float:
    return fmean(fmean(tested[task].values()) for task in tasks)


def _by_item(seeds: Seeds, tasks: Sequence[str]) -> list[Scores]:
    """Return the mean over seeds of each item, task by task, items in the order of their ids."""
    groups = []
    for task in tasks:
        items = sorted({item for tested in seeds.values() for item in tested[task]})
        own = [[tested[task][item] for tested in seeds.values() if item in tested[task]] for item in items]
        groups.append(np.array([fmean(scores) for scores in own], np.float64))
    return groups


def _wider(means: Sequence[float], items: Estimate) -> Estimate:
    """Return the mean of the seeds' means with the wider of its two intervals, end by end."""
    mean, half = fmean(means), 0.0
    if len(means) > 1:
        from scipy import stats  # noqa: PLC0415 - of the extra compare

        quantile = float(stats.t.ppf(LEVEL, len(means) - 1))
        half = quantile * float(np.std(means, ddof=1)) / float(np.sqrt(len(means)))
    below, above = max(half, items.mean - items.low), max(half, items.high - items.mean)
    return Estimate(mean, mean - below, mean + above, items.items)
