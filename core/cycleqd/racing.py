"""Racing: how likely a child that was asked some of its items will enter an archive once it was asked all.

All individuals are asked the same items in the same order, which was drawn at random. So what a child is raced against
is known: where the incumbents sit, and how each of them did on the items that the child was not asked yet. What the
child will do on those is drawn:

- An item is as easy as the share of incumbents that solved it; an incumbent counts half as much for every asked item on
  which the child did otherwise, so that those that are like the child say most. Items fall into classes by that share.
- In each class, what was asked is taken for a random sample of the class. The child's share there has Jeffreys' prior,
  Beta(1/2, 1/2), so that, given what it solved, what it will solve of the rest is beta-binomial. A graded score counts
  as a part of a success, which overstates its variance: fewer children are stopped.

Drawn scores become cells and qualities as real ones do; the share of draws that enter some archive is the probability.
That the order of items is random makes the samples random; that the classes fit the child no better on what was asked
than on the rest is the approximation. Of the children that are stopped at a threshold, about that share at most would
have entered: benchmarks/racing.py measures it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from cycleqd.api.search import Racing
from cycleqd.archive import Archive
from cycleqd.pooling import Pooling
from cycleqd.records import Stop, TaskEvaluation
from cycleqd.rng import generator
from cycleqd.statistics import Scores

DRAWS = 2000
"""Of the child's outcomes: a probability of 5 % is then known to half a per cent."""
CLASSES = 4
"""Of difficulty: with 16 items asked, more would leave classes of which hardly anything was asked."""
UNLIKE = 0.5
"""Factor on an incumbent's weight for every item on which the child did otherwise."""
PRIOR = 0.5
"""Successes, and failures, that Jeffreys' prior counts as seen."""


@dataclass(frozen=True)
class Race:
    """A child and what it has to beat.

    Attributes:
        settings: of racing.
        individual: id of the child.
        seed: of the run.
        archives: as they stood when the child was bred.
        incumbents: per task (n_incumbents, n_items) their outcomes in [0, 1], items in the order of asking.
        pooling: how outcomes become scores.
        expected: (n_tasks,) what the child's parents let expect (:meth:`~cycleqd.pooling.Pooled.expected_of`).
    """

    settings: Racing
    individual: int
    seed: int
    archives: tuple[Archive, ...]
    incumbents: tuple[npt.NDArray[np.float64], ...]
    pooling: Pooling
    expected: npt.NDArray[np.float64]

    @property
    def items(self) -> tuple[int, ...]:
        """How many there are, per task."""
        return tuple(outcomes.shape[1] for outcomes in self.incumbents)

    @property
    def checkpoints(self) -> Iterator[int]:
        """Items of each task after which it is decided whether to go on: ``minItems``, twice as many, and so on.

        Doubling keeps the rounds few and large; engines are slow in small batches.
        """
        count = self.settings.min_items
        while count < max(self.items):
            yield count
            count *= 2

    def stop(self, evaluations: Sequence[TaskEvaluation]) -> Stop | None:
        """Return why the child need not be asked any more, or None: it shall be.

        An item without a score says nothing about the child; such a child is asked everything, as without racing.
        """
        if any(evaluation.unscored for evaluation in evaluations):
            return None
        asked = [np.array([o.score for o in evaluation.outcomes], np.float64) for evaluation in evaluations]
        probability = self.probability(asked)
        if probability >= self.settings.threshold:
            return None
        return Stop(
            asked=tuple(map(len, asked)),
            items=self.items,
            probability=probability,
            threshold=self.settings.threshold,
        )

    def probability(self, asked: Sequence[Scores]) -> float:
        """Return the probability that the child enters at least one archive.

        Args:
            asked: per task, the child's scores on the first items, in [0, 1].
        """
        rng = generator(self.seed, self.individual, "racing")
        tasks = zip(asked, self.incumbents, strict=True)
        means = np.stack([draw_means(own, outcomes, rng) for own, outcomes in tasks], axis=1)
        scores = self.pooling.posterior(means, np.array(self.items, np.float64), self.expected)
        return float(np.any([archive.enters(self.individual, scores) for archive in self.archives], axis=0).mean())


def draw_means(asked: Scores, incumbents: npt.NDArray[np.float64], rng: np.random.Generator) -> Scores:
    """Return draws (:data:`DRAWS`,) of a child's mean over all items of a task.

    Args:
        asked: (n_asked,) its scores on the first items, in [0, 1].
        incumbents: (n_incumbents, n_items) their scores on all items.
        rng: of the draws.
    """
    classes = np.minimum((CLASSES * ease(asked, incumbents)).astype(int), CLASSES - 1)
    known, left = classes[: len(asked)], classes[len(asked) :]
    total = np.full(DRAWS, asked.sum())
    for number in np.unique(left):
        scores = asked[known == number]
        share = rng.beta(PRIOR + scores.sum(), PRIOR + (1.0 - scores).sum(), DRAWS)
        total += rng.binomial(int((left == number).sum()), share)
    return total / len(classes)


def ease(asked: Scores, incumbents: npt.NDArray[np.float64]) -> Scores:
    """Return (n_items,) the share of incumbents that solve each item; who is like the child counts most."""
    unlike = np.abs(incumbents[:, : len(asked)] - asked).sum(axis=1)
    weights = UNLIKE ** (unlike - unlike.min())
    share: Scores = weights @ incumbents / weights.sum()
    return share
