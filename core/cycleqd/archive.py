"""Archives of one task: who is in them, and the rule of those that have cells (section 4.1 of the paper).

Archive i keeps individuals that are good at task i (quality) and behave differently on the others. In a grid, or in
another partition of behaviours into cells, the best individual of each cell stays. What the scores are, and who is
offered when, is :mod:`cycleqd.fold`'s knowledge; archives without cells are :mod:`cycleqd.novelty`'s.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from typing import ClassVar, Self

import numpy as np
import numpy.typing as npt

from cycleqd.limits import bin_index

EMPTY = -1
"""Occupant of a cell that nobody has entered."""

Scores = npt.NDArray[np.float64]
Ids = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Archive(ABC):
    """What sampling, final models and reports need to know of an archive of any type.

    Attributes:
        task: index of the task whose score is quality; the behaviour axes are the other tasks, in task order.
        members: (n_elites,) ids of the elites.
        scores: (n_elites, n_tasks) in [0, 1], of the elites.
    """

    ONE_PER_ELITE: ClassVar[tuple[str, ...]] = ("members", "scores")
    """Attributes with a row for each elite."""

    task: int
    members: Ids
    scores: Scores

    @property
    @abstractmethod
    def capacity(self) -> float:
        """Most elites that the archive can hold. A grid of many tasks has more cells than integers of 64 bits count."""

    @abstractmethod
    def enters(self, individual: int, scores: Scores) -> npt.NDArray[np.bool_]:
        """Return (n,) whether an individual with ``scores`` (n, n_tasks) would be admitted, each row by itself.

        As in the fold, the lower id stays among equals, whoever came first.
        """

    @property
    def axes(self) -> tuple[int, ...]:
        """Indices of the behaviour axes' tasks."""
        return tuple(axis for axis in range(self.scores.shape[1]) if axis != self.task)

    @property
    def qualities(self) -> Scores:
        """(n_elites,) scores on the archive's own task."""
        return self.scores[:, self.task]

    @property
    def coverage(self) -> float:
        """Occupied share of the capacity, in [0, 1]."""
        return len(self.members) / self.capacity

    @property
    def qd_score(self) -> float:
        """Sum of the elites' qualities (they are non-negative)."""
        return float(self.qualities.sum())

    def only(self, keep: npt.NDArray[np.bool_]) -> Self:
        """Return the archive without the elites that are not to ``keep`` (n_elites,)."""
        return replace(self, **{name: getattr(self, name)[keep] for name in self.ONE_PER_ELITE})

    def best(self) -> int:
        """Return the row of the elite with the best quality; among equals, of the most recent individual."""
        return int(np.lexsort((self.members, self.qualities))[-1])


@dataclass(frozen=True)
class CellArchive(Archive):
    """An archive with one elite per cell. Admission makes a new one; cells that nobody entered are not stored.

    Attributes:
        cells: (n_elites,) index of each occupied cell, ascending.
    """

    ONE_PER_ELITE = (*Archive.ONE_PER_ELITE, "cells")

    cells: Ids

    @abstractmethod
    def cells_of(self, scores: Scores) -> Ids:
        """Return the cell index (n,) of individuals with ``scores`` (n, n_tasks)."""

    def admit(self, members: npt.ArrayLike, scores: npt.ArrayLike) -> Self:
        """Offer individuals in order: each enters an empty cell or replaces a strictly worse elite.

        One vectorised pass with the outcome of offering them one by one: the best of each cell stays, and the one
        offered first among equals.

        Args:
            members: (n,) ids.
            scores: (n, n_tasks) in [0, 1].
        """
        offered = np.asarray(scores, np.float64).reshape(-1, self.scores.shape[1])
        cells = np.concatenate([self.cells, self.cells_of(offered)])
        everyone = np.concatenate([self.members, np.asarray(members, np.int64)])
        table = np.concatenate([self.scores, offered])
        # A stable sort keeps the order of offering among equals, so the first row of each cell is its elite.
        order = np.lexsort((-table[:, self.task], cells))
        first = np.ones(len(order), bool)
        first[1:] = cells[order[1:]] != cells[order[:-1]]
        elites = order[first]
        return replace(self, cells=cells[elites], members=everyone[elites], scores=table[elites])

    def enters(self, individual: int, scores: Scores) -> npt.NDArray[np.bool_]:
        """Return (n,) whether an individual with ``scores`` (n, n_tasks) would be admitted, each row by itself."""
        if not len(self.cells):
            return np.ones(len(scores), bool)
        cells, quality = self.cells_of(scores), scores[:, self.task]
        place = np.minimum(np.searchsorted(self.cells, cells), len(self.cells) - 1)
        incumbent = self.qualities[place]
        wins = (quality > incumbent) | ((quality == incumbent) & (individual < self.members[place]))
        found: npt.NDArray[np.bool_] = wins | (self.cells[place] != cells)
        return found


@dataclass(frozen=True)
class GridArchive(CellArchive):
    """The paper's archive: equal bins on every behaviour axis.

    Attributes:
        edges: (n_tasks, bins + 1) bin edges; row ``task`` is not used.
    """

    edges: Scores

    @classmethod
    def empty(cls, task: int, edges: Scores) -> Self:
        """Return an archive without elites."""
        none = np.empty(0, np.int64)
        return cls(task, none, np.empty((0, len(edges))), none, edges)

    @property
    def shape(self) -> tuple[int, ...]:
        """Bins per behaviour axis."""
        return (self.edges.shape[1] - 1,) * (len(self.edges) - 1)

    @property
    def capacity(self) -> float:
        """All cells."""
        return float(np.prod([float(n) for n in self.shape]))

    def cells_of(self, scores: Scores) -> Ids:
        """Return the flat cell index (n,) of individuals with ``scores`` (n, n_tasks)."""
        indices = tuple(bin_index(scores[:, axis], self.edges[axis]) for axis in self.axes)
        return np.ravel_multi_index(indices, self.shape).astype(np.int64)

    def grid(self) -> Ids:
        """Return the occupants' ids in the archive's :attr:`shape`, :data:`EMPTY` where nobody is."""
        cells = np.full(self.shape, EMPTY, np.int64)
        cells.flat[self.cells] = self.members
        return cells
