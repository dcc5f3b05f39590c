"""Archives whose cells are a centroidal Voronoi tessellation (CVT) of behaviours.

Vassiliades, Chatzilygeroudis, Mouret: "Using centroidal Voronoi tessellations to scale up the multidimensional archive
of phenotypic elites algorithm", IEEE Transactions on Evolutionary Computation, 2018.

However many tasks there are, the cells stay as many as one likes, and about equally large. The centroids belong to the
unit cube and depend on nothing but their number and that of the axes; an archive stretches the cube to its limits. So
whoever folds the results has them, nothing has to be stored, and runs with other seeds have the same cells.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Self

import numpy as np

from cycleqd.archive import CellArchive, Ids, Scores
from cycleqd.distances import squared_distances
from cycleqd.rng import generator

SAMPLES = 50
"""Points of the cube per cell that stand for all. The cells are to be alike, not perfect."""
ROUNDS = 20
"""Rounds of Lloyd's algorithm: thirty make the cells half a percent more even."""
CHUNK = 128
"""Points whose distances are computed at one time, so that they stay in a processor's cache."""


def nearest(points: Scores, centroids: Scores) -> Ids:
    """Return the index (n,) of the centroid nearest to each of ``points`` (n, n_axes); the first among equals."""
    parts = np.split(points, range(CHUNK, len(points), CHUNK))
    indices: Ids = np.concatenate([squared_distances(part, centroids).argmin(axis=1) for part in parts])
    return indices.astype(np.int64, copy=False)


@cache
def centroids_of(n_cells: int, n_axes: int) -> Scores:
    """Return the (n_cells, n_axes) centroids of a tessellation of the unit cube, by Lloyd's algorithm.

    Sums are added one by one, in the samples' order, so the centroids are the same on every machine.
    """
    samples = generator(0, -1, "centroids").random((SAMPLES * n_cells, n_axes))
    centroids = samples[:n_cells]
    for _ in range(ROUNDS):
        cells = nearest(samples, centroids)
        sums = [np.bincount(cells, samples[:, axis], n_cells) for axis in range(n_axes)]
        counts = np.bincount(cells, minlength=n_cells)
        means = np.stack(sums, axis=1) / np.maximum(counts, 1)[:, None]
        centroids = np.where(counts[:, None] > 0, means, centroids)
    centroids.setflags(write=False)
    return centroids


@dataclass(frozen=True)
class CvtArchive(CellArchive):
    """An archive with one elite for each centroid's surroundings.

    Attributes:
        limits: (n_tasks, 2) of the axes, lower then upper; row ``task`` is not used.
        centroids: (n_cells, n_tasks - 1) in [0, 1]: 0 at an axis' lower limit, 1 at its upper one.
    """

    limits: Scores
    centroids: Scores

    @classmethod
    def empty(cls, task: int, limits: Scores, n_cells: int) -> Self:
        """Return an archive without elites."""
        none = np.empty(0, np.int64)
        return cls(task, none, np.empty((0, len(limits))), none, limits, centroids_of(n_cells, len(limits) - 1))

    @property
    def capacity(self) -> float:
        """All cells."""
        return float(len(self.centroids))

    def places_of(self, scores: Scores) -> Scores:
        """Return where in the unit cube (n, n_tasks - 1) individuals with ``scores`` (n, n_tasks) are.

        What lies outside the limits counts as lying on them.
        """
        axes = list(self.axes)
        lower, upper = self.limits[axes].T
        extent = np.where(upper > lower, upper - lower, 1.0)
        places: Scores = np.clip((scores[:, axes] - lower) / extent, 0.0, 1.0)
        return places

    def cells_of(self, scores: Scores) -> Ids:
        """Return the index (n,) of the nearest centroid of individuals with ``scores`` (n, n_tasks)."""
        return nearest(self.places_of(scores), self.centroids)
