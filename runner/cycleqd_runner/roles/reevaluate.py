"""Part of role breed: ask an elite in doubt the reserve items. :mod:`cycleqd.reevaluation` knows whom, and when."""

from __future__ import annotations

import time

from cycleqd.fold import Population
from cycleqd.records import Timings
from cycleqd.reevaluation import is_due, suspect
from cycleqd.rng import generator
from cycleqd_runner.assess import assess
from cycleqd_runner.roles.patience import patiently
from cycleqd_runner.roles.writing import write_result
from cycleqd_runner.sandbox import Sandbox
from cycleqd_runner.session import Session


async def reevaluate(session: Session, child: int, population: Population, sandbox: Sandbox) -> float:
    """Evaluate an elite again if that is due before ``child``; write its result.

    A worker that takes the child over does not repeat it. Of two workers that draw the same elite the first one counts.

    Returns:
        The seconds that it took.
    """
    start = time.perf_counter()
    again = [entry for entry in session.log.entries.values() if entry.evaluation]
    if not is_due(child, session.n_experts, session.spec.search) or child in {entry.with_child for entry in again}:
        return 0.0
    rng = generator(session.spec.search.seed, child, "reevaluation")
    elite = suspect(population, {entry.id for entry in again}, rng)
    if elite is None:
        return 0.0
    first = await patiently(session.result_of, elite)
    assessment = await assess(session, session.genome_of(elite), "reserve", sandbox)
    result = first.model_copy(
        update={
            "evaluation": 1,
            "with_child": child,
            "evaluations": assessment.evaluations,
            "training_tokens": 0,
            "guidance": None,
            "seen": len(population.ids),
            "timings": Timings(
                open_seconds=assessment.open_seconds,
                load_seconds=assessment.load_seconds,
                evaluate_seconds=assessment.evaluate_seconds,
            ),
            "worker": session.worker,
            "gpus": session.gpus,
            "finished_at": time.time(),
            "versions": {**session.versions, "sandbox": sandbox.name},
        }
    )
    await patiently(write_result, session.store, result, assessment.transcripts)
    return time.perf_counter() - start
