"""What the person who installs the operator decides, from the environment: ``CYCLEQD_`` and the name of the field.

What a run decides for itself is its spec's business.
"""

from __future__ import annotations

import re
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, BeforeValidator, Field, ValidationError, model_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from cycleqd.errors import BadManifest

_DNS_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
_DNS_SUBDOMAIN = re.compile(r"(?=.{1,253}$)[a-z0-9]([-.a-z0-9]*[a-z0-9])?")
_STORAGE_ROOT = re.compile(r"(?=.{1,256}$)s3://[A-Za-z0-9._-]+(/[!-~]*)?")
"""Short and plain: it becomes a part of every run's status."""


class BadSettings(BadManifest):
    """The operator's environment holds something that it cannot work with."""


def _split(value: object) -> object:
    """Return the parts of a comma list; anything else as it is."""
    return [part.strip() for part in value.split(",") if part.strip()] if isinstance(value, str) else value


def _dns_label(name: str) -> str:
    if not _DNS_LABEL.fullmatch(name):
        raise ValueError("expected names of lower-case letters, digits and hyphens, at most 63 characters each")
    return name


def _secret_name(name: str) -> str | None:
    if name and not _DNS_SUBDOMAIN.fullmatch(name):
        raise ValueError("expected the name of a Secret: lower-case letters, digits, hyphens and dots")
    return name or None


def _storage_root(uri: str) -> str:
    if uri and not _STORAGE_ROOT.fullmatch(uri):
        raise ValueError("expected s3://BUCKET or s3://BUCKET/PREFIX, at most 256 plain characters")
    return uri


Namespace = Annotated[str, AfterValidator(_dns_label)]
PullPolicy = Literal["IfNotPresent", "Always", "Never"]
Seconds = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class Settings(BaseSettings):
    """The operator's settings."""

    model_config = SettingsConfigDict(
        env_prefix="CYCLEQD_", frozen=True, use_attribute_docstrings=True, str_strip_whitespace=True
    )

    namespaces: Annotated[tuple[Namespace, ...], NoDecode, BeforeValidator(_split)] = ()
    """Namespaces whose runs are served, with commas; empty: all."""
    worker_image: Annotated[str, Field(min_length=1)]
    """Image of the workers of runs that name none."""
    worker_image_pull_policy: PullPolicy = "IfNotPresent"
    """When nodes pull the workers' image."""
    sandbox_image: str = ""
    """Image of the sandbox beside workers; empty: runs with ``sandbox: Auto`` have theirs inside the worker."""
    sandbox_image_pull_policy: PullPolicy = "IfNotPresent"
    """When nodes pull it."""
    mariadb_image: Annotated[str, Field(min_length=1)] = "mariadb:11.8"
    """Image of the database server beside workers of ``AgentBenchDB`` tasks."""
    mariadb_image_pull_policy: PullPolicy = "IfNotPresent"
    """When nodes pull it."""
    storage_root: Annotated[str, AfterValidator(_storage_root)] = ""
    """Where relative URIs of manifests start, ``s3://BUCKET/PREFIX``; empty: such manifests are refused."""
    storage_secret_name: Annotated[str | None, BeforeValidator(_secret_name)] = None
    """Secret in the run's namespace that opens the storage of runs that name none; empty: the cloud's own identity."""
    job_ttl_seconds: Annotated[int, Field(ge=0)] = 600
    """How long an ended Job and its logs stay; long enough for the operator to read how the worker ended."""
    poll_seconds: Seconds = 10
    """How often the store of a run is looked at while workers write to it."""
    status_interval_seconds: Seconds = 5
    """Least time between two writes of a run's status."""
    resync_seconds: Seconds = 60
    """How often all Jobs are listed, in case a watch has missed something."""
    concurrency: Annotated[int, Field(ge=1, le=1000)] = 16
    """Runs that are looked at at the same time."""
    store_threads: Annotated[int, Field(ge=1, le=1000)] = 16
    """Requests to stores at the same time."""
    leader_election: bool = False
    """Whether several operators agree on one that acts; the chart turns it on."""
    lease_namespace: Namespace | None = None
    """Where the Lease lies on which they agree; needed for the election."""
    lease_name: Namespace = "cycleqd-operator"
    """Name of that Lease."""
    port: Annotated[int, Field(ge=1, le=65535)] = 8080
    """Of /healthz, /readyz and /metrics."""
    log_level: Annotated[
        Literal["DEBUG", "INFO", "WARNING", "ERROR"], BeforeValidator(lambda level: str(level).strip().upper())
    ] = "INFO"
    """Least severe messages that are logged."""
    log_format: Literal["json", "plain"] = "json"
    """One JSON object a line, or text for people."""

    @model_validator(mode="after")
    def _election_has_a_place(self) -> Self:
        if self.leader_election and self.lease_namespace is None:
            raise ValueError("the leader election needs a place: set CYCLEQD_LEASE_NAMESPACE, or turn it off")
        return self

    @classmethod
    def load(cls) -> Self:
        """Return what the environment says.

        Raises:
            BadSettings: a variable is missing or has a value that cannot be.
        """
        try:
            return cls()
        except ValidationError as error:
            raise BadSettings(
                " ".join(_sentence(problem["loc"], problem["msg"]) for problem in error.errors())
            ) from None


def _sentence(location: tuple[int | str, ...], message: str) -> str:
    """Return one problem as a sentence that names the variable; values may be anything and are not repeated."""
    reason = message.removeprefix("Value error, ")
    if not location:
        return f"{reason[0].upper()}{reason[1:]}."
    return f"CYCLEQD_{str(location[0]).upper()} cannot be used: {reason[0].lower()}{reason[1:]}."
