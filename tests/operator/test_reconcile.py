"""One look after another at runs that nothing is wrong with, and what a change of the spec does."""

from __future__ import annotations

from typing import Any

import pytest

from cycleqd import keys
from cycleqd.records import BROKEN
from cycleqd_operator.reconcile import STOPPING_SECONDS
from tests.core.support import make_result, write_report
from tests.operator.operator_process import AT_ONCE, breeding, condition, ended, names, started, status_of, until
from tests.operator.world import AWAY, World


def reasons(world: World) -> list[str]:
    return [event["reason"] for event in world.api.events]


async def test_a_run_goes_from_its_manifest_to_its_model(world: World) -> None:
    world.apply(children=6)
    operator = await started(world)
    seen = []
    for _ in range(8):
        await operator.look()
        seen.append((status_of(world).state, *names(world)))
        world.work_off()
    await operator.look()
    assert seen == [
        ("Preparing", "prepare-0"),
        ("Preparing", "prepare-1"),
        ("Preparing", "prepare-2"),
        ("Evaluating", "evaluate-0"),
        ("Evaluating", "evaluate-1"),
        ("Evaluating", "evaluate-2"),
        ("Breeding", "breed-3"),
        ("Finalizing", "finalize"),
    ]
    status = status_of(world)
    assert (status.state, status.progress, status.children, status.failures) == ("Succeeded", "6/6", 6, 0)
    assert status.model_uri == "s3://runs/demo/final/model"
    assert status.timings.seconds_per_child == 10
    assert status.timings.evaluation_share == 0.8
    assert status.coverage is not None
    assert condition(world, "Succeeded").status == "True"
    assert world.active_jobs == []
    expected = ["Preparing", "ExpertsPrepared", "Evaluating", "ExpertsEvaluated", "Breeding", "Finalizing", "Succeeded"]
    assert reasons(world) == expected


async def test_broken_children_are_counted_and_done(world: World) -> None:
    world.apply(children=3)
    operator = await started(world)
    broken = make_result(4, [0.5, 0.5, None], why=BROKEN)
    world.storage.put_once(keys.result(4), broken.model_dump_json().encode())
    for _ in range(9):
        await operator.look()
        world.work_off()
    status = status_of(world)
    assert (status.state, status.progress, status.broken, status.quarantined) == ("Succeeded", "3/3", 1, 0)


async def test_workers_run_side_by_side_up_to_the_parallelism(world: World) -> None:
    world.apply(children=12, workers={"parallelism": 2, "childrenPerJob": 3})
    operator = await started(world)
    await operator.look()
    assert names(world) == ["prepare-0", "prepare-1"]
    await until(world, operator, "Breeding")
    assert names(world) == ["breed-3", "breed-4"]


async def test_the_next_block_starts_when_one_ends(world: World) -> None:
    operator = await breeding(world, children=12, workers={"parallelism": 2, "childrenPerJob": 3})
    world.make_pods()
    for _ in range(4):
        world.step(world.live_pods[0])
    await operator.look()
    assert names(world) == ["breed-4", "breed-9"]
    assert status_of(world).children == 3


async def test_a_second_look_does_nothing_again(world: World) -> None:
    operator = await breeding(world)
    world.api.requests.clear()
    pause = await operator.look()
    assert world.api.requests == []
    assert pause == AT_ONCE.poll_seconds


async def test_a_look_knows_at_once_what_the_one_before_it_did(world: World) -> None:
    operator = await breeding(world, workers={"parallelism": 2})
    world.api.requests.clear()
    await operator.reconciler.look(operator.tracked())  # without hearing of the Jobs that were made
    assert [request for request in world.api.requests if request.startswith("POST")] == []
    world.change(desiredState="Suspended")
    await operator.look()
    assert operator.tracked().active == []


async def test_a_run_ends_when_its_last_worker_has(world: World) -> None:
    world.apply(children=0)
    operator = await started(world)
    await until(world, operator, "Finalizing")
    world.make_pods()
    write_report(world.storage)  # the report is there, but its worker has not ended
    await operator.look()
    assert status_of(world).state == "Finalizing"
    world.work_off()
    await operator.look()
    assert status_of(world).state == "Succeeded"


async def test_the_figures_grow_while_a_worker_works(world: World) -> None:
    operator = await breeding(world, children=6)
    world.work()
    world.work()
    await operator.look()
    status = status_of(world)
    assert (status.children, status.progress, status.running) == (2, "2/6", 1)


class TestDesiredState:
    async def test_paused_lets_the_worker_finish_its_child_and_running_goes_on(self, world: World) -> None:
        operator = await breeding(world, children=4)
        world.work()
        world.change(desiredState="Paused")
        await operator.look()
        assert status_of(world).state == "Paused"
        assert names(world) == ["breed-3"]
        world.work()  # the worker sees that the run is paused
        assert names(world) == []
        await operator.look()
        status = status_of(world)
        assert (status.state, status.children, status.failures) == ("Paused", 1, 0)
        assert await operator.look() is None
        world.change(desiredState="Running")
        await operator.look()
        assert names(world) == ["breed-4"]

    async def test_a_worker_that_drained_before_its_first_child_is_followed_by_one_of_the_same_name(
        self, world: World
    ) -> None:
        operator = await breeding(world, children=4)
        first = world.active_jobs[0]["metadata"]["uid"]
        world.change(desiredState="Paused")
        await operator.look()
        world.work()
        world.change(desiredState="Running")
        await operator.look()  # deletes the ended Job
        await operator.look()  # hears that it is gone
        assert names(world) == ["breed-3"]
        assert world.active_jobs[0]["metadata"]["uid"] != first
        assert status_of(world).failures == 0

    async def test_suspended_stops_the_pods_and_loses_nothing(self, world: World) -> None:
        operator = await breeding(world, children=4, workers={"parallelism": 2, "childrenPerJob": 2})
        world.work()
        world.change(desiredState="Suspended")
        await operator.look()
        assert names(world) == []
        assert all("deletionTimestamp" in pod["metadata"] for pod in world.live_pods)
        world.stop_pods()
        world.change(desiredState="Running")
        await until(world, operator, "Succeeded")
        assert (status_of(world).children, status_of(world).failures) == (4, 0)

    async def test_suspending_needs_no_store(self, world: World) -> None:
        operator = await breeding(world)
        world.store_trouble = AWAY
        world.change(desiredState="Suspended")
        await operator.look()
        assert names(world) == []
        assert status_of(world).state == "Suspended"

    async def test_finished_finalizes_what_there_is(self, world: World) -> None:
        operator = await breeding(world, children=6)
        world.work()
        world.change(desiredState="Finished")
        await until(world, operator, "Succeeded")
        status = status_of(world)
        assert (status.children, status.progress) == (1, "1/6")
        assert condition(world, "Breeding").reason == "FinishedEarly"

    async def test_cancelled_ends_the_run_and_needs_no_store(self, world: World) -> None:
        operator = await breeding(world)
        world.store_trouble = AWAY
        world.change(desiredState="Cancelled")
        await operator.look()
        assert (status_of(world).state, names(world)) == ("Cancelled", [])
        world.api.requests.clear()
        assert await operator.look() is None
        assert world.api.requests == []

    @pytest.mark.parametrize(
        ("change", "children"),
        [
            pytest.param({"desiredState": "Cancelled"}, 0, id="cancelled: workers read that and write no more"),
            pytest.param({"activeDeadlineSeconds": 1}, 1, id="beyond its deadline: a last result counts"),
        ],
    )
    async def test_a_run_has_not_ended_before_its_workers_have(
        self, world: World, change: dict[str, Any], children: int
    ) -> None:
        operator = await breeding(world, children=6)
        world.make_pods()
        world.start_pods()
        world.pass_time(2)
        world.change(**change)
        assert await operator.look() == STOPPING_SECONDS
        assert (status_of(world).children, status_of(world).finished_at) == (0, None)
        world.stop_pods(last_words=True)
        await operator.look()
        assert status_of(world).children == children
        assert status_of(world).finished_at

    async def test_a_cancelled_run_can_go_on(self, world: World) -> None:
        operator = await breeding(world)
        world.change(desiredState="Cancelled")
        await operator.look()
        world.change(desiredState="Running")
        await until(world, operator, "Succeeded")
        assert status_of(world).children == 6


class TestChanges:
    async def test_more_parallelism_starts_more_workers(self, world: World) -> None:
        operator = await breeding(world, children=12, workers={"parallelism": 1, "childrenPerJob": 3})
        world.change(parallelism=3)
        await operator.look()
        assert names(world) == ["breed-3", "breed-6", "breed-7"]

    async def test_less_parallelism_stops_the_youngest(self, world: World) -> None:
        operator = await breeding(world, children=9, workers={"parallelism": 1, "childrenPerJob": 3})
        world.pass_time(1)
        world.change(parallelism=3)
        await operator.look()
        world.change(parallelism=1)
        await operator.look()
        assert names(world) == ["breed-3"]

    async def test_more_children_continue_a_run_that_has_ended(self, world: World) -> None:
        operator = await ended(world, children=3)
        first = status_of(world)
        world.pass_time(60)
        world.change(children=5)
        await operator.look()
        status = status_of(world)
        assert (status.state, names(world), status.finished_at) == ("Breeding", ["breed-6"], None)
        await until(world, operator, "Succeeded")
        status = status_of(world)
        assert (status.progress, status.started_at) == ("5/5", first.started_at)
        assert status.finished_at is not None
        assert first.finished_at is not None
        assert status.finished_at > first.finished_at

    async def test_the_report_is_written_again_for_more_children_although_its_job_is_there(self, world: World) -> None:
        operator = await ended(world, children=3)
        first = next(job for job in world.jobs if job["metadata"]["name"] == "demo-finalize")
        world.change(children=4)
        await until(world, operator, "Finalizing")
        await operator.look()
        assert names(world) == ["finalize"]
        assert world.active_jobs[0]["metadata"]["uid"] != first["metadata"]["uid"]

    async def test_a_change_of_what_decides_the_results_ends_the_run(self, world: World) -> None:
        operator = await breeding(world)
        world.run()["spec"]["search"]["seed"] = 7  # only an API server without our rules lets this through
        world.change(desiredState="Running")
        await operator.look()
        failed = condition(world, "Failed")
        assert (status_of(world).state, failed.reason) == ("Failed", "RunMismatch")
        assert "search.seed = 0, but the manifest says 7" in failed.message
        assert names(world) == []

    async def test_workers_find_the_new_spec(self, world: World) -> None:
        operator = await breeding(world)
        world.change(children=7)
        await operator.look()
        assert b'"children": 7' in world.storage.get(keys.SPEC)


class TestAfterTheEnd:
    async def test_a_run_with_a_time_to_live_is_deleted_when_that_is_over(self, world: World) -> None:
        operator = await ended(world, ttlSecondsAfterFinished=100)
        assert await operator.look() == 100
        world.pass_time(99)
        assert await operator.look() == 1
        assert world.run()
        world.pass_time(1)
        await operator.look()
        assert world.api.all("cycleqdruns") == []
        assert world.jobs == []

    async def test_a_run_without_one_stays(self, world: World) -> None:
        operator = await ended(world)
        world.pass_time(1e9)
        assert await operator.look() is None
        assert world.run()

    async def test_an_operator_that_starts_leaves_it_alone(self, world: World) -> None:
        operator = await ended(world)
        operator.stop()
        world.api.requests.clear()
        operator = await started(world)
        await operator.look()
        assert [request for request in world.api.requests if not request.startswith("GET")] == []


class TestDeadline:
    async def test_a_run_that_takes_too_long_fails_and_its_workers_stop(self, world: World) -> None:
        operator = await breeding(world, activeDeadlineSeconds=100)
        world.pass_time(95)
        assert await operator.look() == 5
        world.pass_time(5)
        await operator.look()
        failed = condition(world, "Failed")
        assert (status_of(world).state, failed.reason, names(world)) == ("Failed", "DeadlineExceeded", [])
        assert "after 100 s: raise activeDeadlineSeconds" in failed.message

    async def test_a_later_deadline_continues_it(self, world: World) -> None:
        operator = await breeding(world, children=2, activeDeadlineSeconds=100)
        world.pass_time(100)
        await operator.look()
        world.change(activeDeadlineSeconds=1000)
        await until(world, operator, "Succeeded")

    async def test_it_does_not_matter_after_the_end(self, world: World) -> None:
        operator = await ended(world, activeDeadlineSeconds=100)
        world.pass_time(1000)
        await operator.look()
        assert status_of(world).state == "Succeeded"


class TestManifests:
    async def test_one_without_the_defaults_of_the_definition_is_served(self, world: World) -> None:
        run = world.apply()
        del run["spec"]["search"]
        operator = await started(world)
        await operator.look()
        assert status_of(world).progress == "0/1200"

    @pytest.mark.parametrize(
        ("fields", "words"),
        [
            ({"workers": {"parallelism": 0}}, "spec.workers.parallelism"),
            ({"sandbox": "None"}, "spec.sandbox"),
            ({"storage": {"uri": "/runs/demo"}}, "has to be s3://BUCKET/PREFIX"),
        ],
        ids=["a number out of range", "a word that is none", "a folder on a cluster"],
    )
    async def test_one_that_cannot_be_served_fails_with_a_sentence(
        self, world: World, fields: dict[str, Any], words: str
    ) -> None:
        world.apply(**fields)
        operator = await started(world)
        await operator.look()
        assert status_of(world).state == "Failed"
        assert words in condition(world, "Failed").message
        assert await operator.look() is None
        assert reasons(world) == ["BadManifest"]
        assert world.jobs == []

    async def test_a_bad_one_without_the_defaults_of_the_definition_fails_like_others(self, world: World) -> None:
        run = world.apply(sandbox="None")
        del run["spec"]["search"]
        operator = await started(world)
        await operator.look()
        assert await operator.look() is None
        assert status_of(world).state == "Failed"

    async def test_a_change_that_makes_it_bad_stops_its_workers_and_one_that_makes_it_good_goes_on(
        self, world: World
    ) -> None:
        operator = await breeding(world, children=2)
        world.change(sandbox="None")
        await operator.look()
        assert (status_of(world).state, names(world)) == ("Failed", [])
        world.change(sandbox="Auto")
        await until(world, operator, "Succeeded")

    async def test_a_template_that_workers_must_not_have_fails_with_a_sentence(self, world: World) -> None:
        world.apply(workers={"template": {"volumes": [{"name": "host", "hostPath": {"path": "/"}}]}})
        operator = await started(world)
        await operator.look()
        assert status_of(world).state == "Failed"
        assert "hostPath" in condition(world, "Failed").message
