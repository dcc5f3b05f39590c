"""What the results of a run add up to: the counters of :mod:`cycleqd_operator.run_metrics`.

Sums are whole numbers, times in microseconds. Floats that are added in another order, as after a restart, may come out
a little lower, and Prometheus takes the smallest fall of a counter for a new beginning at zero.
"""

from __future__ import annotations

import itertools
from bisect import bisect_left
from collections.abc import Iterable
from dataclasses import dataclass

from cycleqd.fold import Entry

EVALUATION_BUCKETS = (1, 3, 10, 30, 60, 120, 300, 600, 1200, 1800, 3600, 7200)
"""Seconds: a tiny model answers in some, the paper's children take about 1200."""
MICROSECONDS = 1_000_000
"""In a second."""


@dataclass(frozen=True, slots=True)
class Tally:
    """Sums over results; the same for the same results, in whatever order and portions they were added.

    Attributes:
        evaluations: how many ended in each bucket of :data:`EVALUATION_BUCKETS`, and beyond the last.
        worker_microseconds: of breeding, loading, evaluating and writing.
        evaluate_microseconds: of asking and judging alone.
        gpu_microseconds: worker_microseconds, times the GPUs that the worker held.
        gpu_busy_microseconds: likewise, of asking and judging.
        prompt_tokens: read.
        answer_tokens: generated.
        stopped: children whose evaluation racing ended early.
        items_saved: items that these were not asked.
    """

    evaluations: tuple[int, ...] = (0,) * (len(EVALUATION_BUCKETS) + 1)
    worker_microseconds: int = 0
    evaluate_microseconds: int = 0
    gpu_microseconds: int = 0
    gpu_busy_microseconds: int = 0
    prompt_tokens: int = 0
    answer_tokens: int = 0
    stopped: int = 0
    items_saved: int = 0

    @property
    def results(self) -> int:
        """How many results were added."""
        return sum(self.evaluations)

    @property
    def cumulative(self) -> tuple[int, ...]:
        """How many evaluations took at most so long: one number for each bucket, the last one for all."""
        return tuple(itertools.accumulate(self.evaluations))

    @property
    def busy_ratio(self) -> float | None:
        """Share of the workers' time that is asking and judging, in [0, 1]; None without any."""
        return self.evaluate_microseconds / self.worker_microseconds if self.worker_microseconds else None

    def plus(self, entries: Iterable[Entry]) -> Tally:
        """Return the tally with more results."""
        evaluations = list(self.evaluations)
        worker, evaluate, gpu = self.worker_microseconds, self.evaluate_microseconds, self.gpu_microseconds
        busy, prompt, answer = self.gpu_busy_microseconds, self.prompt_tokens, self.answer_tokens
        stopped, saved = self.stopped, self.items_saved
        for entry in entries:
            evaluations[bisect_left(EVALUATION_BUCKETS, entry.evaluate_seconds)] += 1
            spent, asked = round(entry.seconds * MICROSECONDS), round(entry.evaluate_seconds * MICROSECONDS)
            worker += spent
            evaluate += asked
            gpu += spent * entry.gpus
            busy += asked * entry.gpus
            prompt += entry.prompt_tokens
            answer += entry.answer_tokens
            stopped += bool(entry.saved)
            saved += entry.saved
        return Tally(tuple(evaluations), worker, evaluate, gpu, busy, prompt, answer, stopped, saved)
