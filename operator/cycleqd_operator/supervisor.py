"""One task for each run: it looks at the run whenever something happened, and now and then although nothing did.

What a look finds and does is the reconciler's business; here it is decided when it looks, and what becomes of errors.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from contextvars import Context
from typing import Protocol

from cycleqd.errors import CycleQDError
from cycleqd_operator.cluster import Cluster, Gone
from cycleqd_operator.job_view import JobView
from cycleqd_operator.metrics import Metrics
from cycleqd_operator.settings import Settings
from cycleqd_operator.tracked import Body, Fleet, TrackedRun

logger = logging.getLogger(__name__)

CALM_SECONDS = 0.1
"""Pause after a look: events that come together cost one look."""
BACKOFF_SECONDS = 1.0
LONGEST_BACKOFF_SECONDS = 30.0
HEARTBEAT_SECONDS = 300.0
"""A run that needs nothing is looked at this often."""


class Looks(Protocol):
    """Looks at one run and does what is missing."""

    async def look(self, run: TrackedRun) -> float | None:
        """Return in how many seconds to look again, or None if nothing is to be expected without an event.

        Raises:
            Gone: the run does not exist any more.
            CycleQDError: what could not be done now.
        """
        ...


class Supervisor:
    """Tends all runs that it is told about."""

    def __init__(self, fleet: Fleet, reconciler: Looks, cluster: Cluster, settings: Settings, metrics: Metrics) -> None:
        """Know no run yet; :meth:`see_run` brings them."""
        self.last_pass = time.monotonic()
        self._fleet = fleet
        self._reconciler = reconciler
        self._cluster = cluster
        self._settings = settings
        self._metrics = metrics
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._slots = asyncio.Semaphore(settings.concurrency)

    def see_run(self, body: Body) -> None:
        """Take in that a run exists or has changed."""
        run = self._fleet.see_run(body)
        run.wake.set()
        uid = run.ref.uid
        if uid not in self._tasks:
            name, own = f"{run.ref.namespace}/{run.ref.name}", Context()  # kopf's would keep the run's first event
            self._tasks[uid] = asyncio.create_task(self._tend(run), name=name, context=own)
            self._metrics.set_runs(len(self._tasks))

    def forget_run(self, uid: str) -> None:
        """Take in that a run does not exist any more."""
        run = self._fleet.runs.get(uid)
        if run:
            self._metrics.forget(run.ref.namespace, run.ref.name)
        self._fleet.forget_run(uid)
        task = self._tasks.pop(uid, None)
        self._metrics.set_runs(len(self._tasks))
        if task and task is not asyncio.current_task():
            task.cancel()

    def see_job(self, job: JobView, *, deleted: bool = False) -> None:
        """Take in that one of our Jobs exists, has changed or is gone."""
        if deleted:
            self._fleet.forget_job(job)
        elif not self._fleet.see_job(job):
            return
        self._wake(job.run_uid)

    async def resync(self) -> None:
        """Compare what we know of the Jobs with what there is: a watch that was broken misses what vanished meanwhile.

        Raises:
            ClusterUnreachable: nothing was changed that is not true.
        """
        known, listed = self._fleet.jobs(), set()
        async for body in self._cluster.jobs(self._settings.namespaces):
            job = JobView.of(body)
            if job:
                listed.add(job.uid)
                self.see_job(job)
        for uid in self._fleet.forget_vanished(known, listed):
            self._wake(uid)

    async def keep_in_step(self) -> None:
        """Resync for ever. Also the operator's heartbeat: :attr:`last_pass` grows old when this loop hangs."""
        while True:
            await asyncio.sleep(self._settings.resync_seconds)
            try:
                await self.resync()
            except CycleQDError as error:  # a refusal, too: somebody may correct our permissions
                logger.warning("%s It is asked again in %s s.", error, self._settings.resync_seconds)
            self.last_pass = time.monotonic()

    async def stop(self) -> None:
        """End all tasks. Nothing is lost: every look begins with what is there."""
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _wake(self, run_uid: str) -> None:
        run = self._fleet.runs.get(run_uid)
        if run:
            run.wake.set()

    async def _tend(self, run: TrackedRun) -> None:
        backoff = BACKOFF_SECONDS
        while True:
            run.wake.clear()
            try:
                async with self._slots:
                    pause = await self._look(run)
                backoff = BACKOFF_SECONDS
            except Gone:
                self.forget_run(run.ref.uid)
                return
            except CycleQDError as error:
                logger.warning("%s/%s: %s It is tried again.", run.ref.namespace, run.ref.name, error)
                pause, backoff = backoff, min(2 * backoff, LONGEST_BACKOFF_SECONDS)
            except Exception:  # a bug must not end the care for a run: it is logged, counted and tried again
                logger.exception("%s/%s: the look failed.", run.ref.namespace, run.ref.name)
                pause, backoff = backoff, min(2 * backoff, LONGEST_BACKOFF_SECONDS)
            await asyncio.sleep(CALM_SECONDS)
            # Not wait_for: before Python 3.12 it forgets to be cancelled when the run is woken at the same moment.
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(HEARTBEAT_SECONDS if pause is None else pause):
                    await run.wake.wait()

    async def _look(self, run: TrackedRun) -> float | None:
        with self._metrics.reconcile(Gone):
            pause = await self._reconciler.look(run)
        self.last_pass = time.monotonic()
        return pause
