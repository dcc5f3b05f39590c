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

from cycleqd.archive import Archive, Ids, Scores
from cycleqd.distances import Distances

CHUNK = 64
"""Individuals compared with all others at one time, so that their distances stay in a processor's cache."""


def dominated_novelty(order: Ids, distances: Distances, neighbours: int) -> Scores:
    """Return the mean distance (n,) of each individual to the nearest ones before it; infinite for the first.

    Args:
        order: (n,) rows of all individuals, the best first.
        distances: between rows.
        neighbours: how many count; fewer where fewer are before.
    """
    novelty = np.full(len(order), np.inf)
    for start in range(1, len(order), CHUNK):
        places = np.arange(start, min(start + CHUNK, len(order)))
        apart = distances(order[places], order[: places[-1]])
        apart[np.arange(places[-1]) >= places[:, None]] = np.inf
        if apart.shape[1] > neighbours:
            apart = np.partition(apart, neighbours - 1)[:, :neighbours]
        apart.sort()
        known = np.isfinite(apart)
        novelty[places] = np.where(known, apart, 0.0).sum(axis=1) / known.sum(axis=1)
    return novelty


@dataclass(frozen=True)
class NoveltyArchive(Archive):
    """The individuals with the highest dominated novelty, by id.

    Attributes:
        novelty: (n_elites,) dominated novelty; infinite for the best on the archive's task.
        size: most elites.
    """

    novelty: Scores
    size: int

    @property
    def capacity(self) -> float:
        """The size."""
        return float(self.size)

    @classmethod
    def of(cls, task: int, members: Ids, scores: Scores, distances: Distances, size: int, neighbours: int) -> Self:
        """Return the archive of everybody who was offered.

        Who is better is decided by the score on ``task``, and among equals by who was offered first: of two twins one
        stays as novel as it was alone.

        Args:
            task: whose score is quality.
            members: (n,) ids, in the order in which they are offered.
            scores: (n, n_tasks) in [0, 1].
            distances: between their behaviours.
            size: how many stay.
            neighbours: how many of the nearest better ones count.
        """
        order = np.argsort(-scores[:, task], kind="stable")
        novelty = dominated_novelty(order, distances, neighbours)
        kept = np.argsort(-novelty, kind="stable")[:size]
        kept = kept[np.argsort(order[kept])]
        return cls(task, members[order[kept]], scores[order[kept]], novelty[kept], size)
