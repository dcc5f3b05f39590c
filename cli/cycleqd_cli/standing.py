"""How a run stands, as one record that live display, ``status`` and JSON outputs share. Nothing is drawn here."""

from __future__ import annotations

from collections import Counter

from pydantic import Field

from cycleqd import keys
from cycleqd.api import RunSpec
from cycleqd.archives import compares_items
from cycleqd.fold import Population
from cycleqd.log import ResultLog
from cycleqd.plan import Observed, Phase, plan
from cycleqd.records import Record
from cycleqd.report import is_finalized, remarks
from cycleqd.store import ObjectStore
from cycleqd_cli.opening import OpenedRun
from cycleqd_cli.texts import activity
from cycleqd_runner.local import Snapshot


class ArchiveStanding(Record):
    """One archive."""

    task: str
    members: int
    coverage: float
    """Occupied share of the cells, in [0, 1]."""
    qd_score: float
    best: float
    """Best score on the archive's task, in [0, 1]."""
    best_id: int
    """Who has it."""
    expert: float
    """Score of the task's own expert, in [0, 1]."""


class Standing(Record):
    """One run."""

    run: str
    phase: Phase
    experts: tuple[str, ...]
    prepared: tuple[str, ...]
    """Experts that are factorised."""
    evaluated: tuple[str, ...]
    """Experts that have scores."""
    children: int
    """Children that are done."""
    stopped: int = 0
    """Those of them that racing stopped: they have no scores."""
    broken: int = 0
    """Those of them that are numerically broken: they have none, either."""
    target: int
    """Children that the run shall have."""
    archives: tuple[ArchiveStanding, ...] = ()
    best_mean: float | None = None
    """Best mean over all tasks of one individual, in [0, 1]."""
    best_id: int | None = None
    """Who has it."""
    working: tuple[str, ...] = ()
    """What each worker does."""
    damaged: dict[str, str] = Field(default_factory=dict)
    """Objects of the store that are not results, and why."""
    notes: tuple[str, ...] = ()
    """What qualifies the scores, for example a protocol that is not the paper's."""


def standing(name: str, spec: RunSpec, snapshot: Snapshot) -> Standing:
    """Return how a run stands."""
    n_experts, population = len(spec.experts), snapshot.population
    names = tuple(expert.name for expert in spec.experts)
    ids = range(n_experts, n_experts + spec.search.children)
    best = int(population.scores.mean(axis=1).argmax()) if len(population.ids) else None
    return Standing(
        run=name,
        phase=snapshot.phase,
        experts=names,
        prepared=tuple(expert for expert in names if expert in snapshot.prepared),
        evaluated=tuple(expert for k, expert in enumerate(names) if k in snapshot.done),
        children=sum(individual in ids for individual in snapshot.done),
        stopped=len(snapshot.stopped),
        broken=len(snapshot.broken),
        target=spec.search.children,
        archives=_archives(spec, population),
        best_mean=None if best is None else float(population.scores[best].mean()),
        best_id=None if best is None else int(population.ids[best]),
        working=tuple(activity(work, snapshot.done, spec) for work in snapshot.running),
        damaged=snapshot.damaged,
        notes=remarks(spec),
    )


def _archives(spec: RunSpec, population: Population) -> tuple[ArchiveStanding, ...]:
    names = [expert.name for expert in spec.experts]
    found = []
    for archive in population.archives:
        task, row = spec.tasks[archive.task], archive.best()
        found.append(
            ArchiveStanding(
                task=task.name,
                members=len(archive.members),
                coverage=archive.coverage,
                qd_score=archive.qd_score,
                best=float(archive.qualities[row]),
                best_id=int(archive.members[row]),
                expert=float(population.scores[names.index(task.expert), archive.task]),
            )
        )
    return tuple(found)


def read_snapshot(run: OpenedRun) -> Snapshot:
    """Return what a run's store says; who works on it at present, it cannot say."""
    log = ResultLog(run.store, items=compares_items(run.spec.search.archive))
    log.refresh()
    experts = [expert.name for expert in run.spec.experts]
    prepared = frozenset(name for name in experts if run.store.exists(keys.basis_manifest(name)))
    done = frozenset(log.done)
    phase = plan(run.spec, Observed(prepared, done, is_finalized(run.store, done))).phase
    population = log.population(run.spec)
    damaged, stopped, broken = dict(log.damaged), frozenset(log.stopped), frozenset(log.broken)
    return Snapshot(phase, population, prepared, done, (), damaged, stopped, broken)


def models_tried(store: ObjectStore) -> Counter[str]:
    """Return how many final models were scored on each split, and as ``benchmarks`` how often one was on such."""
    splits = (key.removeprefix(keys.FINAL_EVALUATIONS).partition("/")[0] for key in store.list(keys.FINAL_EVALUATIONS))
    return Counter(splits) + Counter(benchmarks=len(list(store.list(keys.BENCHMARKS))))
