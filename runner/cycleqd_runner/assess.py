"""Scoring one individual: its weights into the engine, its answers to the judges."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass

from cycleqd.genome import Genome
from cycleqd.records import Split, TaskEvaluation, Transcript
from cycleqd_runner.sandbox import Sandbox
from cycleqd_runner.session import Session
from cycleqd_runner.tasks.run import evaluate


@dataclass(frozen=True)
class Assessment:
    """What became of one individual on one split.

    Attributes:
        evaluations: one per task, in cycle order.
        transcripts: of the items that scored 1.
        open_seconds, load_seconds, evaluate_seconds: where the time went (:class:`~cycleqd.records.Timings`).
    """

    evaluations: tuple[TaskEvaluation, ...]
    transcripts: tuple[Transcript, ...]
    open_seconds: float
    load_seconds: float
    evaluate_seconds: float


async def assess(session: Session, genome: Genome, split: Split, sandbox: Sandbox) -> Assessment:
    """Score ``genome`` on all tasks of one split.

    All items of all tasks are asked at once: the engine makes its batches of everything that waits, and while it
    generates, the sandboxes judge.
    """
    start = time.perf_counter()
    engine, materialiser, tasks = session.engine, session.materialiser, session.tasks
    opened = time.perf_counter()
    engine.load(materialiser.tensors(genome, changed_only=True))
    loaded = time.perf_counter()
    outcomes = await asyncio.gather(
        *(
            evaluate(
                task.evaluator,
                task.splits[split],
                engine,
                sandbox,
                task.spec.limits,
                repeats=task.spec.repeats,
                split=split,
                task_name=task.spec.name,
            )
            for task in tasks
        )
    )
    evaluations = tuple(evaluation for evaluation, _ in outcomes)
    transcripts = tuple(transcript for _, own in outcomes for transcript in own)
    return Assessment(evaluations, transcripts, opened - start, loaded - opened, time.perf_counter() - loaded)
