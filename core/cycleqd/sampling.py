"""Who becomes a parent: elite sampling, section 4.2 of the paper, and its random ablation."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from cycleqd.api.search import EliteSampling, RandomSampling
from cycleqd.archive import Archive


def elite_probabilities(scores: npt.NDArray[np.float64], law: EliteSampling) -> npt.NDArray[np.float64]:
    """Return the probability of each member: P_j ~ prod_k (low + (high - low) * scaled f_jk), over all tasks.

    Args:
        scores: (n_members, n_tasks) in [0, 1].
        law: ``alpha_low`` and ``alpha_high``, the factors of an archive's weakest and strongest member.

    Returns:
        (n_members,) positive, summing to 1. A task on which all members are equal has factor 1.
    """
    low, high = scores.min(axis=0), scores.max(axis=0)
    span = high - low
    scaled = (scores - low) / np.where(span > 0, span, 1.0)
    factors = np.where(span > 0, law.alpha_low + (law.alpha_high - law.alpha_low) * scaled, 1.0)
    gamma: npt.NDArray[np.float64] = factors.prod(axis=1)
    return gamma / float(gamma.sum())


def sample_parents(archive: Archive, law: EliteSampling | RandomSampling, rng: np.random.Generator) -> tuple[int, int]:
    """Draw two distinct parents without replacement; a sole member is both parents.

    Returns:
        Rows of the archive.
    """
    n = len(archive.members)
    if n == 1:
        return 0, 0
    probabilities = elite_probabilities(archive.scores, law) if isinstance(law, EliteSampling) else None
    first, second = rng.choice(n, size=2, replace=False, p=probabilities)
    return int(first), int(second)
