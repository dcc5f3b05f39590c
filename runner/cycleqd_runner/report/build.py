"""From a run's results to the data of its report. Pictures and pages are made from that data elsewhere."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from cycleqd.affinity import Affinity
from cycleqd.api import RunSpec
from cycleqd.archive import Archive, GridArchive
from cycleqd.archives import compares_items
from cycleqd.cycle import child_number
from cycleqd.errors import BadData
from cycleqd.fold import Population
from cycleqd.identity import RunIdentity
from cycleqd.kept import kept_notes
from cycleqd.log import ResultLog
from cycleqd.records import Result, TaskEvaluation, read_result
from cycleqd.report import ArchiveView, Candidate, Cost, FailedWork, Individual, Interval, Progress, Report, remarks
from cycleqd.statistics import grouped_interval, mean_interval
from cycleqd.store import ObjectStore
from cycleqd_runner.report.comparisons import differences
from cycleqd_runner.report.costs import FinalUsage, search_cost, seconds_by_kind, total_cost
from cycleqd_runner.report.groups import by_group
from cycleqd_runner.report.incidents import failed_work, notes_on, versions_of
from cycleqd_runner.report.retention import retention

PROGRESS_POINTS = 200
"""Points of the progress curves: more cannot be told apart in a picture."""
NOVELTY_POINTS = 40
"""Likewise where everybody is compared with everybody for each point: 1 to 4 s after 1200 children of five tasks."""

Tested = Mapping[str, Sequence[TaskEvaluation]]
"""Evaluations on the test split per model, one per task."""


@dataclass(frozen=True)
class RunView:
    """A run as it stands, without what finalize finds out.

    Attributes:
        individuals: everybody that has a result, by id.
        archives: one per task; none before the experts have scores.
        progress: how the archives grew.
        cost: what it took.
        quarantined: children that were given up.
        failures: of workers.
        versions: of what made the results.
        notes: what qualifies the numbers.
    """

    individuals: tuple[Individual, ...]
    archives: tuple[ArchiveView, ...]
    progress: tuple[Progress, ...]
    cost: Cost
    quarantined: tuple[int, ...]
    failures: tuple[FailedWork, ...]
    versions: dict[str, str]
    notes: tuple[str, ...]


def view_run(store: ObjectStore, spec: RunSpec, children: int | None = None) -> RunView:
    """Return how the run stands, or stood after its first ``children`` children."""
    log = ResultLog(store, items=compares_items(spec.search.archive))
    log.refresh()
    n_experts = len(spec.experts)
    below = None if children is None else n_experts + children
    population = log.population(spec, below)
    results = [result for result in _results(store, log) if below is None or result.turn < below]
    return RunView(
        individuals=_individuals(results, population),
        archives=tuple(view_archive(archive, spec) for archive in population.archives),
        progress=progress(population, results),
        cost=search_cost(results),
        quarantined=tuple(sorted(log.quarantined)),
        failures=failed_work(store),
        versions=versions_of(results),
        notes=(*remarks(spec), *kept_notes(store, spec), *notes_on(results, list(log.damaged.values()))),
    )


def build_report(
    identity: RunIdentity,
    spec: RunSpec,
    view: RunView,
    candidates: Sequence[Candidate],
    tested: Tested,
    usage: FinalUsage,
    affinity: Affinity | None = None,
    benchmarked: Tested | None = None,
) -> Report:
    """Return the final report.

    Args:
        identity: of the run.
        spec: likewise.
        view: what the search did.
        candidates: for the final model, with their validation scores.
        tested: ``base``, the experts, ``average`` and ``merged``.
        usage: what finding this out has cost.
        affinity: of the experts.
        benchmarked: ``base``, the experts and ``merged`` on ``spec.report.benchmarks``.
    """
    tables = {name: [_outcomes(evaluation) for evaluation in own] for name, own in tested.items()}
    tasks = [task.name for task in spec.tasks]
    own_experts = {task.name: task.expert for task in spec.tasks}
    return Report(
        run=identity.name,
        uid=identity.uid,
        tasks=tuple(tasks),
        experts=tuple(expert.name for expert in spec.experts),
        scores={
            name: {task: Interval.of(mean_interval(scores)) for task, scores in zip(tasks, own, strict=True)}
            for name, own in tables.items()
        },
        means={name: Interval.of(grouped_interval(own)) for name, own in tables.items()},
        groups=by_group(tasks, tested),
        differences=differences(tables, own_experts, spec.search.seed),
        own_experts=own_experts,
        affinity=affinity,
        retention=retention(benchmarked) if benchmarked else None,
        candidates=tuple(candidates),
        individuals=view.individuals,
        archives=view.archives,
        progress=view.progress,
        cost=total_cost(view.cost, usage),
        quarantined=view.quarantined,
        failures=view.failures,
        versions=view.versions,
        manifest=spec.model_dump(mode="json", by_alias=True, exclude_defaults=True),
        notes=view.notes,
        finished_at=time.time(),
    )


def view_archive(archive: Archive, spec: RunSpec) -> ArchiveView:
    """Return an archive as the report shows it."""
    view = ArchiveView(
        task=spec.tasks[archive.task].name,
        axes=tuple(spec.tasks[axis].name for axis in archive.axes),
        coverage=archive.coverage,
        qd_score=archive.qd_score,
    )
    members = tuple(map(int, archive.members))
    if not isinstance(archive, GridArchive):
        return view.model_copy(update={"members": members})
    edges = tuple(tuple(map(float, archive.edges[axis])) for axis in archive.axes)
    places = zip(*np.unravel_index(archive.cells, archive.shape), strict=True)
    cells = tuple((tuple(map(int, place)), member) for place, member in zip(places, members, strict=True))
    return view.model_copy(update={"edges": edges, "cells": cells})


def progress(population: Population, results: Sequence[Result] = ()) -> tuple[Progress, ...]:
    """Return how the archives stood after each child, or after about :data:`PROGRESS_POINTS` of them.

    Without ``results`` nothing is said about what it took.
    """
    if not population.ready:
        return ()
    first, last = population.n_experts, int(population.ids[-1]) + 1
    points = NOVELTY_POINTS if population.settings.type == "DominatedNovelty" else PROGRESS_POINTS
    stops = np.unique(np.linspace(first, last, min(points, last - first + 1)).astype(int))
    spent = [_Spent.by(result) for result in results]
    return tuple(_progress_at(population.first(int(stop)), int(stop), spent) for stop in stops)


class _Spent(NamedTuple):
    """What one result took."""

    turn: int
    seconds: float
    tokens: int
    training_tokens: int

    @classmethod
    def by(cls, result: Result) -> _Spent:
        return cls(result.turn, sum(seconds_by_kind(result).values()), sum(result.tokens), result.training_tokens)


def _progress_at(population: Population, stop: int, spent: Sequence[_Spent]) -> Progress:
    done = [one for one in spent if one.turn < stop]
    return Progress(
        children=child_number(stop, population.n_experts) - 1,
        coverage=tuple(archive.coverage for archive in population.archives),
        qd_score=tuple(archive.qd_score for archive in population.archives),
        best=tuple(float(score) for score in population.scores.max(axis=0)),
        best_mean=float(population.scores.mean(axis=1).max()),
        worker_seconds=sum(one.seconds for one in done),
        tokens=sum(one.tokens for one in done),
        training_tokens=sum(one.training_tokens for one in done),
    )


def _results(store: ObjectStore, log: ResultLog) -> list[Result]:
    results = []
    for key in sorted(log.entries):
        try:
            results.append(read_result(store.get(key), key))
        except BadData:
            continue  # the log has it among its damaged objects, which the caller reports
    return results


def _individuals(results: Sequence[Result], population: Population) -> tuple[Individual, ...]:
    scores = {
        int(individual): tuple(map(float, row))
        for individual, row in zip(population.ids, population.scores, strict=True)
    }
    return tuple(
        Individual(
            id=result.id,
            parents=result.parents,
            active_task=result.active_task,
            emitter=result.emitter,
            teachers=result.teachers,
            scores=scores.get(result.id),
            stop=result.stop,
            broken=result.broken,
        )
        for result in sorted(results, key=lambda result: result.id)
        if result.evaluation == 0
    )


def _outcomes(evaluation: TaskEvaluation) -> npt.NDArray[np.float64]:
    """Return (n_items,) scores in [0, 1]; finalize has refused evaluations with items that have none."""
    return np.array([outcome.score for outcome in evaluation.outcomes], np.float64)
