"""Playing a contest: every (method, seed) that has no record yet, seed by seed, so that early tables are whole."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from typing import Protocol

from cycleqd.genome import Genome
from cycleqd.store.transfer import probe
from cycleqd_runner.contest.arena import Arena, open_arena
from cycleqd_runner.contest.entries import ALL, Contest, Part
from cycleqd_runner.contest.libraries import refuse_missing
from cycleqd_runner.contest.meter import Meter
from cycleqd_runner.contest.milestones import tested_curve
from cycleqd_runner.contest.publish import publish
from cycleqd_runner.contest.search import Final, Progress, budget_tokens, search
from cycleqd_runner.contest.spec import Method
from cycleqd_runner.contest.trials import Point, Trial, read_trial, write_trial
from cycleqd_runner.roles.patience import patiently


class Observer(Protocol):
    """Is told how the contest goes."""

    def plans(self, left: Sequence[tuple[str, int]]) -> None:
        """Called once, with every (method, seed) that has no record."""
        ...

    def begins(self, method: str, seed: int, limit: int) -> None:
        """Called when a trial begins that may spend ``limit`` tokens; 0: it only has to be tested."""
        ...

    def goes_on(self, point: Point) -> None:
        """Called after each evaluation."""
        ...

    def ends(self, trial: Trial) -> None:
        """Called when a trial has its record."""
        ...


async def play(contest: Contest, observer: Observer, part: Part = ALL) -> None:
    """Make the records that are missing, and the tables after each.

    Args:
        contest: with its storage, which other processes may be playing other parts of.
        observer: is told how it goes.
        part: what this process plays.

    Raises:
        BadManifest: the part names who does not take part.
        RunMismatch: a record was made with other settings.
        UnsupportedHere: a library is missing.
        CycleQDError: what a method meets.
    """
    contest.refuse_strangers(part)
    refuse_missing(contest.spec)
    probe(contest.store)
    methods: dict[str, Method | None] = dict.fromkeys(contest.fixed)
    methods |= {method.name: method for method in contest.spec.methods}
    seeds = {name: contest.seeds_of(name) for name in methods}
    trials = [(name, seed) for seed in contest.spec.seeds for name in methods if seed in seeds[name]]
    trials = [own for own in trials if part.has(*own)]
    left = [(name, seed) for name, seed in trials if not _is_played(contest, name, methods[name], seed)]
    observer.plans(left)
    for seed in contest.spec.seeds:
        own = [name for name, of in left if of == seed]
        if not own:
            continue
        async with open_arena(contest, seed) as arena:
            for name in own:
                method = methods[name]
                observer.begins(name, seed, budget_tokens(arena, method) if method else 0)
                trial = await _trial(arena, name, method, observer)
                await patiently(write_trial, contest.store, trial)
                await patiently(publish, contest, drawn=name == own[-1])
                observer.ends(trial)
    if not left:
        await patiently(publish, contest, drawn=True)


def _is_played(contest: Contest, name: str, method: Method | None, seed: int) -> bool:
    return read_trial(contest.store, name, seed, contest.fingerprint(seed, method)) is not None


async def _trial(arena: Arena, name: str, method: Method | None, observer: Observer) -> Trial:
    start = time.perf_counter()
    if method:
        final, progress = await search(arena, method, observer.goes_on)
    else:
        final, progress = Final(name, _fixed(arena, name), arena.scoring), Progress(Meter(0, 0, 0), observer.goes_on)
    tested = await final.scoring.on("test", final.label, final.model)
    seconds = time.perf_counter() - start
    validation = final.validation.evaluations if final.validation else ()
    return Trial(
        method=name,
        seed=arena.seed,
        fingerprint=arena.contest.fingerprint(arena.seed, method),
        final=final.label,
        validation={evaluation.task: evaluation.score for evaluation in validation},
        test=tested.evaluations,
        spending=progress.meter.spending,
        curve=await tested_curve(progress, arena.contest.spec.milestones, tested.mean),
        seconds=seconds,
        finished_at=time.time(),
        versions={**arena.session.versions, "sandbox": arena.sandbox.name, "cores": str(len(os.sched_getaffinity(0)))},
    )


def _fixed(arena: Arena, name: str) -> Genome:
    """Return the genome of the base model, an expert, or the plain average."""
    if name == "base":
        return arena.session.nothing
    if name == "average":
        return arena.blend([1.0 / arena.n_experts] * arena.n_experts)
    return arena.experts[arena.names.index(name)]
