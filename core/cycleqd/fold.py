"""The fold: archives as a pure function of the set of results (design section 4).

Order of arrival and repetition do not matter: evaluations are put in the order of (individual, evaluation) first, all
evaluations of an individual become its scores (:mod:`cycleqd.pooling`), and then everybody is offered to every archive
in the order of their ids, experts first. Reading results is :mod:`cycleqd.log`'s job.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from cycleqd.api.search import Archive as Grid
from cycleqd.archive import Archive, empty_archives
from cycleqd.limits import axis_limits
from cycleqd.pooling import Pooled, Pooling, pool
from cycleqd.records import Result


@dataclass(frozen=True, slots=True)
class Entry:
    """What the fold and the metrics need to know of one result. An operator may hold hundreds of thousands of them.

    Attributes:
        id: of the individual.
        evaluation: which one of the individual's it is.
        scores: (n_tasks,) in [0, 1]; None: some items have no score or were not asked, so the individual is compared
            with nobody.
        seconds: what the individual took a warm worker, without waiting for others.
        evaluate_seconds: asking and judging alone.
        gpus: that the worker held.
        prompt_tokens: read, over all items.
        answer_tokens: generated, over all items.
        parents: ids.
        with_child: of a repeated evaluation, the child before which it was made.
        saved: items that racing did not ask.
    """

    id: int
    evaluation: int
    scores: tuple[float, ...] | None
    seconds: float = 0.0
    evaluate_seconds: float = 0.0
    gpus: int = 0
    prompt_tokens: int = 0
    answer_tokens: int = 0
    parents: tuple[int, ...] = ()
    with_child: int | None = None
    saved: int = 0

    @property
    def turn(self) -> int:
        """See :attr:`cycleqd.records.Result.turn`."""
        return self.id if self.with_child is None else self.with_child


def entry_of(result: Result) -> Entry:
    """Return what the fold needs of a result."""
    prompt_tokens, answer_tokens = result.tokens
    return Entry(
        id=result.id,
        evaluation=result.evaluation,
        scores=result.scores if result.complete else None,
        seconds=result.timings.seconds,
        evaluate_seconds=result.timings.evaluate_seconds,
        gpus=result.gpus,
        prompt_tokens=prompt_tokens,
        answer_tokens=answer_tokens,
        parents=result.parents,
        with_child=result.with_child,
        saved=result.stop.saved if result.stop else 0,
    )


@dataclass(frozen=True)
class Population:
    """All individuals that have scores, and the archives they make.

    Attributes:
        ids: (n,) ascending.
        scores: (n, n_tasks) in [0, 1], of each individual's evaluations; with a prior, posterior means.
        n_experts: how many of the ids belong to experts.
        grid: of the archives.
        pooled: the evaluations behind the scores; None where only the scores are known.
    """

    ids: npt.NDArray[np.int64]
    scores: npt.NDArray[np.float64]
    n_experts: int
    grid: Grid
    pooled: Pooled | None = None

    @property
    def ready(self) -> bool:
        """Whether all experts have scores: they set the limits of the archives."""
        return bool(np.array_equal(self.ids[: self.n_experts], np.arange(self.n_experts)))

    @cached_property
    def limits(self) -> npt.NDArray[np.float64]:
        """(n_tasks, 2) limits of the axes. Only when :attr:`ready`."""
        return axis_limits(self.scores[: self.n_experts], self.grid)

    @cached_property
    def archives(self) -> tuple[Archive, ...]:
        """One archive per task, or none before all experts have scores."""
        if not self.ready:
            return ()
        return tuple(archive.admit(self.ids, self.scores) for archive in empty_archives(self.limits, self.grid))

    @property
    def coverage(self) -> float:
        """Mean coverage of the archives, in [0, 1]."""
        return float(np.mean([archive.coverage for archive in self.archives])) if self.archives else 0.0

    def first(self, count: int) -> Population:
        """Return the population without the ids from ``count`` on; what is known of the others by now stays known."""
        keep = self.ids < count
        return Population(self.ids[keep], self.scores[keep], self.n_experts, self.grid, self.pooled)


def fold(entries: Iterable[Entry], n_experts: int, grid: Grid, pooling: Pooling | None = None) -> Population:
    """Return the population of a set of results; duplicates change nothing.

    Without ``pooling``, all evaluations of an individual count the same and parents do not count.
    """
    unique = {(entry.id, entry.evaluation): entry for entry in entries if entry.scores is not None}
    scored = [entry for _, entry in sorted(unique.items())]
    if not scored:
        return Population(np.empty(0, np.int64), np.empty((0, 0)), n_experts, grid)
    table = np.array([entry.scores for entry in scored], np.float64)
    again = np.array([entry.evaluation > 0 for entry in scored])
    items = pooling.items(again) if pooling else np.ones_like(table)
    parents = {entry.id: entry.parents for entry in scored if entry.evaluation == 0}
    pooled = pool([entry.id for entry in scored], table, items, parents)
    if pooling is None or not pooling.prior_items:
        return Population(pooled.ids, pooled.means, n_experts, grid, pooled)
    scores = pooling.posterior(pooled.means, pooled.items, pooled.expected)
    return Population(pooled.ids, scores, n_experts, grid, pooled)
