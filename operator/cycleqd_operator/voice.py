"""How the operator tells what it knows of a run: status, events, metrics. What there is to tell others decide."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter

from cycleqd.api.status import RunStatus
from cycleqd.errors import CycleQDError
from cycleqd.plan import Role
from cycleqd_operator.cluster import Cluster
from cycleqd_operator.conditions import transitions
from cycleqd_operator.job_view import JobView
from cycleqd_operator.metrics import Metrics
from cycleqd_operator.run_metrics import JobState
from cycleqd_operator.settings import Settings
from cycleqd_operator.tracked import TrackedRun

logger = logging.getLogger(__name__)


class Voice:
    """Writes statuses, records events and shows metrics."""

    def __init__(self, cluster: Cluster, settings: Settings, metrics: Metrics) -> None:
        """Use what all runs share."""
        self._cluster = cluster
        self._settings = settings
        self._metrics = metrics

    def show(self, run: TrackedRun, status: RunStatus, children: int) -> None:
        """Show Prometheus how a run stands that shall have so many children."""
        ref = run.ref
        jobs: Counter[tuple[Role, JobState]] = Counter((job.work.role, _state(job)) for job in run.active)
        self._metrics.show(
            ref.namespace,
            ref.name,
            status,
            wanted=children,
            jobs=jobs,
            gpus=run.gpus * sum(job.ready > 0 for job in run.active),
            tally=run.opened.store.tally if run.opened else None,
        )

    async def tell(self, run: TrackedRun, status: RunStatus) -> float | None:
        """Write the status and record events, if there is news.

        Returns:
            In how many seconds the run has to be looked at again: it is too early to write, or it has just ended.

        Raises:
            Gone: the run does not exist any more.
            ClusterUnreachable: whether the status was written is not known; it will be written again.
        """
        if status == run.status and run.is_told:
            return None
        loop = asyncio.get_running_loop()
        early = run.written_at + self._settings.status_interval_seconds - loop.time()
        if run.written_at and early > 0:
            return early
        events = transitions(run.status, status)
        run.is_told = False
        await self._cluster.write_status(run.ref, status.model_dump(mode="json", by_alias=True, exclude_none=True))
        run.status, run.is_told, run.written_at = status, True, loop.time()
        self._metrics.status_written()
        for event in events:
            logger.info("%s/%s: %s: %s", run.ref.namespace, run.ref.name, event.reason, event.message)
            try:
                await self._cluster.record(run.ref, event)
            except CycleQDError as error:  # the status tells the same: nothing is repeated for an event's sake
                logger.warning("%s/%s: %s", run.ref.namespace, run.ref.name, error)
        return 0.0 if run.is_over else None


def _state(job: JobView) -> JobState:
    if job.ready:
        return "running"
    return "queued" if job.suspended else "pending"
