"""From the evaluations of an individual to its scores: plain means, or posterior means that doubt the lucky.

A score over n items is its true value plus noise, and whoever holds a cell was picked for a high score: part of it is
luck. Two things lessen that part. Evaluations on other items are pooled, each item counting the same. And a child
resembles its parents, so its score is drawn towards their mean, as if a few further items had been answered like
theirs: the posterior mean under a Beta prior of that strength, which breeders of animals know as a best linear
predictor. Both are functions of the set of evaluations, so the fold stays one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Self

import numpy as np
import numpy.typing as npt

from cycleqd.api.run import RunSpec

Table = npt.NDArray[np.float64]
"""(n, n_tasks)"""


@dataclass(frozen=True)
class Pooled:
    """Everybody's evaluations, put together.

    Attributes:
        ids: (n,) ascending.
        means: (n, n_tasks) in [0, 1], over all items asked.
        items: (n, n_tasks) how many those are.
        parents: ids, by individual.
    """

    ids: npt.NDArray[np.int64]
    means: Table
    items: Table
    parents: Mapping[int, Sequence[int]]

    @cached_property
    def row_of(self) -> dict[int, int]:
        """Row of each id."""
        return {int(individual): row for row, individual in enumerate(self.ids)}

    def expected_of(self, parents: Sequence[int]) -> npt.NDArray[np.float64]:
        """Return (n_tasks,) what a child of these parents is expected to score: their mean; NaN if none is known."""
        rows = [self.row_of[parent] for parent in parents if parent in self.row_of]
        if not rows:
            return np.full(self.means.shape[1], np.nan)
        mean: npt.NDArray[np.float64] = self.means[rows].mean(axis=0)
        return mean

    @cached_property
    def expected(self) -> Table:
        """(n, n_tasks) what the individuals were expected to score; NaN for experts, who have no parents."""
        rows = [
            (row, self.row_of[parent])
            for individual, row in self.row_of.items()
            for parent in self.parents.get(individual, ())
            if parent in self.row_of
        ]
        children, elders = np.array(rows, np.int64).reshape(-1, 2).T
        sums, counts = np.zeros_like(self.means), np.zeros((len(self.ids), 1))
        np.add.at(sums, children, self.means[elders])
        np.add.at(counts, children, 1.0)
        return np.divide(sums, counts, out=np.full_like(sums, np.nan), where=counts > 0)


def pool(individuals: Sequence[int], scores: Table, items: Table, parents: Mapping[int, Sequence[int]]) -> Pooled:
    """Put evaluations together; an item counts the same in whichever evaluation it was asked.

    Args:
        individuals: (m,) of each evaluation, ascending.
        scores: (m, n_tasks) in [0, 1].
        items: (m, n_tasks) behind each score, positive.
        parents: ids, by individual.
    """
    ids, starts, counts = np.unique(np.asarray(individuals, np.int64), return_index=True, return_counts=True)
    asked = np.add.reduceat(items, starts, axis=0)
    means = np.add.reduceat(items * scores, starts, axis=0) / asked
    # What was evaluated once keeps its score to the last bit.
    return Pooled(ids, np.where(counts[:, None] > 1, means, scores[starts]), asked, parents)


@dataclass(frozen=True)
class Pooling:
    """How much evaluations and parents count.

    Attributes:
        search: (n_tasks,) items of a first evaluation.
        reserve: (n_tasks,) items of a repeated one.
        prior_items: strength of the prior, in items; 0: none.
    """

    search: tuple[int, ...]
    reserve: tuple[int, ...]
    prior_items: float = 0.0

    @classmethod
    def of(cls, spec: RunSpec) -> Self:
        """Return the pooling that a manifest asks for."""
        search = tuple(task.items.search for task in spec.tasks)
        # Without a reserve nobody is evaluated on it, but no weight may be 0.
        reserve = tuple(task.items.reserve or task.items.search for task in spec.tasks)
        return cls(search, reserve, spec.search.noise.prior_items)

    def items(self, again: npt.NDArray[np.bool_]) -> Table:
        """Return the items (m, n_tasks) behind evaluations, which are repeated ones or not (m,)."""
        return np.where(again[:, None], self.reserve, self.search).astype(np.float64)

    def posterior(self, means: Table, items: Table, expected: Table) -> Table:
        """Return the posterior means.

        Args:
            means: (n, n_tasks) in [0, 1], over all items asked.
            items: how many those are; broadcast to the same shape.
            expected: the prior's means, likewise; NaN: there is no prior.
        """
        drawn = (items * means + self.prior_items * expected) / (items + self.prior_items)
        return np.where(np.isnan(expected), means, drawn)
