"""What the operator remembers of runs and Jobs between two looks. All of it can be found out again."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from pydantic import ValidationError

from cycleqd.api.status import RunStatus
from cycleqd_operator.job_view import JobView
from cycleqd_operator.placing import Placing
from cycleqd_operator.run_ref import RunRef
from cycleqd_operator.run_store import RunStore

Body = dict[str, Any]


@dataclass
class OpenRun:
    """A run's store as it is open now.

    Attributes:
        store: of the run.
        has_ca_bundle: whether its Secret brings certificates.
    """

    store: RunStore
    has_ca_bundle: bool


@dataclass
class TrackedRun:
    """One run.

    Attributes:
        body: the CycleQDRun as the API server last told.
        jobs: its Jobs by uid.
        placing: where it lies, unless its manifest says so itself.
        wake: set when something happened that is worth a look.
        opened: its store; None before the first look and after trouble with it.
        settled: uids of ended Jobs that were dealt with.
        status: what was last written, or found.
        is_told: whether the API server said that it has that status; if not, it may have it or a later one.
        written_at: when, on the event loop's clock in seconds; 0: not yet.
        pods_seen_at: when the pods of Jobs that do not start were last looked at, on the same clock.
        pod_trouble: what was found then.
    """

    body: Body
    jobs: dict[str, JobView]
    placing: Placing = field(default_factory=Placing)
    wake: asyncio.Event = field(default_factory=asyncio.Event)
    opened: OpenRun | None = None
    settled: set[str] = field(default_factory=set)
    status: RunStatus | None = None
    is_told: bool = True
    written_at: float = 0.0
    pods_seen_at: float = 0.0
    pod_trouble: str | None = None

    @property
    def ref(self) -> RunRef:
        """Which run it is."""
        return RunRef.of(self.body)

    @property
    def storage_uri(self) -> str:
        """Where its state lies."""
        return self.placing.storage_uri(self.body)

    @property
    def children(self) -> int:
        """How many the manifest asks for; 0 if it says nothing, as one that nobody gave its defaults."""
        return int(self.body["spec"].get("search", {}).get("children", 0))

    @property
    def gpus(self) -> int:
        """How many each worker asks for."""
        return int(self.body["spec"].get("workers", {}).get("gpus", 0))

    @property
    def is_over(self) -> bool:
        """Whether the run has ended and its spec has not changed since."""
        status = self.status
        return status is not None and status.finished_at is not None and status.observed_generation == self.generation

    @property
    def generation(self) -> int:
        """Of the spec."""
        return int(self.body["metadata"]["generation"])

    @property
    def active(self) -> list[JobView]:
        """Jobs that have not ended, in the order in which they were created."""
        views = (job for job in self.jobs.values() if job.state == "Active" and not job.deleting)
        return sorted(views, key=lambda job: (job.created_at, job.name))


@dataclass
class Fleet:
    """All runs, and all their Jobs. A Job may be seen before its run is.

    Attributes:
        placing: of runs that begin now.
        runs: by uid.
    """

    placing: Placing = field(default_factory=Placing)
    runs: dict[str, TrackedRun] = field(default_factory=dict)
    _jobs: defaultdict[str, dict[str, JobView]] = field(default_factory=lambda: defaultdict(dict))

    def see_run(self, body: Body) -> TrackedRun:
        """Take in what the API server says about a run."""
        uid = body["metadata"]["uid"]
        run = self.runs.get(uid)
        if run is None:
            status = _status_in(body)
            run = self.runs[uid] = TrackedRun(body, self._jobs[uid], self.placing.kept(status), status=status)
        run.body = body
        return run

    def forget_run(self, uid: str) -> None:
        """Drop a run that does not exist any more."""
        self.runs.pop(uid, None)
        self._jobs.pop(uid, None)

    def see_job(self, job: JobView) -> bool:
        """Take in a Job; return whether that was news. An ended Job never becomes active again."""
        jobs = self._jobs[job.run_uid]
        known = jobs.get(job.uid)
        if known == job or (known is not None and known.state != "Active" and job.state == "Active"):
            return False
        jobs[job.uid] = job
        return True

    def forget_job(self, job: JobView) -> None:
        """Drop a Job that does not exist any more."""
        self._jobs[job.run_uid].pop(job.uid, None)
        run = self.runs.get(job.run_uid)
        if run:
            run.settled.discard(job.uid)

    def jobs(self) -> list[JobView]:
        """Return all Jobs."""
        return [job for jobs in self._jobs.values() for job in jobs.values()]

    def forget_vanished(self, known: Iterable[JobView], listed: set[str]) -> list[str]:
        """Drop the Jobs that were ``known`` before a listing and are not ``listed``; return the uids of their runs."""
        vanished = [job for job in known if job.uid not in listed]
        for job in vanished:
            self.forget_job(job)
        return [job.run_uid for job in vanished]

    def rival(self, run: TrackedRun) -> TrackedRun | None:
        """Return the older run that uses the same storage and is not over, if there is one."""

        def age(candidate: TrackedRun) -> tuple[str, str]:
            metadata = candidate.body["metadata"]
            return str(metadata["creationTimestamp"]), str(metadata["uid"])

        rivals = (
            other
            for other in self.runs.values()
            if other is not run and other.storage_uri == run.storage_uri and age(other) < age(run) and not other.is_over
        )
        return min(rivals, key=age, default=None)


def _status_in(body: Body) -> RunStatus | None:
    """Return the status that is written in the run; None if it has none, or one of another version."""
    try:
        return RunStatus.model_validate(body["status"])
    except (KeyError, ValidationError):
        return None
