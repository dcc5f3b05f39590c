"""The next status of a run: a pure function of the previous one and of what a look found.

At most 32 KiB whatever the size of the run, and equal to the previous one if nothing happened: then nothing is written.
"""

from __future__ import annotations

from typing import Any

from cycleqd.api.run import RunSpec
from cycleqd.api.status import RunStatus, RunTimings, TaskStatus
from cycleqd.fold import Population
from cycleqd_operator.conditions import Event, conditions, findings, refusal, timestamp, transitions
from cycleqd_operator.standing import TERMINAL, Standing, Trouble, state_of

__all__ = ["Event", "Standing", "Trouble", "next_status", "refused", "transitions"]

DIGITS = 4
"""Of floats, so that rounding noise causes no writes."""
MOST_FAILED = 100
"""Ids that the status lists; all of them lie in the store."""


def next_status(previous: RunStatus | None, standing: Standing) -> RunStatus:
    """Return the status after a look that found ``standing``; figures of what it could not read stay."""
    state = state_of(previous, standing)
    base = previous or RunStatus()
    figures = {} if standing.population is None else _figures(standing, standing.population)
    model_uri = figures.get("model_uri", base.model_uri)
    children = figures.get("children", base.children)
    found = findings(previous, standing, state, model_uri)
    now = timestamp(standing.now)
    return base.model_copy(
        update={
            **figures,
            "observed_generation": standing.generation,
            "state": state,
            "conditions": conditions(previous, found, standing.generation, standing.now),
            "progress": f"{children}/{standing.spec.search.children}",
            "running": standing.ready_jobs,
            "storage_uri": standing.storage_uri or base.storage_uri,
            "storage_secret_name": standing.spec.storage.credentials_secret_name or "",
            "storage_root": base.storage_root or standing.storage_root,
            "started_at": base.started_at or now,
            "finished_at": (base.finished_at or now) if state in TERMINAL and not standing.stopping else None,
        }
    )


def refused(previous: RunStatus | None, generation: int, message: str, now: float) -> RunStatus:
    """Return the status of a run whose manifest cannot be read for the reason in ``message``; its figures stay."""
    base = previous or RunStatus()
    return base.model_copy(
        update={
            "observed_generation": generation,
            "state": "Failed",
            "conditions": conditions(previous, refusal(message), generation, now),
            "running": 0,
            "started_at": base.started_at or timestamp(now),
            "finished_at": base.finished_at or timestamp(now),
        }
    )


def _figures(standing: Standing, population: Population) -> dict[str, Any]:
    """Return the fields that only the store can tell."""
    means = population.scores.mean(axis=1) if len(population.ids) else None
    return {
        "children": standing.n_children,
        "failures": standing.failures,
        "quarantined": len(standing.quarantined),
        "failed_children": standing.quarantined[:MOST_FAILED],
        "broken": standing.n_broken,
        "coverage": _significant(population.coverage) if population.archives else None,
        "best": None if means is None else round(float(means.max()), DIGITS),
        "tasks": _tasks(standing.spec, population),
        "timings": RunTimings(
            seconds_per_child=_rounded(standing.seconds_per_child),
            evaluation_share=_rounded(standing.evaluation_share),
        ),
        "model_uri": standing.model_uri,
    }


def _tasks(spec: RunSpec, population: Population) -> tuple[TaskStatus, ...]:
    if not len(population.ids):
        return tuple(TaskStatus(task=task.name) for task in spec.tasks)
    best = population.scores.max(axis=0)
    archives = population.archives or (None,) * len(spec.tasks)
    return tuple(
        TaskStatus(
            task=task.name,
            best=round(float(score), DIGITS),
            coverage=_significant(archive.coverage) if archive else None,
            qd_score=round(archive.qd_score, DIGITS) if archive else None,
        )
        for task, score, archive in zip(spec.tasks, best, archives, strict=True)
    )


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, DIGITS)


def _significant(value: float) -> float:
    """Round to significant digits: with five tasks, an archive of a thousand elites covers 0.02 of its cells."""
    return float(f"{value:.{DIGITS}g}")
