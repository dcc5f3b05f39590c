"""When the status is written, and what Kubernetes' events and Prometheus get to know."""

from __future__ import annotations

import itertools

import pytest

from cycleqd_operator import labels
from cycleqd_operator.cluster import ClusterUnreachable
from tests.operator.operator_process import AT_ONCE, Operator, breeding, condition, started, status_of, until
from tests.operator.world import AWAY, World

SLOWLY = AT_ONCE.model_copy(update={"status_interval_seconds": 3600})


async def test_the_status_is_written_at_most_once_an_interval(world: World) -> None:
    world.apply()
    operator = await started(world, SLOWLY)
    await operator.look()
    world.work_off()
    pause = await operator.look()
    assert len(world.api.statuses) == 1
    assert pause is not None
    assert 0 < pause <= 3600
    operator.tracked().written_at -= 3600
    await operator.look()
    assert len(world.api.statuses) == 2


async def test_an_end_that_could_not_be_told_yet_is_told_later(world: World) -> None:
    world.apply(desiredState="Paused")
    operator = await started(world, SLOWLY)
    await operator.look()
    world.change(desiredState="Cancelled")
    await operator.look()
    assert status_of(world).state == "Paused"
    operator.tracked().written_at -= 3600
    await operator.look()
    assert status_of(world).state == "Cancelled"


async def test_a_status_of_which_nobody_knows_whether_it_was_written_is_written_again(world: World) -> None:
    operator = await breeding(world)
    world.store_trouble = AWAY
    operator.cluster.deaf = itertools.chain([True], itertools.repeat(False))
    with pytest.raises(ClusterUnreachable):
        await operator.look()
    assert condition(world, "Degraded").status == "True"
    world.store_trouble = None
    await operator.look()
    assert condition(world, "Degraded").status == "False"


async def test_events_that_cannot_be_recorded_harm_nothing(world: World) -> None:
    world.apply(children=0)
    world.api.refuses["events"] = 403, "events are forbidden"
    operator = await started(world)
    await until(world, operator, "Succeeded")


async def test_metrics_show_the_run(world: World) -> None:
    operator = await breeding(world, children=3)
    world.work()
    await operator.look()
    text = operator.metrics.render().decode()
    assert 'run="demo"' in text


def counters(operator: Operator) -> dict[tuple[str, str], float]:
    """Return what is counted of the run, by name and bucket."""
    return {
        (sample.name, sample.labels.get("le", "")): sample.value
        for family in operator.metrics.registry.collect()
        if family.type in ("counter", "histogram")
        for sample in family.samples
        if sample.labels.get("run") == "demo"
    }


async def test_an_operator_that_starts_counts_the_same(world: World) -> None:
    first = await breeding(world)
    world.work()
    world.work()
    await first.look()
    before = counters(first)
    assert before["cycleqd_run_evaluation_seconds_count", ""] >= 4
    assert before["cycleqd_run_gpu_busy_seconds_total", ""] > 0
    first.stop()

    world.store_trouble = AWAY
    second = await started(world)
    await second.look()
    assert set(counters(second)) == {("cycleqd_run_worker_failures_total", "")}, "nothing begins at zero"
    world.store_trouble = None
    await second.look()
    assert counters(second) == before


async def test_metrics_tell_the_gpus_of_running_workers_only(world: World) -> None:
    operator = await breeding(world, workers={"parallelism": 2, "childrenPerJob": 3, "gpus": 4})
    assert 'cycleqd_run_gpus{namespace="research",run="demo"} 0.0' in operator.metrics.render().decode()
    world.make_pods()
    await operator.look()
    text = operator.metrics.render().decode()
    assert 'cycleqd_run_gpus{namespace="research",run="demo"} 8.0' in text
    assert 'cycleqd_run_jobs{namespace="research",role="breed",run="demo",state="running"} 2.0' in text


async def test_jobs_carry_the_generation_they_were_made_from(world: World) -> None:
    operator = await breeding(world, children=12, workers={"parallelism": 1, "childrenPerJob": 3})
    world.change(parallelism=2)
    await operator.look()
    found = {job["metadata"]["name"]: job["metadata"]["annotations"] for job in world.active_jobs}
    assert found["demo-breed-3"][labels.GENERATION] == "1"
    assert found["demo-breed-6"][labels.GENERATION] == "2"
