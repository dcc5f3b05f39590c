"""A local worker that does everything but ask a model: an evaluation is a sleep, and its outcomes are drawn.

Usage: ``python -m benchmarks.synthetic.worker SHORTEST LONGEST STORE``, seconds of an evaluation. Orders, session,
breeding, results and store are the real ones.
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Sequence
from unittest.mock import patch

import numpy as np

from cycleqd.genome import Genome
from cycleqd.records import ItemOutcome, Split, TaskEvaluation
from cycleqd.store import open_store
from cycleqd_runner.assess import Assessment, Child, Weights
from cycleqd_runner.sandbox import Sandbox
from cycleqd_runner.session import Session
from cycleqd_runner.worker import serve

SHORTEST, LONGEST = (float(argument) for argument in sys.argv[1:3])


async def assess(
    session: Session,
    model: Genome | Weights,
    split: Split,
    sandbox: Sandbox,  # noqa: ARG001 - nothing is run
) -> Assessment:
    """Take the place of :func:`cycleqd_runner.assess.assess`; time and outcomes follow from the model."""
    start = time.perf_counter()
    rng = np.random.default_rng(int(model.digest[:16], 16))
    await asyncio.sleep(rng.uniform(SHORTEST, LONGEST))
    evaluations = tuple(
        TaskEvaluation(
            task=task.name,
            split=split,
            outcomes=tuple(
                ItemOutcome(item=f"{split}-{n}", score=float(right), reason=None if right else "rows differ")
                for n, right in enumerate(rng.random(task.items.search) < rng.random())
            ),
        )
        for task in session.spec.tasks
    )
    return Assessment(evaluations, (), 0.0, 0.0, time.perf_counter() - start)


async def assess_together(
    session: Session, children: Sequence[Child], split: Split, sandbox: Sandbox
) -> list[Assessment]:
    """Take the place of :func:`cycleqd_runner.assess.assess_together`."""
    return await asyncio.gather(*(assess(session, child.genome, split, sandbox) for child in children))


if __name__ == "__main__":
    breeding = patch("cycleqd_runner.roles.breed.assess_together", assess_together)
    with breeding, patch("cycleqd_runner.roles.evaluate.assess", assess):
        serve(open_store(sys.argv[3]))
