"""One look at one run: find out what there is, plan, do what is missing, tell.

Level-triggered: a look begins with what Kubernetes and the store hold, and would come to the same end if it were the
operator's first. Jobs are taken in before the store is read, so that a Job that was seen to end has its results read.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, replace
from datetime import datetime

from cycleqd import keys
from cycleqd.api import CycleQDRun, RunSpec
from cycleqd.errors import BadData, BadManifest, CycleQDError, RunMismatch, UnsupportedHere
from cycleqd.failures import Failure, Verdict, judge
from cycleqd.plan import Observed, plan
from cycleqd.store import ObjectStore
from cycleqd_operator.cluster import Cluster
from cycleqd_operator.ended_jobs import failure_of
from cycleqd_operator.hands import Hands
from cycleqd_operator.job_view import JobView
from cycleqd_operator.metrics import Metrics
from cycleqd_operator.missing_sidecars import missing_sidecar
from cycleqd_operator.pod_view import trouble_of_job
from cycleqd_operator.removal import protect, remove
from cycleqd_operator.run_store import RunStore, StoreView
from cycleqd_operator.settings import Settings
from cycleqd_operator.standing import Standing, Trouble
from cycleqd_operator.status import next_status, refused
from cycleqd_operator.stores import MeasuredStore, check_model_secrets, open_run_store
from cycleqd_operator.tracked import Fleet, OpenRun, TrackedRun
from cycleqd_operator.voice import Voice

HOPELESS = (BadManifest, RunMismatch, UnsupportedHere, BadData)
"""What a store says that no waiting helps against; anything else degrades the run until it is better."""

SLOW_START_SECONDS = 30
"""A Job whose pod is not ready for so long is asked what it waits for."""
PODS_SECONDS = 20
"""Between two questions of that kind about one run."""
TROUBLE_SECONDS = 10
"""Between two looks at a run that something is wrong with."""
STOPPING_SECONDS = 2
"""Between two looks at a run whose workers are stopping."""


@dataclass(frozen=True)
class Look:
    """What a look came to.

    Attributes:
        standing: for the status.
        again: in how many seconds to look again at the latest; None: nothing is to be expected.
    """

    standing: Standing
    again: float | None = None


class Reconciler:
    """Looks at runs. Keeps nothing of them; :class:`~cycleqd_operator.tracked.TrackedRun` does."""

    def __init__(self, cluster: Cluster, fleet: Fleet, settings: Settings, metrics: Metrics) -> None:
        """Use what all runs share."""
        self._cluster = cluster
        self._fleet = fleet
        self._settings = settings
        self._metrics = metrics
        self._hands = Hands(cluster, fleet, settings)
        self._voice = Voice(cluster, settings, metrics)

    async def look(self, run: TrackedRun) -> float | None:
        """Look at a run once; return in how many seconds to look again, None: nothing is to be expected.

        Raises:
            Gone: the run does not exist any more.
            CycleQDError: the API server or, for a run that is being deleted, the store could not do something.
        """
        if run.body["metadata"].get("deletionTimestamp"):
            return await remove(self._cluster, self._hands, run)
        if run.is_over:
            return await self._rest(run)
        try:
            manifest = run.placing.read(run.body)
        except BadManifest as error:
            await self._hands.stop(run.active)
            return await self._voice.tell(run, refused(run.status, run.generation, str(error), time.time()))
        await protect(self._cluster, run)
        look = await self._look(run, manifest)
        status = next_status(run.status, look.standing)
        self._voice.show(run, status, manifest.spec.search.children)
        late = await self._voice.tell(run, status)
        return min((seconds for seconds in (look.again, late) if seconds is not None), default=None)

    async def _rest(self, run: TrackedRun) -> float | None:
        """Leave a run that has ended alone, until its time to live is over."""
        run.opened = None
        await self._hands.stop(run.active)
        if run.status:
            self._voice.show(run, run.status, run.children)
        left = _seconds_left(
            run.status.finished_at if run.status else None, run.body["spec"].get("ttlSecondsAfterFinished")
        )
        if left is not None and left <= 0:
            await self._cluster.delete_run(run.ref)
            return None
        return left

    async def _look(self, run: TrackedRun, manifest: CycleQDRun) -> Look:
        spec = manifest.spec
        standing = Standing(spec=spec, generation=run.generation, now=time.time(), storage_uri=spec.storage.uri)
        left = _seconds_left(run.status.started_at if run.status else None, spec.active_deadline_seconds)
        if left is not None and left <= 0:
            message = f"The run is not finished after {spec.active_deadline_seconds} s: raise activeDeadlineSeconds."
            return await self._end(run, manifest, replace(standing, fatal=("DeadlineExceeded", message)))
        if spec.desired_state == "Cancelled":
            return await self._end(run, manifest, replace(standing, phase="Cancelled"))
        rival = self._fleet.rival(run)
        if rival:
            message = f"The older run {rival.ref.namespace}/{rival.ref.name} uses {spec.storage.uri}: this one waits."
            return Look(_with(run, standing, (("StorageInUse", message),)), TROUBLE_SECONDS)
        try:
            look = await self._go_on(run, manifest, standing)
        except HOPELESS as error:
            await self._hands.stop(run.active)
            return Look(replace(standing, fatal=(type(error).__name__, str(error))))
        if left is not None:
            return replace(look, again=left if look.again is None else min(left, look.again))
        return look

    async def _end(self, run: TrackedRun, manifest: CycleQDRun, standing: Standing) -> Look:
        """Stop all workers and find out how far they came. A store that is away holds the end up for one look only."""
        stopping = await self._halt(run)
        standing = replace(standing, stopping=stopping)
        try:
            opened = await self._open(run, manifest)
            view = await asyncio.to_thread(opened.look, manifest.spec, idle=not stopping)
        except CycleQDError:
            run.opened = None
            return Look(standing, STOPPING_SECONDS if stopping else None)
        return Look(_as_stored(run, standing, view, opened), STOPPING_SECONDS if stopping else None)

    async def _halt(self, run: TrackedRun) -> bool:
        """Stop all workers; return whether some are still stopping. What they write meanwhile counts."""
        await self._hands.stop(run.active)
        pods = await self._cluster.pods_of_run(run.ref)
        return any(pod["status"].get("phase") in ("Pending", "Running") for pod in pods)

    async def _go_on(self, run: TrackedRun, manifest: CycleQDRun, standing: Standing) -> Look:
        """Read the store, plan, and do what is missing. Raises what is :data:`HOPELESS`."""
        spec = manifest.spec
        # Suspended runs stop at once, whether or not the store can be read.
        stopping = spec.desired_state == "Suspended" and await self._halt(run)
        # A Job that ends while the store is read still counts as running: its end is dealt with by the next look.
        active = run.active
        ended = [job for job in run.jobs.values() if job.state != "Active" and job.uid not in run.settled]
        try:
            opened = await self._open(run, manifest)
            view = await asyncio.to_thread(opened.look, spec, idle=not active)
            for job in ended:
                failure = await failure_of(self._cluster, job, view)
                if failure:
                    await asyncio.to_thread(opened.note, job.uid, failure)
                run.settled.add(job.uid)
            verdict = self._judge(spec, view, opened.failures, run.generation)
            if verdict.give_up:
                await asyncio.to_thread(opened.give_up, verdict.give_up, "Its workers died.")
                view = await asyncio.to_thread(opened.look, spec, idle=not active)
        except HOPELESS:
            raise
        except CycleQDError as error:
            run.opened = None  # the Secret is read again: somebody may correct it
            trouble = (type(error).__name__, str(error))
            return Look(_with(run, standing, (trouble,)), TROUBLE_SECONDS)
        observed = Observed(
            prepared=view.prepared,
            done=view.done,
            finalized=view.finalized,
            running=tuple(job.work for job in active),
            held=verdict.held,
        )
        decision = plan(spec, observed)
        troubles: list[Trouble] = []
        if verdict.fatal:
            stopping = await self._halt(run)
        else:
            await self._hands.stop(job for job in active if job.work in decision.stop)
            refused_jobs = await self._hands.start(run, spec, decision.start, opened.failures)
            troubles += [(type(error).__name__, str(error)) for error in refused_jobs]
            troubles += await self._slow_starts(run)
        if verdict.missing:
            troubles.append((verdict.missing.kind, verdict.missing.message))
        standing = replace(
            _as_stored(run, _with(run, standing, tuple(troubles)), view, opened),
            phase=decision.phase,
            fatal=verdict.fatal,
            stopping=stopping,
        )
        return Look(standing, STOPPING_SECONDS if stopping else self._pause(run, verdict, troubles))

    async def _open(self, run: TrackedRun, manifest: CycleQDRun) -> RunStore:
        if run.opened is None:
            await check_model_secrets(self._cluster, run.ref.namespace, manifest.spec)
            opened = await open_run_store(self._cluster, run.ref.namespace, manifest.spec.storage)
            store: ObjectStore = MeasuredStore(opened.store, self._metrics)
            run.opened = OpenRun(RunStore(store), opened.has_ca_bundle)
        await asyncio.to_thread(run.opened.store.claim, manifest, run.generation)
        return run.opened.store

    def _judge(self, spec: RunSpec, view: StoreView, failures: tuple[Failure, ...], generation: int) -> Verdict:
        return judge(
            failures,
            spec.failure_policy,
            Observed(prepared=view.prepared, done=view.done, finalized=view.finalized),
            generation=generation,
            quarantined=len(view.quarantined),
            now=time.time(),
        )

    async def _slow_starts(self, run: TrackedRun) -> list[Trouble]:
        """Return why pods do not start, if there are such: wrong image, no node, no Secret.

        Raises:
            UnsupportedHere: a sidecar does not come up, and nothing was computed yet that would be worth waiting.
        """
        slow = [job for job in run.active if not job.ready and not job.suspended and _age(job) > SLOW_START_SECONDS]
        now = asyncio.get_running_loop().time()
        if not slow:
            run.pod_trouble = None
        elif now - run.pods_seen_at > PODS_SECONDS:
            run.pods_seen_at = now
            pods = await self._cluster.pods_of_job(slow[0].namespace, slow[0].name)
            run.pod_trouble = trouble_of_job(slow[0], pods, time.time())
            missing = [sentence for sentence in map(missing_sidecar, pods) if sentence]
            if missing and slow[0].work.role == "prepare":
                raise UnsupportedHere(missing[-1])
        return [("WorkersNotStarting", run.pod_trouble)] if run.pod_trouble else []

    def _pause(self, run: TrackedRun, verdict: Verdict, troubles: list[Trouble]) -> float | None:
        pauses = []
        if run.active:
            pauses.append(float(self._settings.poll_seconds))
        if troubles:
            pauses.append(TROUBLE_SECONDS)
        if verdict.retry_at is not None:
            pauses.append(max(0.0, verdict.retry_at - time.time()))
        return min(pauses, default=None)


def _age(job: JobView) -> float:
    return time.time() - job.created_at


def _as_stored(run: TrackedRun, standing: Standing, view: StoreView, store: RunStore) -> Standing:
    """Return ``standing`` with what the store tells, and with the root of a run that is there."""
    uri = standing.spec.storage.uri.rstrip("/")
    return replace(
        standing,
        storage_root=run.placing.root,
        n_prepared=len(view.prepared),
        verdict=view.verdict,
        population=view.population,
        done=view.done,
        quarantined=view.quarantined,
        n_broken=view.n_broken,
        damaged=view.damaged,
        failures=len(store.failures),
        seconds_per_child=view.seconds_per_child,
        evaluation_share=view.evaluation_share,
        model_uri=f"{uri}/{keys.MODEL}" if view.finalized else "",
    )


def _with(run: TrackedRun, standing: Standing, troubles: tuple[Trouble, ...]) -> Standing:
    """Return ``standing`` with what is known of the Jobs, and with troubles."""
    active = run.active
    return replace(
        standing, active_jobs=len(active), ready_jobs=sum(job.ready > 0 for job in active), troubles=troubles
    )


def _seconds_left(since: str | None, seconds: int | None) -> float | None:
    """Return how long it is until so many seconds after an RFC 3339 time; None if either is not set."""
    if since is None or seconds is None:
        return None
    return datetime.fromisoformat(since).timestamp() + seconds - time.time()
