"""Archives without cells: dominated novelty search.

Bahlous-Boldi, Faldor, Grillotti, Janmohamed, Coiffard, Spector, Cully: "Dominated Novelty Search: Rethinking Local
Competition in Quality-Diversity", arXiv 2502.00593.

An individual's dominated novelty is its mean distance to the k nearest individuals that are better; the ``size`` most
novel ones stay. Here everybody who was ever offered competes, not only who stayed before, so that an archive does not
depend on the order in which results came.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np
import numpy.typing as npt

from cycleqd.archive import Archive, Ids, Scores
from cycleqd.distances import Distances, squared_distances

CHUNK = 64
"""Individuals compared with all others at one time, so that their distances stay in a processor's cache."""


def nearest_better(order: Ids, distances: Distances, neighbours: int) -> Scores:
    """Return the distances (n, neighbours) of each individual to the nearest ones before it, ascending.

    Infinite where fewer are before it.

    Args:
        order: (n,) rows of all individuals, the best first.
        distances: between rows.
        neighbours: how many count.
    """
    nearest = np.full((len(order), neighbours), np.inf)
    for start in range(1, len(order), CHUNK):
        places = np.arange(start, min(start + CHUNK, len(order)))
        apart = distances(order[places], order[: places[-1]])
        apart[np.arange(places[-1]) >= places[:, None]] = np.inf
        found = _smallest(apart, neighbours)
        nearest[places, : found.shape[1]] = found
    return nearest


def _smallest(apart: Scores, count: int) -> Scores:
    """Return the ``count`` smallest numbers of each row, or all of them, ascending."""
    return np.sort(apart if apart.shape[1] <= count else np.partition(apart, count - 1)[:, :count])


def dominated_novelty(nearest: Scores) -> Scores:
    """Return the mean (...) of the distances (..., neighbours) to those that are there; infinite if none is."""
    known = np.isfinite(nearest)
    total = np.where(known, nearest, 0.0).sum(axis=-1)
    return np.where(known[..., 0], total / np.maximum(known.sum(axis=-1), 1), np.inf)


@dataclass(frozen=True)
class NoveltyArchive(Archive):
    """The individuals with the highest dominated novelty, by id.

    Attributes:
        nearest: (n_elites, neighbours) distances to the nearest better individuals, elites or not, ascending.
        size: most elites.
    """

    ONE_PER_ELITE = (*Archive.ONE_PER_ELITE, "nearest")

    nearest: Scores
    size: int

    @property
    def capacity(self) -> float:
        """The size."""
        return float(self.size)

    @property
    def novelty(self) -> Scores:
        """(n_elites,) dominated novelty; infinite for the best on the archive's task."""
        return dominated_novelty(self.nearest)

    @classmethod
    def of(cls, task: int, members: Ids, scores: Scores, distances: Distances, size: int, neighbours: int) -> Self:
        """Return the archive of everybody who was offered.

        Who is better is decided by the score on ``task``, and among equals by the lower id: of two twins one stays as
        novel as it was alone.

        Args:
            task: whose score is quality.
            members: (n,) ids, ascending.
            scores: (n, n_tasks) in [0, 1].
            distances: between their behaviours.
            size: how many stay.
            neighbours: how many of the nearest better ones count.
        """
        order = np.argsort(-scores[:, task], kind="stable")
        nearest = nearest_better(order, distances, neighbours)
        kept = np.argsort(-dominated_novelty(nearest), kind="stable")[:size]
        kept = kept[np.argsort(order[kept])]
        return cls(task, members[order[kept]], scores[order[kept]], nearest[kept], size)

    def enters(self, individual: int, scores: Scores) -> npt.NDArray[np.bool_]:
        """Return (n,) whether an individual with ``scores`` (n, n_tasks) would be admitted, each row by itself.

        Of archives whose behaviour is scores. Those who were dropped are not asked how near they are, so some are said
        to enter who do not, as is everybody with fewer than ``neighbours`` better elites, whose mean a dropped one that
        is far may raise; nobody who enters is said not to.
        """
        if len(self.members) < self.size:
            return np.ones(len(scores), bool)
        axes, quality = list(self.axes), scores[:, [self.task]]
        apart = np.sqrt(squared_distances(scores[:, axes], self.scores[:, axes]))
        are_better = (self.qualities > quality) | ((self.qualities == quality) & (self.members < individual))
        neighbours = self.nearest.shape[1]
        mean = dominated_novelty(_smallest(np.where(are_better, apart, np.inf), neighbours))
        own = np.where(are_better.sum(axis=1) < neighbours, np.inf, mean)[:, None]
        # Those who are worse may be less novel from now on.
        arrived = np.where(are_better, np.inf, apart)[..., None]
        nearest = np.concatenate([np.broadcast_to(self.nearest, (*apart.shape, neighbours)), arrived], axis=2)
        novelty = dominated_novelty(np.sort(nearest)[..., :-1])
        stay_before = (novelty > own) | ((novelty == own) & are_better)
        entering: npt.NDArray[np.bool_] = stay_before.sum(axis=1) < self.size
        return entering
