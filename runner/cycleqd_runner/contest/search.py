"""How a method's final model comes about: two ways to the same kind of outcome.

A proposer's models are scored on the search split while the budget lasts, and the best few on the validation split. A
CycleQD method is a run: the roles breed its children while the budget lasts, and finalize chooses. Neither ever sees
the test split.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import count
from operator import itemgetter
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from cycleqd import keys
from cycleqd.api.run import Finalize
from cycleqd.errors import BadManifest
from cycleqd.final import aggregate, best_members
from cycleqd.genome import Genome
from cycleqd.identity import claim
from cycleqd.records import FinalEvaluation, read_result
from cycleqd.store import ObjectStore, open_store
from cycleqd_runner.assess import Weights
from cycleqd_runner.contest.arena import Arena
from cycleqd_runner.contest.meter import Meter
from cycleqd_runner.contest.methods import METHODS, Candidate, Proposals
from cycleqd_runner.contest.prices import Prices, polished_at_most
from cycleqd_runner.contest.spec import CycleQD, Method, Taught
from cycleqd_runner.contest.trials import Point
from cycleqd_runner.roles.breed import breed
from cycleqd_runner.roles.candidates import CandidateGenomes
from cycleqd_runner.roles.final_evaluations import FinalEvaluations
from cycleqd_runner.roles.finalize import choose
from cycleqd_runner.roles.patience import patiently
from cycleqd_runner.roles.writing import write_result
from cycleqd_runner.sandbox import Sandbox
from cycleqd_runner.session import Session
from cycleqd_runner.transcripts import read_transcripts

Tell = Callable[[Point], None]
"""Is called after each evaluation."""


@dataclass(frozen=True)
class Final:
    """The model that a method ends with.

    Attributes:
        label: for people.
        model: its genome, or its weights.
        scoring: what can evaluate it.
        validation: its evaluation on the validation split; None if nothing was chosen.
    """

    label: str
    model: Genome | Weights
    scoring: FinalEvaluations
    validation: FinalEvaluation | None = None


@dataclass
class Progress:
    """What a method has spent and reached; tells about every step.

    Attributes:
        meter: what it has spent.
        tell: who wants to know.
        curve: all steps so far.
        leaders: per step, what the method would have ended with there; None: nothing yet.
    """

    meter: Meter
    tell: Tell
    curve: list[Point] = field(default_factory=list)
    leaders: list[Callable[[], Final] | None] = field(default_factory=list)

    def evaluated(self, tokens: int, score: float, count: int = 1, leader: Callable[[], Final] | None = None) -> None:
        """Note evaluations on the search split, the best of which had this mean score."""
        self.meter.evaluated(tokens, count)
        best = max(score, self.curve[-1].best) if self.curve else score
        spent = self.meter.search + self.meter.training
        self.curve.append(Point(tokens=spent, evaluations=self.meter.evaluations, best=best))
        self.leaders.append(leader)
        self.tell(self.curve[-1])


async def search(arena: Arena, method: Method, tell: Tell) -> tuple[Final, Progress]:
    """Let a method spend its budget.

    Raises:
        BadManifest: the budget is too small for a single model.
    """
    return await (_bred(arena, method, tell) if isinstance(method, CycleQD) else _proposed(arena, method, tell))


def budget_tokens(arena: Arena, method: Method) -> int:
    """Return the tokens that a method may spend with the arena's seed."""
    budget = arena.contest.spec.budget
    whole = budget.tokens if budget.tokens is not None else arena.evaluation_tokens * (budget.children or 0)
    return int(whole * method.share)


def _progress(arena: Arena, method: Method, finalists: int, tell: Tell, polish: float = 0.0) -> Progress:
    """Return a beginning that keeps back what scoring the finalists will take, and ``polish`` tokens of training."""
    reserve = finalists * arena.validation_tokens + polish
    return Progress(Meter(budget_tokens(arena, method), reserve, arena.evaluation_tokens), tell)


async def _proposed(arena: Arena, method: Method, tell: Tell) -> tuple[Final, Progress]:
    finalists = 0 if method.models == 1 else arena.contest.spec.finalists
    progress = _progress(arena, method, finalists, tell)
    if isinstance(method, Taught):
        _pay_for_experts(arena, method, progress)
    proposals = METHODS[method.type](arena, method)
    tried: list[tuple[float, Final]] = []
    candidate = next(proposals, None)
    training = candidate.training if candidate else 0
    while candidate is not None and progress.meter.affords(candidate.training):
        model = await asyncio.to_thread(candidate.make)
        progress.meter.training += candidate.training
        found = await arena.scoring.on("search", candidate.label, model)
        tried.append((found.mean, Final(candidate.label, model, arena.scoring)))
        best = max(reversed(tried), key=itemgetter(0))[1]  # the latest of equals
        progress.evaluated(found.tokens, found.mean, leader=_just(best))
        candidate = _next(proposals, found)
    proposals.close()
    _refuse_nothing(method, bool(tried), progress.meter, training)
    ranked = {own.model.digest: own for _, own in sorted(tried, key=itemgetter(0))}  # the latest of equals
    return await chosen(list(ranked.values())[-max(1, finalists) :], progress.meter), progress


def _just(final: Final) -> Callable[[], Final]:
    return lambda: final


def _pay_for_experts(arena: Arena, method: Method, progress: Progress) -> None:
    """Count the experts' evaluations, and their answers to the lessons if the method learns from them."""
    progress.evaluated(arena.expert_tokens, arena.best_expert, arena.n_experts)
    if arena.contest.is_taught(method):
        progress.meter.taught(arena.lesson_tokens)


def _next(proposals: Proposals, found: FinalEvaluation) -> Candidate | None:
    """Tell the proposer how its candidate did, and return its next one."""
    try:
        return proposals.send(np.array([evaluation.score for evaluation in found.evaluations], np.float64))
    except StopIteration:
        return None


async def chosen(finalists: list[Final], meter: Meter) -> Final:
    """Return the finalist that is best on the validation split, the last of equals; a single one needs no choice."""
    if len(finalists) == 1:
        return finalists[0]
    found = [
        replace(one, validation=await one.scoring.on("validation", one.label, one.model)) for one in reversed(finalists)
    ]
    meter.validation += sum(one.validation.tokens for one in found if one.validation)
    return max(found, key=lambda one: one.validation.mean if one.validation else 0.0)


async def _bred(arena: Arena, method: CycleQD, tell: Tell) -> tuple[Final, Progress]:
    session = await asyncio.to_thread(_open_run, arena, method)
    prices = Prices(session)
    polish = prices.polish() if method.final == "Chosen" else 0.0
    progress = _progress(arena, method, _most_tried(method, session.spec.finalize), tell, polish)
    _pay_for_experts(arena, method, progress)
    first = prices.child(arena.n_experts)
    leader = partial(_leader, session, method, arena.sandbox)
    await breed(session, _affordable(session, prices, progress, leader), arena.sandbox)
    children = progress.meter.evaluations - arena.n_experts
    _refuse_nothing(method, children > 0, progress.meter, round(first))
    claim(session.store, arena.contest.run(arena.seed, method, children))
    await patiently(session.log.refresh)
    return await _concluded(session, method, arena.sandbox, progress.meter), progress


def _most_tried(method: CycleQD, settings: Finalize) -> int:
    """Return how many candidates finalize scores on the validation split at most."""
    if method.final == "Aggregate":
        return 0
    return 2 + settings.candidates + settings.greedy_steps + polished_at_most(settings)


async def _concluded(session: Session, method: CycleQD, sandbox: Sandbox, meter: Meter) -> Final:
    """Return a run's final model: the paper's aggregate, or what finalize chooses on the validation split."""
    scoring, genomes = FinalEvaluations(session, sandbox), CandidateGenomes(session)
    if method.final == "Aggregate":
        blend = aggregate(session.population())
        return Final(blend.name, genomes.of(blend), scoring)
    _, blend = await choose(session, scoring, genomes)
    meter.validation += scoring.usage.choosing.prompt_tokens + scoring.usage.choosing.answer_tokens
    meter.training += sum(genomes.training_tokens.values())
    genome = genomes.of(blend)
    return Final(blend.name, genome, scoring, await scoring.on("validation", blend.name, genome))


def _leader(session: Session, method: CycleQD, sandbox: Sandbox, individuals: int) -> Final:
    """Return what the first individuals of a run end with: the paper's aggregate, or else the best by search score."""
    population = session.population().first(individuals)
    blend = aggregate(population) if method.final == "Aggregate" else best_members(population, 1)[0]
    return Final(blend.name, CandidateGenomes(session).of(blend), FinalEvaluations(session, sandbox))


def _affordable(session: Session, prices: Prices, progress: Progress, leader: Callable[[int], Final]) -> Iterator[int]:
    """Yield the ids of children for as long as the budget lasts; a child's result is counted before the next one.

    Children that have been bred already are counted, even if a cluster went beyond the budget.
    """
    meter, doubts = progress.meter, set[str]()
    for individual in count(session.n_experts):
        key = keys.result(individual)
        if not session.store.exists(key):
            if not meter.affords(training=prices.child(individual)):
                return
            yield individual
        result = read_result(session.store.get(key), key)
        prices.learn(result)
        meter.training += result.training_tokens
        meter.search += _repeated(session, doubts)
        score = float(np.mean(result.scores)) if result.complete else 0.0
        progress.evaluated(sum(result.tokens), score, leader=partial(leader, individual + 1))


def _repeated(session: Session, counted: set[str]) -> int:
    """Return the tokens of second evaluations (``search.noise``) that were not counted yet, and note that they are."""
    session.log.refresh()
    fresh = {key: entry for key, entry in session.log.entries.items() if entry.evaluation and key not in counted}
    counted |= fresh.keys()
    return sum(entry.prompt_tokens + entry.answer_tokens for entry in fresh.values())


def _open_run(arena: Arena, method: CycleQD) -> Session:
    """Return a session of the method's run, which has the experts' results and factors, and the arena's engine."""
    run = arena.contest.run(arena.seed, method, int(budget_tokens(arena, method) / arena.evaluation_tokens))
    store = open_store(run.spec.storage.uri)
    claim(store, run)
    shared = arena.session
    for k, name in enumerate(arena.names):
        basis = shared.store.list(f"{keys.basis(name)}/")
        _copy(shared.store, store, sorted(basis, key=lambda key: key == keys.basis_manifest(name)))
        _copy_result(shared.store, store, k, lessons=arena.contest.is_taught(method))
    session = Session(store)
    session.engine, session.base = shared.engine, shared.base
    if session.layout.digest == shared.layout.digest:
        session.sources = shared.sources
    session.log.refresh()
    return session


def _copy_result(source: ObjectStore, target: ObjectStore, expert: int, *, lessons: bool) -> None:
    """Copy what an expert scored and answered, with or without the lessons."""
    key = keys.result(expert)
    if target.exists(key):
        return
    result, said = read_result(source.get(key), key), read_transcripts(source, expert)
    if result.lessons and not lessons:
        further = {(result.lessons.task, outcome.item) for outcome in result.lessons.outcomes}
        said = [one for one in said if (one.task, one.item) not in further]
        result = result.model_copy(update={"lessons": None})
    write_result(target, result, said)


def _copy(source: ObjectStore, target: ObjectStore, wanted: list[str]) -> None:
    """Copy the objects that are missing, in order, through this machine."""
    with TemporaryDirectory(prefix="cycleqd-shared-") as folder:
        for key in wanted:
            if not target.exists(key):
                source.download(key, Path(folder) / "object")
                target.upload(Path(folder) / "object", key)


def _refuse_nothing(method: Method, is_something: bool, meter: Meter, training: int = 0) -> None:
    """Refuse a budget that does not suffice for a first model, which takes ``training`` tokens to make."""
    if is_something:
        return
    wanted = f"an evaluation of {meter.typical:,.0f} does"
    if training:
        wanted = f"{training:,} of training and an evaluation of {meter.typical:,.0f} do"
    raise BadManifest(
        f"The budget of {method.name} is {meter.limit:,} tokens, of which {meter.reserve:,.0f} are kept for the "
        f"choice on validation: {wanted} not fit, so raise spec.budget{' or lower steps' if training else ''}."
    )
