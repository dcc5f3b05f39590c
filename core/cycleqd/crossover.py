"""Crossover: child = theta0 + (w1 tau1 + w2 tau2) / (w1 + w2), section 4.3 of the paper; on genomes a lerp."""

from __future__ import annotations

import numpy as np

from cycleqd.api.search import LinearCrossover
from cycleqd.genome import Genome, combine


def cross(first: Genome, second: Genome, law: LinearCrossover, rng: np.random.Generator) -> tuple[Genome, float]:
    """Return the child and the first parent's share w1 / (w1 + w2), with w ~ N(mean, sd^2).

    Weights that nearly cancel would blow the child up, so they are drawn again; with the paper's mean 1 and standard
    deviation 0.03 that does not happen.
    """
    w1, w2 = rng.normal(law.mean, law.standard_deviation, size=2)
    while abs(w1 + w2) < 0.1 * (abs(w1) + abs(w2)):
        w1, w2 = rng.normal(law.mean, law.standard_deviation, size=2)
    share = float(w1 / (w1 + w2))
    return combine([first, second], [share, 1.0 - share]), share
