"""Step sizes learned from success: the log-normal self-adaptation of evolution strategies.

Every child carries a factor of the mutation's size, recorded with its draws. It inherits the geometric mean of its
parents' factors, varied by exp(rate * N(0, 1)), before it is mutated with it (Beyer and Schwefel, "Evolution
strategies", Natural Computing 1, 2002). Nobody rewards a factor: parents are elites, so factors survive with the
children that they made good, in each task's archive for itself. What a child inherits is written once with its
parents, so a strict run stays repeatable.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from cycleqd.api.search import Mutation, NoMutation, SvdMutation

STEP_FACTOR = "stepFactor"
"""Name of the factor among a child's recorded draws."""

LEAST, MOST = 0.1, 10.0
"""Bounds of the factor. A smaller step drowns in the noise of the scores, a larger one breaks the model; either would
survive by luck alone and then be inherited."""


def inherit(parents: Sequence[Mapping[str, float]], rate: float, rng: np.random.Generator) -> float:
    """Return the factor of a child, in [:data:`LEAST`, :data:`MOST`].

    Args:
        parents: the draws recorded with each parent; one without a factor (an expert, say) counts as 1.
        rate: of learning, the standard deviation of the factor's logarithm from parents to child.
        rng: generator of this child's step size.
    """
    mean = float(np.mean([np.log(draws.get(STEP_FACTOR, 1.0)) for draws in parents]))
    return float(np.clip(np.exp(mean + rate * rng.standard_normal()), LEAST, MOST))


def scaled(law: Mutation, factor: float) -> Mutation:
    """Return the mutation with its size multiplied."""
    if isinstance(law, NoMutation):
        return law
    size = "max_scale" if isinstance(law, SvdMutation) else "standard_deviation"
    return law.model_copy(update={size: getattr(law, size) * factor})
