"""The status of a run, as the operator writes it: at most 32 KiB whatever the size of the run."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from cycleqd.api.base import ApiModel

ConditionType = Literal["Prepared", "ExpertsEvaluated", "Breeding", "Succeeded", "Failed", "Degraded"]
State = Literal[
    "Pending",
    "Preparing",
    "Evaluating",
    "Breeding",
    "Finalizing",
    "Paused",
    "Suspended",
    "Succeeded",
    "Failed",
    "Cancelled",
]


class Condition(ApiModel):
    """One observation about the run (meta/v1 Condition)."""

    type: ConditionType
    """What the observation is about."""
    status: Literal["True", "False", "Unknown"]
    """Whether it is so."""
    reason: str
    """CamelCase reason of the last change."""
    message: str = ""
    """One sentence for people."""
    last_transition_time: str
    """RFC 3339."""
    observed_generation: int | None = None
    """Generation of the spec that this condition was computed from."""


class TaskStatus(ApiModel):
    """How one task stands."""

    task: str
    """Name of the task."""
    best: float | None = None
    """Best search score of any individual, in [0, 1]."""
    coverage: float | None = None
    """Occupied share of the cells of the task's archive, in [0, 1]."""
    qd_score: float | None = None
    """Sum of the qualities of the archive's elites."""


class RunTimings(ApiModel):
    """Where the workers' time goes."""

    seconds_per_child: float | None = None
    """What a child takes one worker, mean over the children."""
    evaluation_share: float | None = None
    """Share of that time which is asking and judging, in [0, 1]."""


class RunStatus(ApiModel):
    """What is."""

    observed_generation: int | None = None
    """Generation of the spec that this status was computed from."""
    state: State = "Pending"
    """One word for the printer columns."""
    conditions: tuple[Condition, ...] = ()
    """Conditions by type."""
    children: int = 0
    """Children with a result."""
    progress: str = ""
    """Children with a result / children wanted."""
    running: int = 0
    """Jobs running now."""
    failures: int = 0
    """Workers that failed."""
    quarantined: int = 0
    """Children that were given up because they killed their workers."""
    failed_children: tuple[int, ...] = Field(default=(), max_length=100)
    """Ids of the first of them."""
    broken: int = 0
    """Children that were not scored because their numbers became NaN or infinite."""
    coverage: float | None = None
    """Mean coverage of the archives, in [0, 1]."""
    best: float | None = None
    """Best mean search score of any individual, in [0, 1]."""
    tasks: tuple[TaskStatus, ...] = ()
    """Per task."""
    timings: RunTimings = RunTimings()
    """Where the workers' time goes."""
    storage_uri: str = ""
    """Where the results lie."""
    storage_secret_name: str = ""
    """Secret that opens them; empty: the cloud's own identity does."""
    storage_root: str = ""
    """Where relative URIs of the manifest start; the operator's storage root when the run began."""
    model_uri: str = ""
    """Where the final model lies, once there is one."""
    started_at: str | None = None
    """RFC 3339."""
    finished_at: str | None = None
    """RFC 3339."""
