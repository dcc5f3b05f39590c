"""The final report as data (``final/report.json``). Pictures and pages are made from it elsewhere."""

from __future__ import annotations

from typing import Any, Self

from pydantic import Field

from cycleqd import keys
from cycleqd.affinity import Affinity
from cycleqd.api import RunSpec
from cycleqd.errors import MissingObject
from cycleqd.records import Guidance, Record, Stop
from cycleqd.statistics import Estimate
from cycleqd.store import ObjectStore

OWN_EXPERTS = "each task's own expert"
"""What a merged model would ideally be: on each task, the expert that was trained for it."""

MICRO = "micro"
"""Beside the kinds of a task's items: the mean over all items, which is the task's own score."""
MACRO = "macro"
"""Likewise the plain mean of the kinds: each counts the same, however many items it has."""


class Interval(Record):
    """A mean with its 95 % confidence interval."""

    mean: float
    low: float
    high: float
    items: int
    """Items that the mean is over."""

    @classmethod
    def of(cls, estimate: Estimate) -> Self:
        """Return the interval of an estimate."""
        return cls(mean=estimate.mean, low=estimate.low, high=estimate.high, items=estimate.items)


class Change(Record):
    """How much better the merged model is than another one, on the same test items, with a 95 % interval."""

    mean: float
    """Difference of the means; positive: the merged model is better."""
    low: float
    high: float

    @classmethod
    def of(cls, estimate: Estimate) -> Self:
        """Return the estimated change."""
        return cls(mean=estimate.mean, low=estimate.low, high=estimate.high)


class Difference(Change):
    """A change over all tasks, and what it is made of."""

    against: str
    """Name of the other model, or :data:`OWN_EXPERTS`."""
    tasks: dict[str, Change] = Field(default_factory=dict)
    """By task."""


class Individual(Record):
    """One individual, as the report shows it."""

    id: int
    parents: tuple[int, ...] = ()
    active_task: int | None = None
    emitter: str = "Expert"
    teachers: tuple[int, ...] = ()
    """Whose right answers guided it; empty where nobody's did, and in reports of older versions."""
    scores: tuple[float, ...] | None = None
    """(n_tasks,) search scores; None: some items had no score, or were not asked."""
    stop: Stop | None = None
    """Why some were not asked."""
    broken: int = 0
    """Items whose answers were numerically broken."""


class ArchiveView(Record):
    """One archive: who sits where."""

    task: str
    axes: tuple[str, ...]
    """Tasks of the behaviour axes."""
    edges: tuple[tuple[float, ...], ...] = ()
    """(n_axes, bins + 1) bin edges of a grid; none of other archives."""
    cells: tuple[tuple[tuple[int, ...], int], ...] = ()
    """(index per axis, individual) of each occupied cell of a grid."""
    members: tuple[int, ...] = ()
    """Individuals in an archive that is no grid; where they are, their scores say."""
    coverage: float
    """Occupied share of the cells, or of the size of an archive without cells, in [0, 1]."""
    qd_score: float


class Progress(Record):
    """How the archives stood after so many children."""

    children: int
    coverage: tuple[float, ...]
    """Per archive, in [0, 1]."""
    qd_score: tuple[float, ...]
    """Per archive."""
    best: tuple[float, ...]
    """Best score so far per task, in [0, 1]."""
    best_mean: float
    """Best mean over the tasks of one individual so far."""
    worker_seconds: float = 0.0
    """What the search had taken by then; 0: not known."""
    tokens: int = 0
    """Read and written by then; 0: not known."""
    training_tokens: int = 0
    """Passed forward and backward by then, to make the children."""


class Candidate(Record):
    """One candidate final model and what validation said about it."""

    name: str
    weights: dict[int, float]
    """Share of each individual; they sum to 1."""
    validation: dict[str, float]
    """Mean score per task on the validation split."""
    polish: int = 0
    """Gradient steps that were taken after blending."""
    genome_sha256: str = ""
    """Of its genome: names its evaluations in the store; empty in reports of older versions."""
    chosen: bool = False

    @property
    def mean(self) -> float:
        """Mean over the tasks."""
        return sum(self.validation.values()) / len(self.validation)


class Retention(Record):
    """What models kept of the base model's skills beside the tasks (the paper's Table 3)."""

    benchmarks: tuple[str, ...]
    """Names, in the manifest's order."""
    scores: dict[str, dict[str, Interval | None]]
    """Scores per model (``base``, each expert, ``merged``) and benchmark; None: not scored."""
    kept: dict[str, dict[str, Interval | None]]
    """Likewise as a share of the base model's score on the same items (1: as much); None where one of the two is not
    scored, or the base model scores nothing."""
    means: dict[str, Interval | None]
    """Mean of the shares per model, over the benchmarks on which the base model scores something; None where there is
    none, or the model is not scored on one of them."""
    unscored: dict[str, dict[str, str]] = Field(default_factory=dict)
    """Why there is no score, per model and benchmark, where there is none."""

    @property
    def zero(self) -> tuple[str, ...]:
        """Benchmarks on which the base model scores nothing, so that there is nothing to be a share of."""
        base = self.scores["base"]
        return tuple(name for name in self.benchmarks if (own := base[name]) is not None and not own.mean)


class Cost(Record):
    """What the run used."""

    seconds: dict[str, float] = Field(default_factory=dict)
    """Worker seconds by kind of work (:class:`~cycleqd.records.Timings`), and finalize."""
    gpu_seconds: dict[str, float] = Field(default_factory=dict)
    """Likewise, times the GPUs that the workers held."""
    prompt_tokens: int = 0
    """Read by evaluations on the search splits."""
    answer_tokens: int = 0
    """Written by them."""
    training_tokens: int = 0
    """Passed forward and backward by guidance, of children and candidates."""
    guidance: Guidance | None = None
    """Of a child, at most; None: not guided, or by an older version."""
    polishing: Guidance | None = None
    """Of a candidate final model, at most; None: none was polished, or by an older version."""
    evaluations: int = 0
    """Individuals evaluated on the search splits."""
    stopped: int = 0
    """Those of them that racing stopped."""
    items_saved: int = 0
    """Items that these were not asked."""
    reevaluations: int = 0
    """Evaluations of elites in doubt, on the reserve splits."""
    final_prompt_tokens: int = 0
    """Read by evaluations on the validation and test splits."""
    final_answer_tokens: int = 0
    final_evaluations: int = 0
    """Models evaluated on the validation or on the test splits."""
    benchmark_prompt_tokens: int = 0
    """Read by evaluations on ``spec.report.benchmarks``, which choose nothing: no part of what a search is charged."""
    benchmark_answer_tokens: int = 0
    benchmark_evaluations: int = 0
    """Pairs of a model and a benchmark; models with the same weights count once."""

    @property
    def evaluation_tokens(self) -> int:
        """Read and written on all splits; benchmarks of the report left out."""
        return self.prompt_tokens + self.answer_tokens + self.final_prompt_tokens + self.final_answer_tokens


class FailedWork(Record):
    """Workers that failed alike."""

    role: str
    message: str
    """One sentence for people."""
    count: int


class Report(Record):
    """Everything that finalize found out."""

    run: str
    """Name of the run."""
    uid: str
    tasks: tuple[str, ...]
    experts: tuple[str, ...]
    """Names, in the order of their ids."""
    scores: dict[str, dict[str, Interval]]
    """Test scores per model (``base``, each expert, ``average``, ``merged``) and task."""
    means: dict[str, Interval]
    """Test scores per model, mean over the tasks."""
    groups: dict[str, dict[str, dict[str, Interval]]] = Field(default_factory=dict)
    """Test scores per task, model and kind of item, then :data:`MICRO` and :data:`MACRO`; tasks without kinds are left
    out."""
    differences: tuple[Difference, ...] = ()
    """The merged model against the best expert, the plain average of the experts, and :data:`OWN_EXPERTS`."""
    own_experts: dict[str, str] = Field(default_factory=dict)
    """Name of the expert that was trained for each task."""
    affinity: Affinity | None = None
    """How close the experts are to each other; None: reports of older versions do not know."""
    retention: Retention | None = None
    """Scores on ``spec.report.benchmarks``; None: there are none."""
    candidates: tuple[Candidate, ...] = ()
    individuals: tuple[Individual, ...] = ()
    archives: tuple[ArchiveView, ...] = ()
    progress: tuple[Progress, ...] = ()
    cost: Cost = Cost()
    quarantined: tuple[int, ...] = ()
    """Children that were given up because they killed their workers."""
    failures: tuple[FailedWork, ...] = ()
    """Workers that failed, the most frequent failure first; their work was repeated."""
    versions: dict[str, str] = Field(default_factory=dict)
    manifest: dict[str, Any] = Field(default_factory=dict)
    """The manifest as the run recorded it."""
    notes: tuple[str, ...] = ()
    """What a reader must know to read the numbers, for example a sandbox that is not one."""
    finished_at: float = 0.0
    """Unix time in seconds."""

    def kept(self, task: str) -> float | None:
        """Return the merged model's test score as a share of what the task's own expert scores.

        None where one of them was not tested, or the expert scores nothing.
        """
        own = self.scores.get(self.own_experts.get(task, ""), {}).get(task)
        merged = self.scores.get("merged", {}).get(task)
        return merged.mean / own.mean if own and merged and own.mean > 0 else None

    @property
    def chosen(self) -> Candidate | None:
        """The candidate that became the merged model."""
        return next((candidate for candidate in self.candidates if candidate.chosen), None)


def remarks(spec: RunSpec) -> tuple[str, ...]:
    """Return what all who show a run's scores must say about them: a sentence per task or benchmark that has one."""
    tasks = [(f"Task {task.name}", task.evaluator) for task in spec.tasks]
    benchmarks = [(f"Benchmark {benchmark.name}", benchmark.evaluator) for benchmark in spec.report.benchmarks]
    return tuple(f"{whose}: {remark}" for whose, evaluator in (*tasks, *benchmarks) if (remark := evaluator.remark))


def is_finalized(store: ObjectStore, done: frozenset[int]) -> bool:
    """Return whether the final report is there and about all individuals that are done."""
    try:
        report = Report.model_validate_json(store.get(keys.REPORT))
    except (MissingObject, ValueError):
        return False
    return {individual.id for individual in report.individuals} | set(report.quarantined) == done
