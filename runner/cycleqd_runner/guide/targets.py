"""What guidance is shown: successful transcripts as tokens, and which of them a step sees. No model here."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from cycleqd.records import Transcript
from cycleqd_runner.chat import Message
from cycleqd_runner.engines.contract import Lent


@dataclass(frozen=True)
class Target:
    """One answer that was right.

    Attributes:
        task: index of its task.
        tokens: of the conversation and the answer.
        start: position of the answer's first token; at least 1.
        source: position of its transcript among those that targets were made of.
    """

    task: int
    tokens: tuple[int, ...]
    start: int
    source: int = 0


@dataclass(frozen=True)
class Batch:
    """What one step sees.

    Attributes:
        targets: in any order.
        weights: (len(targets),) share of each in the loss; they sum to 1.
    """

    targets: tuple[Target, ...]
    weights: tuple[float, ...]


Draw = Callable[[int], Batch]
"""Returns the batch of a step (0, 1, ...)."""


def targets_of(transcripts: Sequence[Transcript], tasks: Sequence[str], lent: Lent) -> list[Target]:
    """Return the transcripts as tokens, without those that the model has no room for."""
    found = []
    for source, transcript in enumerate(transcripts):
        messages = [Message(turn["role"], turn["content"]) for turn in transcript.messages]  # type: ignore[arg-type]
        prompt, answer = lent.complete(messages, transcript.answer)
        if len(prompt) + len(answer) <= lent.limit:
            found.append(Target(tasks.index(transcript.task), (*prompt, *answer), len(prompt), source))
    return found


def batches(targets: Sequence[Target], shares: Sequence[float], size: int, rng: np.random.Generator) -> Draw:
    """Return batches in which each task has its share of the loss.

    Each task's targets come in random order, all of them before any comes again. A task's number of targets in a
    batch is its share, rounded; tasks without targets, or whose number is 0, leave their share to the others.

    Args:
        targets: of all tasks; at least one.
        shares: (n_tasks,) non-negative.
        size: targets per batch, about.
        rng: of the order.
    """
    queues = [_Endless([t for t in targets if t.task == task], rng) for task in range(len(shares))]
    wanted = np.array([share if queue else 0.0 for share, queue in zip(shares, queues, strict=True)], np.float64)
    if not wanted.any():  # all shares belong to tasks that have nothing to learn from
        wanted = np.array([float(bool(queue)) for queue in queues])
    wanted /= wanted.sum()
    counts = {int(task): max(1, round(wanted[task] * size)) for task in np.flatnonzero(wanted)}
    weights = tuple(float(wanted[task]) / count for task, count in counts.items() for _ in range(count))

    def draw(step: int) -> Batch:  # noqa: ARG001 - the queues remember where they are
        return Batch(tuple(queues[task].next() for task, count in counts.items() for _ in range(count)), weights)

    return draw


class _Endless:
    """Targets in random order, again and again."""

    def __init__(self, targets: Sequence[Target], rng: np.random.Generator) -> None:
        self._targets, self._rng = targets, rng
        self._waiting: list[int] = []

    def __bool__(self) -> bool:
        return bool(self._targets)

    def next(self) -> Target:
        if not self._waiting:
            self._waiting = self._rng.permutation(len(self._targets)).tolist()
        return self._targets[self._waiting.pop()]
