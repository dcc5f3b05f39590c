"""The metrics of runs: how each stands, how good it is, where its workers' time went.

All are computed from the last status and from the results, never counted up along the way: they are the same after a
restart of the operator, and vanish with their run. What the results add up to is :mod:`cycleqd_operator.tally`'s
knowledge; the operator's own metrics are :mod:`cycleqd_operator.metrics`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Literal, get_args

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from cycleqd.api.status import RunStatus, State
from cycleqd.plan import Role
from cycleqd_operator.tally import EVALUATION_BUCKETS, MICROSECONDS, Tally

JobState = Literal["queued", "pending", "running"]
Jobs = Mapping[tuple[Role, JobState], int]
Buckets = list[tuple[str, float]]
Samples = Iterable[tuple[tuple[str, ...], float | tuple[Buckets, float] | None]]
RUN_LABELS = ("namespace", "run")


@dataclass
class ShownRun:
    """What is told of one run.

    Attributes:
        status: the last one.
        wanted: children that the spec asks for.
        jobs: unfinished Jobs.
        gpus: that their running workers hold.
        tally: of the results; None: they were not read yet.
        progressed_at: Unix time in seconds when the run was last seen to get on.
    """

    status: RunStatus = field(default_factory=RunStatus)
    wanted: int = 0
    jobs: Jobs = field(default_factory=dict)
    gpus: int = 0
    tally: Tally | None = None
    progressed_at: float = 0.0
    _progress: object = None

    def update(self, status: RunStatus, wanted: int, jobs: Jobs, gpus: int, tally: Tally | None) -> None:
        """Take in how the run stands now. Without a tally, or with one of a store that is only half read, it stays."""
        self.status, self.wanted, self.jobs, self.gpus = status, wanted, dict(jobs), gpus
        if tally and (self.tally is None or tally.results > self.tally.results):
            self.tally = tally
        progress = (status.state, self._experts_ready, status.quarantined, self.tally)
        if progress != self._progress:
            self._progress, self.progressed_at = progress, time.time()

    @property
    def _experts_ready(self) -> list[str]:
        """What the conditions say about the experts: how many are prepared and evaluated."""
        return [one.message for one in self.status.conditions if one.type in ("Prepared", "ExpertsEvaluated")]

    def summed(self, of: Callable[[Tally], float | None]) -> Samples:
        """Return a sum over the results; nothing before they were read, lest a counter seems to begin at zero."""
        return [((), None if self.tally is None else of(self.tally))]


@dataclass(frozen=True)
class Family:
    """One metric of runs: its samples are the values of labels beside namespace and run, and a number or nothing."""

    name: str
    text: str
    samples: Callable[[ShownRun], Samples]
    labels: tuple[str, ...] = ()
    kind: type[GaugeMetricFamily | CounterMetricFamily | HistogramMetricFamily] = GaugeMetricFamily


def _children(run: ShownRun) -> Samples:
    settled = run.status.children + run.status.quarantined
    yield ("done",), run.status.children
    yield ("quarantined",), run.status.quarantined
    yield ("missing",), max(0, run.wanted - settled)


def _degraded(run: ShownRun) -> Samples:
    for condition in run.status.conditions:
        if condition.type == "Degraded":
            yield (condition.reason,), condition.status == "True"


def _evaluations(run: ShownRun) -> Samples:
    if run.tally:
        bounds = [*(str(float(bound)) for bound in EVALUATION_BUCKETS), "+Inf"]
        buckets: Buckets = list(zip(bounds, run.tally.cumulative, strict=True))
        yield (), (buckets, run.tally.evaluate_microseconds / MICROSECONDS)


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
        "Unfinished Jobs: held back by a queue (queued), or their worker is waited for (pending) or runs (running).",
        lambda run: (
            ((role, state), run.jobs.get((role, state), 0)) for role in get_args(Role) for state in get_args(JobState)
        ),
        ("role", "state"),
    ),
    Family("cycleqd_run_gpus", "GPUs that running workers hold.", lambda run: [((), run.gpus)]),
    Family(
        "cycleqd_run_last_progress_timestamp_seconds",
        "When the operator last saw the run get on: a new state, result, or child given up, or an expert ready. An"
        " operator that starts begins with the present.",
        lambda run: [((), run.progressed_at)],
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
        "What individuals took workers: breeding, loading, evaluating and writing, as the results tell.",
        lambda run: run.summed(lambda tally: tally.worker_microseconds / MICROSECONDS),
        kind=CounterMetricFamily,
    ),
    Family(
        "cycleqd_run_worker_busy_ratio",
        "Share of them in which individuals were evaluated, over all results.",
        lambda run: run.summed(lambda tally: tally.busy_ratio),
    ),
    Family(
        "cycleqd_run_gpu_seconds",
        "What individuals took GPUs: the seconds of their workers, times the GPUs that those held.",
        lambda run: run.summed(lambda tally: tally.gpu_microseconds / MICROSECONDS),
        kind=CounterMetricFamily,
    ),
    Family(
        "cycleqd_run_gpu_busy_seconds",
        "Those of them in which individuals were evaluated.",
        lambda run: run.summed(lambda tally: tally.gpu_busy_microseconds / MICROSECONDS),
        kind=CounterMetricFamily,
    ),
    Family(
        "cycleqd_run_prompt_tokens",
        "Tokens that evaluations read.",
        lambda run: run.summed(lambda tally: tally.prompt_tokens),
        kind=CounterMetricFamily,
    ),
    Family(
        "cycleqd_run_answer_tokens",
        "Tokens that evaluations generated.",
        lambda run: run.summed(lambda tally: tally.answer_tokens),
        kind=CounterMetricFamily,
    ),
    Family(
        "cycleqd_run_stopped_children",
        "Children whose evaluation racing ended early.",
        lambda run: run.summed(lambda tally: tally.stopped),
        kind=CounterMetricFamily,
    ),
    Family(
        "cycleqd_run_saved_items",
        "Items that those were not asked.",
        lambda run: run.summed(lambda tally: tally.items_saved),
        kind=CounterMetricFamily,
    ),
    Family(
        "cycleqd_run_evaluation_seconds",
        "Asking and judging one individual, as the results tell.",
        _evaluations,
        kind=HistogramMetricFamily,
    ),
)


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
                        numbers = value if isinstance(value, tuple) else (float(value),)
                        metric.add_metric((*names, *labels), *numbers)
            yield metric
