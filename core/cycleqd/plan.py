"""What should run next: a pure function of the spec and of what is there. Local runs and the operator use the same.

Level-triggered: nothing is remembered between two calls. What dies is planned again, because its results are missing.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from cycleqd.api.run import RunSpec
from cycleqd.cycle import child_id

Role = Literal["prepare", "evaluate", "breed", "finalize"]
Phase = Literal["Preparing", "Evaluating", "Breeding", "Finalizing", "Succeeded", "Cancelled"]

SMALLEST_BLOCK = 3
"""Children of a worker that loads the engine for them: below it, loading costs more than a straggler does."""


@dataclass(frozen=True)
class Work:
    """What one worker is asked to do.

    Attributes:
        role: prepare, evaluate, breed or finalize.
        subject: expert to prepare, or empty.
        ids: individuals to evaluate or breed, ascending; those that have a result are skipped.
    """

    role: Role
    subject: str = ""
    ids: tuple[int, ...] = ()

    @property
    def key(self) -> str:
        """A name that is the same for the same work: role and subject or first id."""
        detail = self.subject or (f"{self.ids[0]}" if self.ids else "")
        return f"{self.role}-{detail}" if detail else self.role


def child_key(individual: int) -> str:
    """Return the key of the work that begins with this child."""
    return Work("breed", ids=(individual,)).key


@dataclass(frozen=True)
class Observed:
    """What is there.

    Attributes:
        prepared: experts whose basis is complete.
        done: ids that have a result or were given up.
        finalized: whether the final report is written, for the present number of children.
        running: work that has a worker, in the order in which it started.
        held: keys of work that failed lately and has to wait before it is tried again.
    """

    prepared: frozenset[str] = frozenset()
    done: frozenset[int] = frozenset()
    finalized: bool = False
    running: tuple[Work, ...] = ()
    held: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Plan:
    """What should happen.

    Attributes:
        phase: where the run stands.
        start: work to give to workers now, in order; never more than the free workers can take.
        stop: running work whose workers should be stopped now.
    """

    phase: Phase
    start: tuple[Work, ...] = ()
    stop: tuple[Work, ...] = ()


def plan(spec: RunSpec, observed: Observed, *, smallest_block: int = SMALLEST_BLOCK) -> Plan:
    """Return what should run now, given what is there.

    Args:
        spec: of the run.
        observed: what is there.
        smallest_block: children that are worth a worker; 1 where workers stay and keep their engines warm.
    """
    if spec.desired_state == "Cancelled":
        return Plan("Cancelled", stop=observed.running)
    phase, wanted = _wanted(spec, observed)
    if spec.desired_state in ("Paused", "Suspended"):
        return Plan(phase, stop=observed.running if spec.desired_state == "Suspended" else ())
    free = spec.workers.parallelism - len(observed.running)
    if free < 0:  # parallelism was lowered: what started last has the least to lose
        return Plan(phase, stop=observed.running[free:])
    if phase == "Breeding":
        return Plan(phase, _blocks(spec, observed, free, smallest_block))
    not_now = observed.held | {work.key for work in observed.running}
    return Plan(phase, tuple(work for work in wanted if work.key not in not_now)[:free])


def _wanted(spec: RunSpec, observed: Observed) -> tuple[Phase, tuple[Work, ...]]:
    """Return the phase, and its work unless that is breeding."""
    experts = [expert.name for expert in spec.experts]
    unprepared = tuple(Work("prepare", name) for name in experts if name not in observed.prepared)
    if unprepared:
        return "Preparing", unprepared
    unevaluated = tuple(Work("evaluate", ids=(k,)) for k in range(len(experts)) if k not in observed.done)
    if unevaluated:
        return "Evaluating", unevaluated
    if _missing_children(spec, observed) or any(work.role == "breed" for work in observed.running):
        return "Breeding", ()
    return ("Succeeded", ()) if observed.finalized else ("Finalizing", (Work("finalize"),))


def _missing_children(spec: RunSpec, observed: Observed) -> list[int]:
    """Return the ids that still have to be bred, ascending; none once the user wants the run finished."""
    if spec.desired_state == "Finished":
        return []
    first, end = child_id(1, len(spec.experts)), child_id(spec.search.children + 1, len(spec.experts))
    return [individual for individual in range(first, end) if individual not in observed.done]


def _blocks(spec: RunSpec, observed: Observed, free: int, smallest: int) -> tuple[Work, ...]:
    """Cut the children nobody works on into one block per free worker.

    Guided self-scheduling: a block is the remaining work's share of one worker, halved, at most ``childrenPerJob`` and
    at least ``smallest``; so blocks shrink towards the end and nobody waits for a straggler.

    In strict runs a child waits for the results ``lag`` ids before it, so workers must advance side by side: blocks
    that start together are interleaved, and a worker that is ready early waits for the others instead of starting a
    block beyond theirs. What a dead worker left behind is handed out at once, because the others wait for it; while it
    is held, nothing starts that would wait for it, or those workers would keep the place that it needs.
    """
    claimed = {individual for work in observed.running for individual in work.ids}
    unclaimed = [individual for individual in _missing_children(spec, observed) if individual not in claimed]
    held = [individual for individual in unclaimed if child_key(individual) in observed.held] if observed.held else []
    open_ids = [individual for individual in unclaimed if individual not in held] if held else unclaimed
    if spec.search.strict and claimed:
        open_ids = [individual for individual in open_ids if individual < max(claimed)]
    if spec.search.strict and held:
        open_ids = [individual for individual in open_ids if individual <= held[0] + spec.search.lag]
    shares = spec.workers.parallelism * (2 if spec.workers.parallelism > 1 else 1)
    size = min(spec.workers.children_per_job, max(smallest, math.ceil(len(open_ids) / shares)))
    chosen = open_ids[: size * free]
    blocks = math.ceil(len(chosen) / size)
    return tuple(Work("breed", ids=tuple(chosen[block::blocks])) for block in range(blocks))
