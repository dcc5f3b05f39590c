"""The manifest: a ``CycleQDRun`` with its spec and status (design section 6)."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from cycleqd.api.base import ApiModel, Name, Uri
from cycleqd.api.engine import EngineSpec
from cycleqd.api.models import Expert, ModelSource
from cycleqd.api.search import Search
from cycleqd.api.status import RunStatus
from cycleqd.api.tasks import Evaluator, Task
from cycleqd.api.workers import FailurePolicy, Workers
from cycleqd.errors import near_misses

GROUP = "cycleqd.dev"
VERSION = "v1alpha1"
KIND = "CycleQDRun"
API_VERSION = f"{GROUP}/{VERSION}"

RESERVED_NAMES = frozenset({"base", "average", "merged"})
"""Names that the report uses beside the experts' names."""

Transcripts = Literal["Successes", "All"]
"""Which conversations a run keeps; see :attr:`RunSpec.transcripts`."""

DesiredState = Literal["Running", "Paused", "Suspended", "Finished", "Cancelled"]


class Storage(ApiModel):
    """Where the run's state lives."""

    uri: Uri
    """``s3://BUCKET/PREFIX`` or a path beside the manifest; one run per prefix."""
    credentials_secret_name: str | None = None
    """Secret with AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and perhaps AWS_ENDPOINT_URL, AWS_REGION, AWS_CA_BUNDLE."""
    delete_on_removal: bool = False
    """Delete what the run stored when the CycleQDRun is deleted."""


class Benchmark(ApiModel):
    """A benchmark beside the tasks, run on base, experts and merged model (the paper's Table 3)."""

    name: Name
    """Name in the report."""
    evaluator: Evaluator
    """What asks and judges."""
    items: Annotated[int, Field(ge=1)] | None = None
    """How many items, drawn once from the run's seed; all if unset."""


class ReportSpec(ApiModel):
    """What the final report holds beside the tasks' test scores."""

    benchmarks: tuple[Benchmark, ...] = ()
    """Benchmarks that show what the merged model kept of the base model's skills."""

    @model_validator(mode="after")
    def _names_differ(self) -> Self:
        names = [benchmark.name for benchmark in self.benchmarks]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"benchmark name {twice[0]} is used twice: give each benchmark its own name")
        return self


class Finalize(ApiModel):
    """How the final model is chosen. The choice is made on the validation split alone."""

    candidates: Annotated[int, Field(ge=1, le=1000)] = 4
    """Best individuals by mean search score that are tried, beside the paper's aggregate."""
    greedy_steps: Annotated[int, Field(ge=0, le=1000)] = 4
    """How many members a greedy combination may take in; 0 tries none."""
    polish_steps: Annotated[int, Field(ge=0, le=10_000)] = 0
    """Gradient steps of a further candidate from each kind: aggregate, best individual, greedy; 0 tries none."""


class RunSpec(ApiModel):
    """What the user wants."""

    base_model: ModelSource
    """The model that all experts were fine-tuned from."""
    experts: Annotated[tuple[Expert, ...], Field(min_length=2, max_length=64)]
    """Single-skill experts of the base model, at least two."""
    tasks: Annotated[tuple[Task, ...], Field(min_length=2, max_length=64)]
    """One per expert, in cycle order."""
    search: Search = Search()
    """How children are bred."""
    finalize: Finalize = Finalize()
    """How the final model is chosen."""
    report: ReportSpec = ReportSpec()
    """What the final report holds."""
    storage: Storage
    """Where the run's state lives."""
    engine: EngineSpec = EngineSpec()
    """What runs the model."""
    workers: Workers = Workers()
    """How many workers, and what their pods look like."""
    failure_policy: FailurePolicy = FailurePolicy()
    """How much may go wrong before a child is given up, or the run."""
    sandbox: Literal["Auto", "Sidecar", "Namespaces", "Landlock", "Unsafe"] = "Auto"
    """Where model-written code runs. Auto: the pod's sidecar, or else the strongest that the machine offers, never
    Unsafe."""
    transcripts: Transcripts = "Successes"
    """Conversations that are kept in the store. Successes: one of each item that scored 1, for guidance to learn from;
    All: of each item and repeat, whatever became of it."""
    desired_state: DesiredState = "Running"
    """Running; Paused: start nothing new; Suspended: stop workers; Finished: finalize now; Cancelled: end it."""
    active_deadline_seconds: Annotated[int, Field(ge=1)] | None = None
    """The run fails after so many seconds."""
    ttl_seconds_after_finished: Annotated[int, Field(ge=0)] | None = None
    """The CycleQDRun is deleted so many seconds after it ended."""

    @model_validator(mode="after")
    def _names_fit_together(self) -> Self:
        experts = [expert.name for expert in self.experts]
        reserved = sorted(RESERVED_NAMES.intersection(experts))
        if reserved:
            raise ValueError(f"expert name {reserved[0]} is reserved for the report: choose another one")
        for kind, names in (("expert", experts), ("task", [task.name for task in self.tasks])):
            twice = sorted({name for name in names if names.count(name) > 1})
            if twice:
                raise ValueError(f"{kind} name {twice[0]} is used twice: give each {kind} its own name")
        for task in self.tasks:
            if task.expert not in experts:
                raise ValueError(
                    f"task {task.name} names the unknown expert {task.expert}{near_misses(task.expert, experts)}"
                )
        if sorted(task.expert for task in self.tasks) != sorted(experts):
            raise ValueError(
                f"expected one task per expert, got {len(self.tasks)} tasks for {len(experts)} experts: "
                "give every expert exactly one task"
            )
        archive = self.search.archive
        if archive.type == "Grid" and archive.bins ** (len(self.tasks) - 1) >= 2**63:
            raise ValueError(
                f"search.archive.bins is {archive.bins}, which with {len(self.tasks)} tasks makes "
                "more cells than 64 bits can count: use fewer bins, or type Cvt or DominatedNovelty"
            )
        if self.search.racing.enabled and archive.type == "DominatedNovelty" and archive.behaviour == "Items":
            raise ValueError(
                "search.racing.enabled is true, but search.archive.behaviour is Items: until all items are asked, "
                "nobody knows who will enter such an archive; choose behaviour Scores, or no racing"
            )
        if self.search.cycle == "Fixed" and self.search.fixed_task >= len(self.tasks):
            raise ValueError(
                f"search.fixedTask is {self.search.fixed_task}, expected 0..{len(self.tasks) - 1}: "
                "it is an index into tasks"
            )
        return self

    @model_validator(mode="after")
    def _reevaluation_has_items_and_an_order(self) -> Self:
        search, every = self.search, self.search.noise.reevaluate_every
        if not every:
            return self
        for task in self.tasks:
            if not task.items.reserve:
                raise ValueError(
                    f"search.noise.reevaluateEvery is {every}, but task {task.name} has items.reserve 0: "
                    "reserve items for it, half as many as items.search for example"
                )
        if search.strict and every <= search.lag:
            raise ValueError(
                f"search.noise.reevaluateEvery is {every}, expected more than search.lag ({search.lag}) in a "
                "strict run: second evaluations must not overlap"
            )
        return self


class Metadata(BaseModel):
    """The part of ObjectMeta that cycleqd reads; everything else is kept by Kubernetes and ignored here."""

    model_config = ConfigDict(frozen=True, extra="ignore", use_attribute_docstrings=True)

    name: Name
    """Name of the run."""
    namespace: str | None = None
    uid: str | None = None


class CycleQDRun(ApiModel):
    """A search for one model with the skills of several experts."""

    api_version: Literal["cycleqd.dev/v1alpha1"]
    kind: Literal["CycleQDRun"]
    metadata: Metadata
    spec: RunSpec
    """What the user wants."""
    status: RunStatus | None = None
    """What is; written by the operator."""
