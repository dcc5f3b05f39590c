"""The fold: archives as a pure function of the set of results (design section 4).

Order of arrival and repetition do not matter: evaluations are put in the order of (individual, evaluation) first, all
evaluations of an individual become its scores (:mod:`cycleqd.pooling`), and then everybody is offered to every archive
in the order of their ids, experts first. Reading results is :mod:`cycleqd.log`'s job.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from cycleqd.api.search import ArchiveType
from cycleqd.archive import Archive
from cycleqd.archives import archives_of, compares_items
from cycleqd.pooling import Pooled, Pooling, pool
from cycleqd.records import Result

RIGHT = 0.5
"""Least score of an item that counts as right where outcomes are compared item by item."""


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
        broken: items whose answers were numerically broken.
        items: per task, a ``1`` or ``0`` an item: whether it was right; only where archives compare items.
        emitter: what proposed the individual.
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
    broken: int = 0
    items: tuple[str, ...] = ()
    emitter: str = ""

    @property
    def turn(self) -> int:
        """See :attr:`cycleqd.records.Result.turn`."""
        return self.id if self.with_child is None else self.with_child


def entry_of(result: Result, *, items: bool = False) -> Entry:
    """Return what the fold needs of a result.

    Args:
        result: as it is stored.
        items: whether archives compare outcomes item by item (:func:`cycleqd.archives.compares_items`).
    """
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
        broken=result.broken,
        items=_items(result) if items and result.complete else (),
        emitter=sys.intern(result.emitter),
    )


def _items(result: Result) -> tuple[str, ...]:
    """Return per task which items were right: those that were answered well at least as often as not."""
    return tuple(
        "".join("1" if outcome.score is not None and outcome.score >= RIGHT else "0" for outcome in task.outcomes)
        for task in result.evaluations
    )


@dataclass(frozen=True)
class Population:
    """All individuals that have scores, and the archives they make.

    Attributes:
        ids: (n,) ascending.
        scores: (n, n_tasks) in [0, 1], of each individual's evaluations; with a prior, posterior means.
        n_experts: how many of the ids belong to experts.
        settings: of the archives.
        items: per task (n, n_items), which items were right at an individual's first evaluation that has scores; empty
            where archives do not compare items.
        pooled: the evaluations behind the scores; None where only the scores are known.
    """

    ids: npt.NDArray[np.int64]
    scores: npt.NDArray[np.float64]
    n_experts: int
    settings: ArchiveType
    items: tuple[npt.NDArray[np.bool_], ...] = ()
    pooled: Pooled | None = None

    @property
    def ready(self) -> bool:
        """Whether all experts have scores: they are the first in every archive, and set its limits."""
        return bool(np.array_equal(self.ids[: self.n_experts], np.arange(self.n_experts)))

    @cached_property
    def archives(self) -> tuple[Archive, ...]:
        """One archive per task, or none before all experts have scores."""
        if not self.ready:
            return ()
        return archives_of(self.settings, self.ids, self.scores, self.n_experts, self.items)

    @property
    def coverage(self) -> float:
        """Mean coverage of the archives, in [0, 1]."""
        return float(np.mean([archive.coverage for archive in self.archives])) if self.archives else 0.0

    def first(self, count: int) -> Population:
        """Return the population without the ids from ``count`` on; what is known of the others by now stays known."""
        keep = self.ids < count
        items = tuple(table[keep] for table in self.items)
        return Population(self.ids[keep], self.scores[keep], self.n_experts, self.settings, items, self.pooled)


def fold(entries: Iterable[Entry], n_experts: int, settings: ArchiveType, pooling: Pooling | None = None) -> Population:
    """Return the population of a set of results; duplicates change nothing.

    Whoever gave a numerically broken answer is left out, whatever another evaluation of it says.

    Without ``pooling``, all evaluations of an individual count the same and parents do not count.
    """
    known = list(entries)
    broken = {entry.id for entry in known if entry.broken}
    unique = {(e.id, e.evaluation): e for e in known if e.scores is not None and e.id not in broken}
    scored = [entry for _, entry in sorted(unique.items())]
    if not scored:
        return Population(np.empty(0, np.int64), np.empty((0, 0)), n_experts, settings)
    table = np.array([entry.scores for entry in scored], np.float64)
    again = np.array([entry.evaluation > 0 for entry in scored])
    weights = pooling.items(again) if pooling else np.ones_like(table)
    parents = {entry.id: entry.parents for entry in scored if entry.evaluation == 0}
    pooled = pool([entry.id for entry in scored], table, weights, parents)
    scores = pooled.means
    if pooling and pooling.prior_items:
        scores = pooling.posterior(pooled.means, pooled.items, pooled.expected)
    firsts = {entry.id: entry for entry in reversed(scored)} if compares_items(settings) else {}
    rights = _items_of([firsts[individual] for individual in sorted(firsts)])
    return Population(pooled.ids, scores, n_experts, settings, rights, pooled)


def _items_of(individuals: Sequence[Entry]) -> tuple[npt.NDArray[np.bool_], ...]:
    """Return per task (n, n_items) which items were right, of individuals that were asked the same ones."""
    columns = zip(*(entry.items for entry in individuals), strict=True)
    return tuple(np.array([np.frombuffer(own.encode(), np.uint8) == ord("1") for own in column]) for column in columns)
