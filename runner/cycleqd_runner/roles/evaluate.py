"""Role evaluate: score individuals that exist already. Experts first, because they set the limits of the archives."""

from __future__ import annotations

import time
from collections.abc import Sequence

from cycleqd import keys
from cycleqd.records import Result, Timings
from cycleqd_runner.assess import ask_lessons, assess, refuse_unscored
from cycleqd_runner.roles.patience import patiently
from cycleqd_runner.roles.writing import write_result
from cycleqd_runner.sandbox import Sandbox
from cycleqd_runner.session import Session


async def evaluate(session: Session, ids: Sequence[int], sandbox: Sandbox) -> None:
    """Score the experts with these ids on the search splits; those that have a result are skipped.

    Raises:
        Unscored, NumericallyBroken: some items of an expert could not be scored; without them there are no limits to
            the archives.
        BadData, BadManifest, UnsupportedHere: a benchmark of the report cannot be opened.
    """
    _ = session.benchmarks  # what finalize could not ask ends the run before the search is paid for
    for individual in ids:
        if session.store.exists(keys.result(individual)):
            continue
        genome = session.genome_of(individual)
        assessment = await assess(session, genome, "search", sandbox)
        refuse_unscored(f"Expert {session.spec.experts[individual].name}", assessment.evaluations)
        began = time.perf_counter()
        lessons, taught = await ask_lessons(session, individual, sandbox) or (None, ())
        lesson_seconds = time.perf_counter() - began
        await patiently(session.store.put_once, keys.genome(individual), genome.save(session.layout))
        result = Result(
            id=individual,
            genome_sha256=genome.digest,
            evaluations=assessment.evaluations,
            lessons=lessons,
            timings=Timings(
                open_seconds=assessment.open_seconds,
                load_seconds=assessment.load_seconds,
                evaluate_seconds=assessment.evaluate_seconds + lesson_seconds,
            ),
            worker=session.worker,
            gpus=session.gpus,
            finished_at=time.time(),
            versions={**session.versions, "sandbox": sandbox.name},
        )
        await patiently(write_result, session.store, result, [*assessment.transcripts, *taught])
