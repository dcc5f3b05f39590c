"""Limits of the behaviour axes, from the experts' scores (section 4.1 of the paper and its appendix on bins)."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from cycleqd.api.search import Limits


def axis_limits(expert_scores: npt.ArrayLike, factors: Limits) -> npt.NDArray[np.float64]:
    """Return the lower and upper limit of every task's axis.

    Args:
        expert_scores: (n_experts, n_tasks) in [0, 1].
        factors: on the weakest and the strongest expert's score.

    Returns:
        (n_tasks, 2) in [0, 1], lower then upper.
    """
    scores = np.asarray(expert_scores, np.float64)
    lower = factors.lower_factor * scores.min(axis=0)
    upper = factors.upper_factor * scores.max(axis=0)
    limits: npt.NDArray[np.float64] = np.clip(np.stack([lower, upper], axis=1), 0.0, 1.0)
    return limits


def bin_edges(limits: npt.NDArray[np.float64], bins: int) -> npt.NDArray[np.float64]:
    """Return (n_tasks, bins + 1) evenly spaced edges between the ``limits`` (n_tasks, 2)."""
    return np.linspace(limits[:, 0], limits[:, 1], bins + 1, axis=1)


def bin_index(values: npt.ArrayLike, edges: npt.NDArray[np.float64]) -> npt.NDArray[np.intp]:
    """Return the bin of each value: intervals are (lower, upper], values outside go to the edge bins.

    Args:
        values: (n,) scores of one task.
        edges: (bins + 1,) of that task.
    """
    return np.clip(np.searchsorted(edges, values, side="left") - 1, 0, len(edges) - 2)
