"""Role breed: propose children, score them, write their results. One warm engine serves the whole block.

A child's genome is written before it is scored. Whoever takes over after a crash, or races, finds it and scores the
same child, so that one id never means two genomes.

Before each child the worker looks whether the run is still Running; if not, it stops there (it *drains*).
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import islice

from cycleqd import keys
from cycleqd.cycle import child_id
from cycleqd.emitter import Proposal
from cycleqd.fold import Population
from cycleqd.identity import read_desired_state
from cycleqd.racing import Race
from cycleqd.records import Result, Timings
from cycleqd_runner.assess import Assessment, Child, assess_together
from cycleqd_runner.emitters import Emitters
from cycleqd_runner.race import open_race
from cycleqd_runner.roles.patience import patiently
from cycleqd_runner.roles.reevaluate import reevaluate
from cycleqd_runner.roles.writing import write_result
from cycleqd_runner.sandbox import Sandbox
from cycleqd_runner.session import Session

POLL_SECONDS = 0.2
"""How often a strict run looks whether the results it waits for have come; a LIST costs far less than a child."""


@dataclass(frozen=True)
class _Bred:
    """A child that waits for its evaluation.

    Attributes:
        individual: its id.
        proposal: its genome and how it came about.
        race: what may stop its evaluation.
        breed_seconds, wait_seconds: what that took (:class:`~cycleqd.records.Timings`).
    """

    individual: int
    proposal: Proposal
    race: Race | None
    breed_seconds: float
    wait_seconds: float


async def breed(session: Session, ids: Iterable[int], sandbox: Sandbox) -> bool:
    """Breed and score the children with these ids; those that have a result are skipped.

    ``engine.args.concurrentChildren`` are bred one after the other, each from what is known then, and scored together.

    Args:
        session: of this worker.
        ids: ascending; the next ones are asked for when those before have their results.
        sandbox: for model-written code.

    Returns:
        False: children are left, because the run's desired state is no longer Running.
    """
    emitters, search = Emitters(session), session.spec.search
    together = session.spec.engine.args.concurrent_children
    if search.strict:  # a child waits for all but the latest results, so more cannot be on their way
        together = min(together, search.lag + 1)
    coming, write_seconds = iter(ids), 0.0
    while group := list(islice(coming, together)):
        bred, is_running = await _breed_group(session, emitters, group, sandbox)
        if bred:
            children = [Child(one.proposal.genome, one.race) for one in bred]
            assessments = await assess_together(session, children, "search", sandbox)
            assessed = time.perf_counter()
            for one, assessment in zip(bred, assessments, strict=True):
                result = _result(session, one, assessment, sandbox, write_seconds / len(bred))
                await patiently(write_result, session.store, result, assessment.transcripts)
            write_seconds = time.perf_counter() - assessed
        if not is_running:
            return False
    return True


async def _breed_group(
    session: Session, emitters: Emitters, group: Iterable[int], sandbox: Sandbox
) -> tuple[list[_Bred], bool]:
    """Return the children of a group that have no result, and whether the run is still Running."""
    bred: list[_Bred] = []
    for individual in group:
        start = time.perf_counter()
        await patiently(session.log.refresh)
        if individual in session.log.done:
            continue
        visible = await _population_for(session, individual)
        if visible is None:
            return bred, False
        population, wait_seconds = visible
        doubt_seconds = await reevaluate(session, individual, population, sandbox)
        proposal = await patiently(_propose, session, emitters, individual, population)
        race = await patiently(open_race, session, individual, proposal.parents, population)
        breed_seconds = time.perf_counter() - start - wait_seconds - doubt_seconds
        bred.append(_Bred(individual, proposal, race, breed_seconds, wait_seconds))
    return bred, True


def _result(session: Session, bred: _Bred, assessment: Assessment, sandbox: Sandbox, write_seconds: float) -> Result:
    proposal = bred.proposal
    return Result(
        id=bred.individual,
        parents=proposal.parents,
        active_task=proposal.active_task,
        emitter=proposal.emitter,
        draws=proposal.draws,
        teachers=proposal.teachers,
        training_tokens=proposal.tokens,
        guidance=proposal.guidance,
        genome_sha256=proposal.genome.digest,
        evaluations=assessment.evaluations,
        stop=assessment.stop,
        seen=proposal.seen,
        timings=Timings(
            open_seconds=assessment.open_seconds,
            breed_seconds=bred.breed_seconds,
            load_seconds=assessment.load_seconds,
            evaluate_seconds=assessment.evaluate_seconds,
            wait_seconds=bred.wait_seconds,
            write_seconds=write_seconds,
        ),
        worker=session.worker,
        gpus=session.gpus,
        finished_at=time.time(),
        versions={**session.versions, "sandbox": sandbox.name},
    )


def _propose(session: Session, emitters: Emitters, individual: int, population: Population) -> Proposal:
    """Return the child: as an earlier worker proposed it, or a new proposal."""
    key = keys.genome(individual)
    if not session.store.exists(key):
        proposal = emitters.propose(individual, population)
        if session.store.put_once(key, proposal.save(session.layout)):
            return proposal
    return Proposal.load(session.store.get(key), session.layout)


async def _population_for(session: Session, individual: int) -> tuple[Population, float] | None:
    """Return what a child may see, and the seconds that this was waited for.

    It sees all results, or in strict runs those with an id below its own minus the lag. Strict runs wait for them, but
    not while the run is paused or ends, because then nobody may breed them. None: it does.
    """
    search, n_experts = session.spec.search, session.n_experts
    horizon = max(n_experts, individual - search.lag) if search.strict else None
    needed = set(range(child_id(1, n_experts), horizon)) if horizon is not None else set()
    start, waited = time.perf_counter(), 0.0
    while await patiently(read_desired_state, session.store) == "Running":
        if needed <= session.log.done:
            if search.strict and search.noise.reevaluate_every:
                # A listing takes several requests: it may have passed a re-evaluation's key before that was written,
                # and yet hold the child that was written after it.
                await patiently(session.log.refresh)
            return session.population(below=horizon), waited
        await asyncio.sleep(POLL_SECONDS)
        await patiently(session.log.refresh)
        waited = time.perf_counter() - start
    return None
