"""The token meter: what a method has spent, and whether its budget lasts for another evaluation."""

from __future__ import annotations

from dataclasses import dataclass

from cycleqd_runner.contest.trials import Spending


@dataclass
class Meter:
    """What one method may spend with one seed, and has spent.

    Attributes:
        limit: tokens in all.
        reserve: tokens of it that are kept for the choice of the final model on the validation split.
        typical: tokens of one evaluation, as long as none was made.
        search: tokens read and written on the search split, lessons included.
        lessons: those of them that are answers to lessons: paid for once, no part of what an evaluation takes.
        training: tokens that models were trained on; each pass counts.
        validation: tokens read and written on the validation split.
        evaluations: on the search split.
    """

    limit: int
    reserve: float
    typical: float
    search: int = 0
    lessons: int = 0
    training: int = 0
    validation: int = 0
    evaluations: int = 0

    @property
    def spent(self) -> int:
        """Tokens in all."""
        return self.search + self.training + self.validation

    def affords(self, training: float = 0.0) -> bool:
        """Return whether another evaluation fits, judged by the mean of those before.

        Args:
            training: tokens of training that will come with it.
        """
        cost = (self.search - self.lessons) / self.evaluations if self.evaluations else self.typical
        return self.spent + training + cost <= self.limit - self.reserve

    def evaluated(self, tokens: int, count: int = 1) -> None:
        """Count evaluations on the search split."""
        self.search += tokens
        self.evaluations += count

    def taught(self, tokens: int) -> None:
        """Count the experts' answers to the lessons."""
        self.search += tokens
        self.lessons += tokens

    @property
    def spending(self) -> Spending:
        """What is written down in the end."""
        return Spending(
            limit=self.limit,
            search=self.search,
            training=self.training,
            validation=self.validation,
            evaluations=self.evaluations,
        )
