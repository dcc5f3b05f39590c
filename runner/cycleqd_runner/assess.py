"""Scoring one model: its weights into the engine, its answers to the judges."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from torch import Tensor

from cycleqd.errors import NumericallyBroken, Unscored
from cycleqd.genome import Genome
from cycleqd.racing import Race
from cycleqd.records import Split, Stop, TaskEvaluation, Transcript
from cycleqd_runner.sandbox import Sandbox
from cycleqd_runner.session import Session
from cycleqd_runner.tasks.opening import RunTask
from cycleqd_runner.tasks.run import evaluate

Part = tuple[TaskEvaluation, Sequence[Transcript]]
"""What a task's evaluator says about some of its items."""


@dataclass(frozen=True)
class Weights:
    """A model that no genome describes, because it leaves the span of the experts' directions.

    Attributes:
        digest: SHA-256 (hex) of whatever decides the weights.
        tensors: makes them, by name: all tensors that individuals of the run change, and no others.
    """

    digest: str
    tensors: Callable[[], Iterable[tuple[str, Tensor]]]


@dataclass(frozen=True)
class Assessment:
    """What became of one individual on one split.

    Attributes:
        evaluations: one per task, in cycle order.
        transcripts: of the items that scored 1.
        open_seconds, load_seconds, evaluate_seconds: where the time went (:class:`~cycleqd.records.Timings`).
        stop: why not all items were asked; None: they were.
    """

    evaluations: tuple[TaskEvaluation, ...]
    transcripts: tuple[Transcript, ...]
    open_seconds: float
    load_seconds: float
    evaluate_seconds: float
    stop: Stop | None = None


async def assess(
    session: Session, model: Genome | Weights, split: Split, sandbox: Sandbox, race: Race | None = None
) -> Assessment:
    """Score a model on all tasks of one split, or on the first items of each until ``race`` stops it.

    All items of a round, of all tasks, are asked at once: the engine makes its batches of everything that waits, and
    while it generates, the sandboxes judge. Without a race there is one round.
    """
    start = time.perf_counter()
    engine, materialiser, _ = session.engine, session.materialiser, session.tasks
    opened = time.perf_counter()
    own = model.tensors() if isinstance(model, Weights) else materialiser.tensors(model, changed_only=True)
    engine.load(own)
    loaded = time.perf_counter()
    parts, stop, asked = [], None, 0
    for count in (*(race.checkpoints if race else ()), None):
        parts.append(await _ask(session, split, slice(asked, count), sandbox))
        evaluations = tuple(_joined([part[task] for part in parts]) for task in range(len(session.tasks)))
        stop = race.stop(evaluations) if race and count else None
        if stop or count is None:
            break
        asked = count
    transcripts = tuple(one for task in zip(*parts, strict=True) for _, own in task for one in own)
    seconds = time.perf_counter() - loaded
    return Assessment(evaluations, transcripts, opened - start, loaded - opened, seconds, stop)


async def ask_lessons(session: Session, expert: int, sandbox: Sandbox) -> Part | None:
    """Ask the expert that the engine holds the further items of its own task; None if there are none."""
    name = session.spec.experts[expert].name
    task = next(task for task in session.tasks if task.spec.expert == name)
    return await _evaluate(session, task, "lessons", slice(None), sandbox) if task.spec.items.lessons else None


def refuse_unscored(who: str, evaluations: Sequence[TaskEvaluation]) -> None:
    """Check the evaluations of a model that is of no use without scores on all items.

    Args:
        who: the model is, at the beginning of a sentence.
        evaluations: one per task.

    Raises:
        NumericallyBroken: some answers were.
        Unscored: some items could not be scored; a mean without them would compare unlike things.
    """
    for evaluation in evaluations:
        if evaluation.broken:
            raise NumericallyBroken(
                f"{who} gave NaN or infinite logits for {len(evaluation.broken)} of {len(evaluation.outcomes)} "
                f"{evaluation.task} items: set engine.args.dtype to Float32 if it is not, or leave this model out."
            )
    for evaluation in evaluations:
        if evaluation.unscored:
            raise Unscored(f"{who} could not be scored on {evaluation.task}: {evaluation.unscored[0].reason}.")


async def _ask(session: Session, split: Split, items: slice, sandbox: Sandbox) -> list[Part]:
    """Ask these items of every task."""
    return await asyncio.gather(*(_evaluate(session, task, split, items, sandbox) for task in session.tasks))


async def _evaluate(session: Session, task: RunTask, split: Split, items: slice, sandbox: Sandbox) -> Part:
    return await evaluate(
        task.evaluator,
        task.splits[split][items],
        session.engine,
        sandbox,
        task.spec.limits,
        repeats=task.spec.repeats,
        split=split,
        task_name=task.spec.name,
    )


def _joined(parts: Sequence[Part]) -> TaskEvaluation:
    """Return the evaluation on all items that were asked, of evaluations on some of them each."""
    evaluations = [evaluation for evaluation, _ in parts]
    outcomes = tuple(outcome for evaluation in evaluations for outcome in evaluation.outcomes)
    return evaluations[0].model_copy(update={"outcomes": outcomes})
