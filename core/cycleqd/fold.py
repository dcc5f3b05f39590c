"""The fold: archives as a pure function of the set of results (design section 4).

Order of arrival and repetition do not matter: evaluations are put in the order of (individual, evaluation) first, all
evaluations of an individual are averaged, and then everybody is offered to every archive in the order of their ids,
experts first. Reading results is :mod:`cycleqd.log`'s job.
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
from cycleqd.records import Result


@dataclass(frozen=True, slots=True)
class Entry:
    """What the fold and the metrics need to know of one result. An operator may hold hundreds of thousands of them.

    Attributes:
        id: of the individual.
        evaluation: which one of the individual's it is.
        scores: (n_tasks,) in [0, 1]; None: some items have no score, so the individual is not compared with anybody.
        seconds: what the individual took a warm worker, without waiting for others.
        evaluate_seconds: asking and judging alone.
        gpus: that the worker held.
        prompt_tokens: read, over all items.
        answer_tokens: generated, over all items.
    """

    id: int
    evaluation: int
    scores: tuple[float, ...] | None
    seconds: float = 0.0
    evaluate_seconds: float = 0.0
    gpus: int = 0
    prompt_tokens: int = 0
    answer_tokens: int = 0


def entry_of(result: Result) -> Entry:
    """Return what the fold needs of a result."""
    complete = not any(evaluation.unscored for evaluation in result.evaluations)
    prompt_tokens, answer_tokens = result.tokens
    return Entry(
        id=result.id,
        evaluation=result.evaluation,
        scores=result.scores if complete else None,
        seconds=result.timings.seconds,
        evaluate_seconds=result.timings.evaluate_seconds,
        gpus=result.gpus,
        prompt_tokens=prompt_tokens,
        answer_tokens=answer_tokens,
    )


@dataclass(frozen=True)
class Population:
    """All individuals that have scores, and the archives they make.

    Attributes:
        ids: (n,) ascending.
        scores: (n, n_tasks) in [0, 1], means over each individual's evaluations.
        n_experts: how many of the ids belong to experts.
        grid: of the archives.
    """

    ids: npt.NDArray[np.int64]
    scores: npt.NDArray[np.float64]
    n_experts: int
    grid: Grid

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
        """Return the population as it would be without the ids from ``count`` on."""
        keep = self.ids < count
        return Population(self.ids[keep], self.scores[keep], self.n_experts, self.grid)


def fold(entries: Iterable[Entry], n_experts: int, grid: Grid) -> Population:
    """Return the population of a set of results; duplicates change nothing."""
    unique = {(entry.id, entry.evaluation): entry.scores for entry in entries}
    scored = [(individual, scores) for (individual, _), scores in sorted(unique.items()) if scores is not None]
    if not scored:
        return Population(np.empty(0, np.int64), np.empty((0, 0)), n_experts, grid)
    everyone = np.array([individual for individual, _ in scored], np.int64)
    table = np.array([scores for _, scores in scored], np.float64)
    ids, starts, evaluations = np.unique(everyone, return_index=True, return_counts=True)
    means = np.add.reduceat(table, starts, axis=0) / evaluations[:, None]
    return Population(ids, means, n_experts, grid)
