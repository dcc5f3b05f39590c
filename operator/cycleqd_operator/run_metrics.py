"""The metrics of runs: how each stands, how good it is, where its workers' time went.

All are computed from the last status and from the results, never counted up along the way: they are the same after a
restart of the operator, and vanish with their run. The operator's own metrics are :mod:`cycleqd_operator.metrics`.
"""

from __future__ import annotations

import itertools
from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Literal, get_args

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from cycleqd.api.status import RunStatus, State
from cycleqd.fold import Entry
from cycleqd.plan import Role

JobState = Literal["pending", "running"]
Jobs = Mapping[tuple[Role, JobState], int]
Samples = Iterable[tuple[tuple[str, ...], float | None]]
RUN_LABELS = ("namespace", "run")

EVALUATION_BUCKETS = (1, 3, 10, 30, 60, 120, 300, 600, 1200, 1800, 3600, 7200)
"""Seconds: a tiny model answers in some, the paper's children take about 1200."""


@dataclass
class ShownRun:
    """What is told of one run.

    Attributes:
        status: the last one.
        wanted: children that the spec asks for.
        jobs: unfinished Jobs.
        worker_seconds: sum over all results seen.
        evaluate_seconds: likewise, of asking and judging alone.
        evaluations: how many of them ended in each bucket.
    """

    status: RunStatus = field(default_factory=RunStatus)
    wanted: int = 0
    jobs: Jobs = field(default_factory=dict)
    worker_seconds: float = 0.0
    evaluate_seconds: float = 0.0
    evaluations: tuple[int, ...] = (0,) * (len(EVALUATION_BUCKETS) + 1)

    def count(self, entries: Collection[Entry]) -> None:
        """Take in all results. They are added up anew when there are more: a store that was opened anew reorders them.

        As results are never deleted, the sums never fall, as Prometheus expects of them.
        """
        if len(entries) <= sum(self.evaluations):
            return
        places = Counter(bisect_left(EVALUATION_BUCKETS, entry.evaluate_seconds) for entry in entries)
        self.evaluations = tuple(places[place] for place in range(len(EVALUATION_BUCKETS) + 1))
        self.worker_seconds = sum(entry.seconds for entry in entries)
        self.evaluate_seconds = sum(entry.evaluate_seconds for entry in entries)


@dataclass(frozen=True)
class Family:
    """One metric of runs: its samples are the values of labels beside namespace and run, and a number or nothing."""

    name: str
    text: str
    samples: Callable[[ShownRun], Samples]
    labels: tuple[str, ...] = ()
    kind: type[GaugeMetricFamily | CounterMetricFamily] = GaugeMetricFamily


def _children(run: ShownRun) -> Samples:
    settled = run.status.children + run.status.quarantined
    yield ("done",), run.status.children
    yield ("quarantined",), run.status.quarantined
    yield ("missing",), max(0, run.wanted - settled)


def _degraded(run: ShownRun) -> Samples:
    for condition in run.status.conditions:
        if condition.type == "Degraded":
            yield (condition.reason,), condition.status == "True"


FAMILIES = (
    Family(
        "cycleqd_run_state",
        "1 for the state that the run is in, 0 for the others.",
        lambda run: (((state,), run.status.state == state) for state in get_args(State)),
        ("state",),
    ),
    Family("cycleqd_run_degraded", "1 while something degrades the run, with the reason.", _degraded, ("reason",)),
    Family(
        "cycleqd_run_children",
        "Children that have a result (done), were given up (quarantined), or have to be bred (missing).",
        _children,
        ("state",),
    ),
    Family(
        "cycleqd_run_jobs",
        "Unfinished Jobs: their pod waits (pending) or runs (running).",
        lambda run: (
            ((role, state), run.jobs.get((role, state), 0)) for role in get_args(Role) for state in get_args(JobState)
        ),
        ("role", "state"),
    ),
    Family(
        "cycleqd_run_coverage_ratio",
        "Occupied share of the archives' cells, mean over the tasks.",
        lambda run: [((), run.status.coverage)],
    ),
    Family(
        "cycleqd_run_best_score",
        "Best mean search score of any individual, in 0..1.",
        lambda run: [((), run.status.best)],
    ),
    Family(
        "cycleqd_run_task_coverage_ratio",
        "Occupied share of the cells of the task's archive.",
        lambda run: (((task.task,), task.coverage) for task in run.status.tasks),
        ("task",),
    ),
    Family(
        "cycleqd_run_task_qd_score",
        "Sum of the qualities of the elites of the task's archive.",
        lambda run: (((task.task,), task.qd_score) for task in run.status.tasks),
        ("task",),
    ),
    Family(
        "cycleqd_run_task_best_score",
        "Best search score of any individual on the task, in 0..1.",
        lambda run: (((task.task,), task.best) for task in run.status.tasks),
        ("task",),
    ),
    Family(
        "cycleqd_run_worker_failures",
        "Workers that failed; lost nodes, preemption and eviction do not count.",
        lambda run: [((), run.status.failures)],
        kind=CounterMetricFamily,
    ),
    Family(
        "cycleqd_run_worker_seconds",
        "What individuals took workers: breeding, loading and evaluating, as the results tell.",
        lambda run: [((), run.worker_seconds)],
        kind=CounterMetricFamily,
    ),
)
EVALUATION = ("cycleqd_run_evaluation_seconds", "Asking and judging one individual, as the results tell.")


class RunCollector(Collector):
    """All runs, by namespace and name."""

    def __init__(self) -> None:
        """Know no run yet."""
        self.shown: dict[tuple[str, str], ShownRun] = {}

    def run(self, namespace: str, name: str) -> ShownRun:
        """Return what is told of a run, to be changed."""
        return self.shown.setdefault((namespace, name), ShownRun())

    def collect(self) -> Iterator[Metric]:
        """Yield all families, those without samples as well: their names can be looked up before there is a run."""
        runs = list(self.shown.items())
        for family in FAMILIES:
            metric = family.kind(family.name, family.text, labels=(*RUN_LABELS, *family.labels))
            for names, run in runs:
                for labels, value in family.samples(run):
                    if value is not None:
                        metric.add_metric((*names, *labels), float(value))
            yield metric
        histogram = HistogramMetricFamily(*EVALUATION, labels=RUN_LABELS)
        bounds = [str(float(bound)) for bound in EVALUATION_BUCKETS] + ["+Inf"]
        for names, run in runs:
            cumulative = list(zip(bounds, itertools.accumulate(run.evaluations), strict=True))
            histogram.add_metric(names, cumulative, run.evaluate_seconds)
        yield histogram
