"""An operator without kopf and without waiting: tests let it hear events and look at runs when they want."""

from __future__ import annotations

import copy
from typing import Any

from cycleqd.api.status import Condition, ConditionType, RunStatus
from cycleqd_operator.cluster import PLURAL, Gone
from cycleqd_operator.job_view import JobView
from cycleqd_operator.metrics import Metrics
from cycleqd_operator.placing import Placing
from cycleqd_operator.reconcile import Reconciler
from cycleqd_operator.settings import Settings
from cycleqd_operator.supervisor import Supervisor
from cycleqd_operator.tracked import Fleet, TrackedRun
from tests.operator.api_server import Body, LocalCluster
from tests.operator.world import World, is_selected

AT_ONCE = Settings(worker_image="localhost/cycleqd-runner:test", status_interval_seconds=1e-9)


class Operator:
    """The parts of one process, from its start to its end."""

    def __init__(self, world: World, settings: Settings = AT_ONCE) -> None:
        self.world = world
        self.settings = settings
        self.fleet = Fleet(Placing.of(settings))
        self.cluster = LocalCluster(world.api)
        self.metrics = Metrics()
        self.reconciler = Reconciler(self.cluster, self.fleet, settings, self.metrics)
        self._supervisor = Supervisor(self.fleet, self.reconciler, self.cluster, settings, self.metrics)
        self._inbox: list[tuple[str, str, Body]] = []
        world.api.watchers.append(self._on_event)

    def _on_event(self, event: str, plural: str, body: Body) -> None:
        if plural == PLURAL or (plural == "jobs" and is_selected(body)):
            self._inbox.append((event, plural, body))

    def stop(self) -> None:
        """End the process: nothing is told to it any more."""
        self.world.api.watchers.remove(self._on_event)

    async def start(self) -> None:
        """List Jobs, then runs, as the process and kopf do."""
        await self._supervisor.resync()
        self.reconnect()
        self.hear()

    async def resync(self) -> None:
        await self._supervisor.resync()

    def hear(self, events: int | None = None) -> None:
        """Take in that many of the events that were not heard yet; all if None."""
        heard = self._inbox[:events]
        del self._inbox[: len(heard)]
        for event, plural, body in heard:
            if plural == "jobs":
                job = JobView.of(body)
                if job:
                    self._supervisor.see_job(job, deleted=event == "DELETED")
            elif event == "DELETED":
                self._supervisor.forget_run(body["metadata"]["uid"])
            else:
                self.fleet.see_run(body)

    def reconnect(self) -> None:
        """Let the watches break and begin again: what is there is listed, what vanished meanwhile is never told."""
        self._inbox.clear()
        for plural in ("jobs", PLURAL):
            for body in self.world.api.all(plural):
                self._on_event("ADDED", plural, copy.deepcopy(body))

    def ignore_jobs(self) -> None:
        """Hear nothing of the Jobs that nobody told of yet."""
        self._inbox = [event for event in self._inbox if event[1] != "jobs"]

    def tracked(self, name: str = "demo") -> TrackedRun:
        return next(run for run in self.fleet.runs.values() if run.ref.name == name)

    async def look(self, name: str = "demo") -> float | None:
        """Hear everything, and look at a run once."""
        self.hear()
        return await self.reconciler.look(self.tracked(name))

    async def tend(self, name: str = "demo") -> float | None:
        """Do the same as the run's own task does, which measures its looks."""
        self.hear()
        return await self._supervisor._look(self.tracked(name))

    async def look_at_all(self) -> None:
        """Look at every run that is known, without hearing anything before."""
        for run in list(self.fleet.runs.values()):
            try:
                await self.reconciler.look(run)
            except Gone:
                self._supervisor.forget_run(run.ref.uid)


def status_of(world: World, name: str = "demo") -> RunStatus:
    return RunStatus.model_validate(world.run(name)["status"])


def condition(world: World, kind: ConditionType, name: str = "demo") -> Condition:
    return next(found for found in status_of(world, name).conditions if found.type == kind)


async def started(world: World, settings: Settings = AT_ONCE) -> Operator:
    """Return an operator that has listed what there is."""
    operator = Operator(world, settings)
    await operator.start()
    return operator


def names(world: World) -> list[str]:
    """Return the names of the Jobs that have not ended, without the run's."""
    return [job["metadata"]["name"].removeprefix("demo-") for job in world.active_jobs]


async def until(world: World, operator: Operator, state: str, name: str = "demo") -> None:
    """Look at a run and let its Jobs come to their ends, until a look says that state and makes its Jobs."""
    for _ in range(50):
        await operator.look(name)
        if status_of(world, name).state == state:
            return
        world.work_off()
    raise AssertionError(f"{name} is {status_of(world, name).state}, not {state}")


async def breeding(world: World, **fields: Any) -> Operator:
    """Return an operator whose run breeds; its Jobs are made, its pods are not."""
    world.apply(**fields)
    operator = await started(world)
    await until(world, operator, "Breeding")
    return operator


async def ended(world: World, **fields: Any) -> Operator:
    """Return an operator whose run, by default one without children, has succeeded."""
    world.apply(**{"children": 0, **fields})
    operator = await started(world)
    await until(world, operator, "Succeeded")
    return operator
