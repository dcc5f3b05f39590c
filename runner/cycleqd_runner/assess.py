"""Scoring one model: its weights into the engine, its answers to the judges."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from torch import Tensor

from cycleqd.errors import NumericallyBroken, Unscored
from cycleqd.genome import Genome
from cycleqd.racing import Race
from cycleqd.records import Split, Stop, TaskEvaluation, Transcript
from cycleqd_runner.chat import ChatModel
from cycleqd_runner.sandbox import Sandbox
from cycleqd_runner.session import Session
from cycleqd_runner.tasks.opening import RunTask
from cycleqd_runner.tasks.run import evaluate

_LOG = logging.getLogger(__name__)

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
        transcripts: those that ``spec.transcripts`` keeps.
        open_seconds, load_seconds, evaluate_seconds: where the time went (:class:`~cycleqd.records.Timings`).
        stop: why not all items were asked; None: they were.
    """

    evaluations: tuple[TaskEvaluation, ...]
    transcripts: tuple[Transcript, ...]
    open_seconds: float
    load_seconds: float
    evaluate_seconds: float
    stop: Stop | None = None


class Child(NamedTuple):
    """An individual to be scored, and what may stop it before all items are asked."""

    genome: Genome
    race: Race | None = None


async def assess(session: Session, model: Genome | Weights, split: Split, sandbox: Sandbox) -> Assessment:
    """Score a model on all tasks of one split."""

    def load() -> Sequence[ChatModel]:
        if isinstance(model, Genome):
            return session.engine.serve([session.individual(model)])
        session.engine.load(model.tensors())
        return [session.engine]

    (assessment,) = await _assess(session, load, [None], split, sandbox)
    return assessment


async def assess_together(
    session: Session, children: Sequence[Child], split: Split, sandbox: Sandbox
) -> list[Assessment]:
    """Score individuals at the same time, each until its race stops it; the time is divided among them."""

    def serve() -> Sequence[ChatModel]:
        return session.engine.serve([session.individual(child.genome) for child in children])

    return await _assess(session, serve, [child.race for child in children], split, sandbox)


async def _assess(
    session: Session,
    load: Callable[[], Sequence[ChatModel]],
    races: Sequence[Race | None],
    split: Split,
    sandbox: Sandbox,
) -> list[Assessment]:
    """Score the models that ``load`` brings into the engine.

    All items of a round, of all models and tasks, are asked at once: the engine makes its batches of everything that
    waits, and while it generates, the sandboxes judge. Without a race there is one round.
    """
    start = time.perf_counter()
    _ = session.engine, session.materialiser, session.tasks
    opened = time.perf_counter()
    models = load()
    if _LOG.isEnabledFor(logging.DEBUG):  # it takes a pass over all weights
        _LOG.debug("The engine holds weights of SHA-256 %s", session.engine.checksum())
    loaded = time.perf_counter()
    asked = await asyncio.gather(
        *(_ask_all(session, model, split, sandbox, race) for model, race in zip(models, races, strict=True))
    )
    ended, n = time.perf_counter(), len(models)
    seconds = (opened - start) / n, (loaded - opened) / n, (ended - loaded) / n
    return [Assessment(one.evaluations, one.transcripts, *seconds, one.stop) for one in asked]


class _Asked(NamedTuple):
    """What one model said; see :class:`Assessment`."""

    evaluations: tuple[TaskEvaluation, ...]
    transcripts: tuple[Transcript, ...]
    stop: Stop | None


async def _ask_all(session: Session, model: ChatModel, split: Split, sandbox: Sandbox, race: Race | None) -> _Asked:
    """Ask ``model`` the items of one split, or those up to where ``race`` stops it."""
    parts, stop, asked = [], None, 0
    for count in (*(race.checkpoints if race else ()), None):
        parts.append(await _ask(session, model, split, slice(asked, count), sandbox))
        evaluations = tuple(_joined([part[task] for part in parts]) for task in range(len(session.tasks)))
        stop = race.stop(evaluations) if race and count else None
        if stop or count is None:
            break
        asked = count
    transcripts = tuple(one for task in zip(*parts, strict=True) for _, own in task for one in own)
    return _Asked(evaluations, transcripts, stop)


async def ask_lessons(session: Session, expert: int, sandbox: Sandbox) -> Part | None:
    """Ask the expert that the engine holds the further items of its own task; None if there are none."""
    name = session.spec.experts[expert].name
    task = next(task for task in session.tasks if task.spec.expert == name)
    if not task.spec.items.lessons:
        return None
    return await _evaluate(session, session.engine, task, "lessons", slice(None), sandbox)


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


async def _ask(session: Session, model: ChatModel, split: Split, items: slice, sandbox: Sandbox) -> list[Part]:
    """Ask these items of every task."""
    return await asyncio.gather(*(_evaluate(session, model, task, split, items, sandbox) for task in session.tasks))


async def _evaluate(
    session: Session, model: ChatModel, task: RunTask, split: Split, items: slice, sandbox: Sandbox
) -> Part:
    return await evaluate(
        task.evaluator,
        task.splits[split][items],
        model,
        sandbox,
        task.spec.limits,
        repeats=task.spec.repeats,
        split=split,
        task_name=task.spec.name,
        seed=session.spec.search.seed,
        keep=session.spec.transcripts,
    )


def _joined(parts: Sequence[Part]) -> TaskEvaluation:
    """Return the evaluation on all items that were asked, of evaluations on some of them each."""
    evaluations = [evaluation for evaluation, _ in parts]
    outcomes = tuple(outcome for evaluation in evaluations for outcome in evaluation.outcomes)
    return evaluations[0].model_copy(update={"outcomes": outcomes})
