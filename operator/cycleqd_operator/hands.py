"""What the operator does to Jobs: create what the plan wants, adopt what is there already, delete what should stop."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterable, Sequence

from cycleqd.api import RunSpec
from cycleqd.errors import CycleQDError, PermanentError
from cycleqd.failures import Failure
from cycleqd.plan import Work
from cycleqd_operator.cluster import Cluster, Gone, NameTaken, Refused
from cycleqd_operator.job_view import JobView
from cycleqd_operator.jobs import build_job, is_ours
from cycleqd_operator.settings import Settings
from cycleqd_operator.tracked import Body, Fleet, TrackedRun


class ForeignJob(PermanentError):
    """A Job of the name that the plan needs belongs to somebody else."""


class Hands:
    """Creates and deletes the Jobs of runs."""

    def __init__(self, cluster: Cluster, fleet: Fleet, settings: Settings) -> None:
        """Use what all runs share."""
        self._cluster = cluster
        self._fleet = fleet
        self._settings = settings

    async def start(
        self, run: TrackedRun, spec: RunSpec, work: Sequence[Work], failures: Iterable[Failure]
    ) -> list[CycleQDError]:
        """Create a Job for each piece of work; return what was refused."""
        if not work or run.opened is None:
            return []
        attempts = Counter(failure.subject for failure in failures)
        jobs = [
            build_job(
                run.ref,
                spec,
                piece,
                attempt=attempts[piece.key],
                settings=self._settings,
                has_ca_bundle=run.opened.has_ca_bundle,
            )
            for piece in work
        ]
        outcomes = await asyncio.gather(*(self._create(job) for job in jobs))
        return [outcome for outcome in outcomes if outcome is not None]

    async def stop(self, jobs: Iterable[JobView]) -> None:
        """Delete Jobs and with them their pods, which get their grace period."""
        jobs = list(jobs)
        await asyncio.gather(*(self._cluster.delete_job(job.namespace, job.name, job.uid) for job in jobs))
        for job in jobs:
            self._fleet.forget_job(job)

    async def _create(self, job: Body) -> CycleQDError | None:
        try:
            self._see(await self._cluster.create_job(job))
        except NameTaken:
            return await self._adopt(job)
        except Refused as error:
            return error
        return None

    async def _adopt(self, job: Body) -> CycleQDError | None:
        """Take over the Job that has the name already, if it is ours: we made it, and died before we knew."""
        namespace, name = job["metadata"]["namespace"], job["metadata"]["name"]
        try:
            there = await self._cluster.job(namespace, name)
        except Gone:  # it was on its way out, and the name is free now
            return await self._create(job)
        if not is_ours(there, job) or there["metadata"].get("deletionTimestamp"):
            return ForeignJob(
                f"The Job {name} belongs to something else or is being deleted: the run goes on when it is gone; "
                "delete it, or give the run another name."
            )
        view = self._see(there)
        if view and view.state != "Active":  # of an earlier attempt at the same work, for example before more children
            await self.stop([view])
        return None

    def _see(self, body: Body) -> JobView | None:
        view = JobView.of(body)
        if view:
            self._fleet.see_job(view)
        return view
