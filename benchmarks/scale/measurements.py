"""What is measured at scale. Each measurement gets a fresh operator; the last two leave their Jobs behind."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass

import numpy as np

from benchmarks.report import Figure, at_most
from benchmarks.scale.journal import Journal
from benchmarks.scale.process import Operator, Sample
from benchmarks.scale.scene import TASKS, Scene
from benchmarks.scale.workers import Workers, between
from cycleqd_operator.labels import RUN, SELECTOR

FIRST_PODS = 12
BUSY_JOBS = 50
JOB_SECONDS = (4.0, 12.0)
"""Of the workers while succession is measured: six Jobs end in a second. In the paper a Job takes hours."""
RUNS, JOBS_PER_RUN, CHILDREN = 200, 10, 1200
SLOW_SECONDS = (900.0, 1100.0)
CHILDREN_PER_JOB = 15
"""The workers of many runs write 30 results a second together, where those of the paper would write fewer than two."""
SETTLING_SECONDS = 10
"""From the last of many runs' Jobs until they are watched."""
FOREIGN_JOBS, FOREIGN_CHANGES = 5000, 20.0


@dataclass(frozen=True)
class Stage:
    """What all measurements share.

    Attributes:
        scene: where they happen.
        operator: that is measured.
        seconds: how long a steady state is watched.
    """

    scene: Scene
    operator: Operator
    seconds: float


async def idle(stage: Stage) -> list[Figure]:
    """An operator without runs, alone and beside Jobs of strangers in the namespace that it watches, which stay."""
    alone = await _use(stage)
    await stage.scene.create_foreign_jobs(FOREIGN_JOBS)
    await asyncio.sleep(10)
    changes = asyncio.create_task(stage.scene.touch_foreign_jobs(FOREIGN_CHANGES))
    with_them = await _use(stage)
    changes.cancel()
    more = _cpu_per_minute(with_them) - _cpu_per_minute(alone)
    what = f"{FOREIGN_JOBS} foreign Jobs, {FOREIGN_CHANGES:.0f} changes a second"
    return [
        at_most(f"resident, idle for {stage.seconds:.0f} s", alone.resident, "MiB", 150),
        Figure("processor, idle", _cpu_per_minute(alone), "s/min"),
        at_most(f"processor, more with {what}", more, "s/min", 0.3),
        at_most(f"resident, more with {what}", with_them.resident - alone.resident, "MiB", 2),
    ]


async def first_pod(stage: Stage) -> list[Figure]:
    """From the request that creates a run to its first pod, for which the API server is asked all the time."""
    waits = []
    for n in range(FIRST_PODS):
        name = f"first-{n}"
        manifest = stage.scene.manifest(name, children=10, parallelism=3, children_per_job=3)
        begin = time.monotonic()
        await stage.scene.create_runs([manifest])
        selector = f"{SELECTOR},{RUN}={name}"
        while not await stage.scene.api.has_any(stage.scene.pods, selector):  # noqa: ASYNC110 - see above
            await asyncio.sleep(0.02)
        waits.append(time.monotonic() - begin)
        await stage.scene.delete_runs([name])
    return [
        Figure(f"created run to first pod, median of {FIRST_PODS}", float(np.median(waits)), "s"),
        at_most(f"created run to first pod, longest of {FIRST_PODS}", max(waits), "s", 3),
    ]


async def whole_run(stage: Stage) -> list[Figure]:
    """A whole run whose workers take no time: what is left is the operator's and the cluster's."""
    async with _workers(stage, lambda _: 0.0) as journal:
        manifest = stage.scene.manifest("whole", children=100, parallelism=10, children_per_job=5)
        begin = time.monotonic()
        await stage.scene.create_runs([manifest])
        await _until(lambda: journal.states.get("whole") in ("Succeeded", "Failed"))
        seconds = time.monotonic() - begin
        if journal.states["whole"] == "Failed" or journal.failed:
            raise SystemExit(f"The run of fake workers failed; the end of the log:\n{stage.operator.tail()}")
    await stage.scene.delete_runs(["whole"])
    return [Figure("whole run of 100 children on 10 workers that take no time", seconds, "s")]


async def succession(stage: Stage) -> list[Figure]:
    """From a Job's end to its successor, with all Jobs in one run and in several."""
    figures = []
    for runs in (1, 10):
        names = [f"busy-{runs}-{n}" for n in range(runs)]
        share = BUSY_JOBS // runs
        for name in names:
            await asyncio.to_thread(stage.scene.prepare, name)
        async with _workers(stage, between(*JOB_SECONDS)) as journal:
            await stage.scene.create_runs(
                stage.scene.manifest(name, children=3_000, parallelism=share, children_per_job=3) for name in names
            )
            await _until(lambda: journal.running >= BUSY_JOBS)
            await asyncio.sleep(max(JOB_SECONDS))
            before = stage.operator.sample()
            await asyncio.sleep(stage.seconds)
            after = stage.operator.sample()
            await asyncio.sleep(5)  # successors of the last ones
            gaps = journal.gaps(names, share, before.at, after.at)
            writes = journal.writes_per_five_seconds(before.at, after.at)
        await stage.scene.delete_runs(names)
        what = f"end of a Job to its successor, {BUSY_JOBS} Jobs of {runs} run{'s' * (runs > 1)}"
        figures += [
            Figure(f"{what}, median of {len(gaps)}", float(np.median(gaps)), "s"),
            at_most(f"{what}, 99th percentile", float(np.percentile(gaps, 99)), "s", 1),
            Figure("a look meanwhile, mean", _ms_per_look(before, after), "ms"),
            Figure("processor meanwhile", (after.cpu - before.cpu) / (after.at - before.at), "cores"),
            at_most("status writes meanwhile, per run and 5 s", writes, "", 1),
        ]
    return figures


async def many(stage: Stage) -> list[Figure]:
    """Two hundred runs of the paper's length that are half done, with ten Jobs each.

    They go with their namespace, as the foreign Jobs of :func:`idle` do: waiting until a cluster has collected 2,000
    Jobs takes minutes.
    """
    names = [f"many-{n}" for n in range(RUNS)]
    await asyncio.gather(*(asyncio.to_thread(stage.scene.prepare, name, CHILDREN // 2) for name in names))
    async with _workers(stage, between(*SLOW_SECONDS)) as journal:
        begin = time.monotonic()
        await stage.scene.create_runs(
            stage.scene.manifest(name, children=CHILDREN, parallelism=JOBS_PER_RUN, children_per_job=CHILDREN_PER_JOB)
            for name in names
        )
        await _until(lambda: journal.running >= RUNS * JOBS_PER_RUN)
        created = time.monotonic() - begin
        await asyncio.sleep(SETTLING_SECONDS)
        before = stage.operator.sample()
        await asyncio.sleep(2 * stage.seconds)
        after = stage.operator.sample()
        writes = journal.writes_per_five_seconds(before.at, after.at)
    what = f"{RUNS} runs with {RUNS * JOBS_PER_RUN} Jobs and {RUNS * CHILDREN // 2} results"
    return [
        Figure(f"{what}: all created after", created, "s"),
        at_most(f"{what}: resident", after.resident, "MiB", 250),
        Figure(f"{what}: processor", (after.cpu - before.cpu) / (after.at - before.at), "cores"),
        Figure(f"{what}: a look, mean", _ms_per_look(before, after), "ms"),
        at_most(f"{what}: status writes, per run and 5 s", writes, "", 1),
    ]


MEASUREMENTS: dict[str, Callable[[Stage], Awaitable[list[Figure]]]] = {  # in this order
    "first-pod": first_pod,
    "whole-run": whole_run,
    "succession": succession,
    "idle": idle,
    "many": many,
}


@dataclass(frozen=True)
class _Use:
    """What the operator used in a span of time, and MiB at its end."""

    cpu: float
    seconds: float
    resident: float


async def _use(stage: Stage) -> _Use:
    before = stage.operator.sample()
    await asyncio.sleep(stage.seconds)
    after = stage.operator.sample()
    return _Use(after.cpu - before.cpu, after.at - before.at, after.resident)


def _cpu_per_minute(use: _Use) -> float:
    return 60 * use.cpu / use.seconds


def _ms_per_look(before: Sample, after: Sample) -> float:
    return 1000 * (after.look_seconds - before.look_seconds) / max(1.0, after.looks - before.looks)


async def _until(condition: Callable[[], bool], limit: float = 300) -> None:
    deadline = time.monotonic() + limit
    while not condition():
        if time.monotonic() > deadline:
            raise SystemExit(f"What should have happened within {limit} s did not.")
        await asyncio.sleep(0.1)


@contextlib.asynccontextmanager
async def _workers(stage: Stage, seconds: Callable[[int], float]) -> AsyncIterator[Journal]:
    """Let workers work and note what happens."""
    journal = Journal(stage.scene)
    workers = Workers(stage.scene.api, stage.scene.namespace, TASKS, seconds, stage.scene.credentials)
    tasks = [asyncio.create_task(task) for task in (workers.attend(), journal.watch_jobs(), journal.watch_runs())]
    try:
        yield journal
        for task in tasks:
            if task.done():
                task.result()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await workers.stop()
