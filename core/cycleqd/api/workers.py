"""The workers: how many, how large a block, and what their pods look like."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field

from cycleqd.api.base import ApiModel


class PodOverrides(ApiModel):
    """What a run may change in its worker pods. Values are Kubernetes' own types."""

    labels: dict[str, str] = Field(default_factory=dict)
    """Extra labels."""
    annotations: dict[str, str] = Field(default_factory=dict)
    """Extra annotations."""
    node_selector: dict[str, str] = Field(default_factory=dict)
    """Nodes that may run workers."""
    tolerations: tuple[dict[str, Any], ...] = ()
    """Taints that workers tolerate (core/v1 Toleration)."""
    affinity: dict[str, Any] = Field(default_factory=dict)
    """core/v1 Affinity."""
    volumes: tuple[dict[str, Any], ...] = ()
    """Extra volumes (core/v1 Volume)."""
    volume_mounts: tuple[dict[str, Any], ...] = ()
    """Where the worker's container mounts them (core/v1 VolumeMount)."""
    env: tuple[dict[str, Any], ...] = ()
    """Extra environment of the worker's container (core/v1 EnvVar)."""
    resources: dict[str, Any] = Field(default_factory=dict)
    """Requests and limits of the worker's container (core/v1 ResourceRequirements)."""
    image_pull_secrets: tuple[dict[str, str], ...] = ()
    """core/v1 LocalObjectReference."""
    priority_class_name: str | None = None
    """Priority of the worker pods."""
    service_account_name: str | None = None
    """Account of the worker pods, for clouds that give S3 credentials to accounts. Its token is never mounted."""
    runtime_class_name: str | None = None
    """For example gvisor or kata."""
    termination_grace_period_seconds: Annotated[int, Field(ge=0, le=86400)] = 60
    """How long a stopped worker may take to finish writing."""


class Sidecar(ApiModel):
    """A container beside the worker."""

    image: str | None = Field(default=None, max_length=500)
    """Its image; the operator's default if unset."""
    resources: dict[str, Any] = Field(default_factory=dict)
    """Its requests and limits (core/v1 ResourceRequirements), in the place of ours."""


class ContainerSidecar(ApiModel):
    """The containers of ``Container`` evaluators, whose images and commands the tasks name."""

    resources: dict[str, Any] = Field(default_factory=dict)
    """Requests and limits of each (core/v1 ResourceRequirements)."""


class Sidecars(ApiModel):
    """What stands beside the worker in its pod, where the run's tasks need it."""

    sandbox: Sidecar = Sidecar()
    """Runs model-written code, apart from the worker's credentials; with ``sandbox`` Auto or Sidecar."""
    mariadb: Sidecar = Sidecar()
    """The database server of ``AgentBenchDB`` tasks with ``server: MySQL``."""
    container: ContainerSidecar = ContainerSidecar()
    """The images of ``Container`` evaluators."""


class FailurePolicy(ApiModel):
    """How much may go wrong. Lost nodes, preemption, eviction and deleted pods never count."""

    attempts: Annotated[int, Field(ge=1, le=100)] = 3
    """Workers that may die with the same child before it is given up, or with any other work before the run fails."""
    max_quarantined: Annotated[int, Field(ge=0)] = 10
    """Children that may be given up before the run fails."""
    max_failures: Annotated[int, Field(ge=0)] = 50
    """Workers that may fail, for whatever reason, before the run fails; changing the spec starts a new count."""


class Workers(ApiModel):
    """How the run's Jobs are cut and placed. A laptop uses the first two fields only."""

    parallelism: Annotated[int, Field(ge=1, le=10_000)] = 1
    """Workers that may run at one time."""
    children_per_job: Annotated[int, Field(ge=1, le=10_000)] = 30
    """Longest block of children that one worker breeds with one warm engine."""
    gpus: Annotated[int, Field(ge=0, le=64)] = 0
    """``nvidia.com/gpu`` of each worker pod."""
    image: str | None = Field(default=None, max_length=500)
    """Worker image; the operator's default if unset."""
    queue_name: str | None = Field(default=None, max_length=63)
    """Kueue LocalQueue that admits the Jobs."""
    shared_memory_mebibytes: Annotated[int, Field(ge=0, le=1_048_576)] = 1024
    """Size of /dev/shm."""
    model_cache_claim_name: str | None = Field(default=None, max_length=253)
    """PersistentVolumeClaim for downloaded models, shared by the workers; an emptyDir if unset."""
    template: PodOverrides = PodOverrides()
    """Overrides of the worker pods."""
    sidecars: Sidecars = Sidecars()
    """Containers beside the worker; a laptop needs none."""
