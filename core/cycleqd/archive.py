"""Archives: one grid per task, one elite per cell (section 4.1 of the paper).

Archive i keeps, for every cell of the other tasks' scores, the individual with the best score on task i. What the
scores are and who is offered when is :mod:`cycleqd.fold`'s knowledge.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np
import numpy.typing as npt

from cycleqd.api.search import Archive as Grid
from cycleqd.limits import bin_edges, bin_index

EMPTY = -1
"""Occupant of a cell that nobody has entered."""


@dataclass(frozen=True)
class Archive:
    """The archive of one task. Admission makes a new one; cells that nobody entered are not stored.

    Attributes:
        task: index of the task whose score is quality; the behaviour axes are the other tasks, in task order.
        edges: (n_tasks, bins + 1) bin edges; row ``task`` is not used.
        cells: (n_elites,) flat index of each occupied cell, ascending.
        members: (n_elites,) id of the elite of each cell.
        scores: (n_elites, n_tasks) in [0, 1], of the elites.
    """

    task: int
    edges: npt.NDArray[np.float64]
    cells: npt.NDArray[np.int64]
    members: npt.NDArray[np.int64]
    scores: npt.NDArray[np.float64]

    @classmethod
    def empty(cls, task: int, edges: npt.NDArray[np.float64]) -> Self:
        """Return an archive without elites."""
        none = np.empty(0, np.int64)
        return cls(task, edges, none, none, np.empty((0, len(edges))))

    @property
    def axes(self) -> tuple[int, ...]:
        """Indices of the behaviour axes' tasks."""
        return tuple(axis for axis in range(len(self.edges)) if axis != self.task)

    @property
    def shape(self) -> tuple[int, ...]:
        """Bins per behaviour axis."""
        return (self.edges.shape[1] - 1,) * (len(self.edges) - 1)

    @property
    def qualities(self) -> npt.NDArray[np.float64]:
        """(n_elites,) scores on the archive's own task."""
        return self.scores[:, self.task]

    @property
    def coverage(self) -> float:
        """Occupied share of the cells, in [0, 1]."""
        return len(self.cells) / float(np.prod([float(n) for n in self.shape]))

    @property
    def qd_score(self) -> float:
        """Sum of the elites' qualities (they are non-negative)."""
        return float(self.qualities.sum())

    def cells_of(self, scores: npt.NDArray[np.float64]) -> npt.NDArray[np.int64]:
        """Return the flat cell index (n,) of individuals with ``scores`` (n, n_tasks)."""
        indices = tuple(bin_index(scores[:, axis], self.edges[axis]) for axis in self.axes)
        return np.ravel_multi_index(indices, self.shape).astype(np.int64)

    def admit(self, members: npt.ArrayLike, scores: npt.ArrayLike) -> Archive:
        """Offer individuals in order: each enters an empty cell or replaces a strictly worse elite.

        One vectorised pass with the outcome of offering them one by one: the best of each cell stays, and the one
        offered first among equals.

        Args:
            members: (n,) ids.
            scores: (n, n_tasks) in [0, 1].
        """
        offered = np.asarray(scores, np.float64).reshape(-1, len(self.edges))
        cells = np.concatenate([self.cells, self.cells_of(offered)])
        everyone = np.concatenate([self.members, np.asarray(members, np.int64)])
        table = np.concatenate([self.scores, offered])
        # A stable sort keeps the order of offering among equals, so the first row of each cell is its elite.
        order = np.lexsort((-table[:, self.task], cells))
        first = np.ones(len(order), bool)
        first[1:] = cells[order[1:]] != cells[order[:-1]]
        elites = order[first]
        return Archive(self.task, self.edges, cells[elites], everyone[elites], table[elites])

    def best(self) -> int:
        """Return the row of the elite with the best quality; among equals, of the most recent individual."""
        return int(np.lexsort((self.members, self.qualities))[-1])

    def grid(self) -> npt.NDArray[np.int64]:
        """Return the occupants' ids in the archive's :attr:`shape`, :data:`EMPTY` where nobody is."""
        cells = np.full(self.shape, EMPTY, np.int64)
        cells.flat[self.cells] = self.members
        return cells


def empty_archives(limits: npt.NDArray[np.float64], grid: Grid) -> tuple[Archive, ...]:
    """Return one empty archive per task for axis ``limits`` (n_tasks, 2)."""
    edges = bin_edges(limits, grid.bins)
    return tuple(Archive.empty(task, edges) for task in range(len(limits)))
