"""Crossover: child = theta0 + (w1 tau1 + w2 tau2) / (w1 + w2), section 4.3 of the paper; on genomes a lerp.

The paper draws one pair of weights a child, which with its standard deviation of 0.03 is nearly a midpoint. Drawn per
layer, module or direction (:mod:`cycleqd.groups`), the same law recombines; uniform crossover takes each part whole.
Weights always are normalised within their group: sums of parents that are not would drift away from both.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from cycleqd.api.search import Crossover, LinearCrossover, UniformCrossover
from cycleqd.genome import Genome, Layout
from cycleqd.groups import groups_of

Shares = npt.NDArray[np.float64]


def _linear(law: LinearCrossover, count: int, rng: np.random.Generator) -> Shares:
    """Return w1 / (w1 + w2) of each group, with w ~ N(mean, sd^2).

    Weights that nearly cancel would blow the child up, so they are drawn again; with the paper's mean 1 and standard
    deviation 0.03 that does not happen.
    """
    weights = rng.normal(law.mean, law.standard_deviation, size=(count, 2))
    while (cancelling := np.abs(weights.sum(axis=1)) < 0.1 * np.abs(weights).sum(axis=1)).any():
        weights[cancelling] = rng.normal(law.mean, law.standard_deviation, size=(np.count_nonzero(cancelling), 2))
    shares: Shares = weights[:, 0] / weights.sum(axis=1)
    return shares


def _uniform(law: UniformCrossover, count: int, rng: np.random.Generator) -> Shares:
    """Return 1 for each group that comes from the first parent, else 0."""
    return (rng.random(count) < law.probability).astype(np.float64)


_TABLE: dict[str, Callable[[Any, int, np.random.Generator], Shares]] = {"Linear": _linear, "Uniform": _uniform}


def cross(
    first: Genome, second: Genome, layout: Layout, law: Crossover, rng: np.random.Generator
) -> tuple[Genome, dict[str, float]]:
    """Return the child of two parents, and the draws worth recording.

    Args:
        first: parent.
        second: likewise.
        layout: of both; its names say which numbers are in one layer or module.
        law: how the first parent's share of each group is drawn.
        rng: generator of this child's crossover.

    Returns:
        The child, and the ``firstParentShare`` (mean over the groups; with several, also their standard deviation).
    """
    groups = groups_of(layout, law.granularity)
    shares = _TABLE[law.type](law, groups.count, rng)
    ours, theirs = shares.astype(np.float32), (1.0 - shares).astype(np.float32)
    child = Genome(
        ours[groups.values] * first.values + theirs[groups.values] * second.values,
        ours[groups.coefficients] * first.coefficients + theirs[groups.coefficients] * second.coefficients,
    )
    draws = {"firstParentShare": float(shares.mean())}
    if groups.count > 1:
        draws["firstParentShareDeviation"] = float(shares.std())
    return child, draws
