"""What a run says and does while something is wrong, and that it goes on when that is over."""

from __future__ import annotations

from typing import Any, ClassVar

import pytest

from cycleqd import keys
from cycleqd.errors import AccessDenied, CycleQDError, MissingInput, NoSpace, StoreUnreachable, UnsupportedHere
from cycleqd_operator import labels
from cycleqd_operator.reconcile import TROUBLE_SECONDS
from tests.operator.operator_process import Operator, breeding, condition, names, started, status_of, until
from tests.operator.world import AWAY, SECRET, World

SECRET_BODY = {"metadata": {"name": "s3", "namespace": "research"}}


class TestSecretOfTheStorage:
    @pytest.mark.parametrize(
        ("data", "words"),
        [
            (None, "The Secret s3 in the namespace research, which spec.storage.credentialsSecretName names, does not"),
            ({"AWS_ACCESS_KEY_ID": "a2V5"}, "has no AWS_SECRET_ACCESS_KEY: add it"),
            ({}, "has no AWS_ACCESS_KEY_ID and no AWS_SECRET_ACCESS_KEY: add it"),
            ({**SECRET, "AWS_ACCESS_KEY_ID": ""}, "has no AWS_ACCESS_KEY_ID: add it"),
        ],
        ids=["missing", "one key missing", "empty", "empty key"],
    )
    async def test_without_it_the_run_waits_and_goes_on_by_itself(
        self, world: World, data: dict[str, str] | None, words: str
    ) -> None:
        secret = world.api.find("secrets", "s3")
        world.api.remove("secrets", secret)
        if data is not None:
            world.api.add("secrets", {**SECRET_BODY, "data": data})
        world.apply(children=0)
        operator = await started(world)
        assert await operator.look() == TROUBLE_SECONDS
        degraded = condition(world, "Degraded")
        assert (status_of(world).state, degraded.status, degraded.reason) == ("Pending", "True", "MissingInput")
        assert words in degraded.message
        assert world.jobs == []
        if data is not None:
            world.api.remove("secrets", world.api.find("secrets", "s3"))
        world.api.add("secrets", secret)
        await until(world, operator, "Succeeded")
        assert condition(world, "Degraded").status == "False"

    async def test_without_its_certificates_workers_get_none(self, world: World) -> None:
        world.apply()
        await (await started(world)).look()
        assert "AWS_CA_BUNDLE" not in str(world.active_jobs[0])

    async def test_its_certificates_are_given_to_workers(self, world: World) -> None:
        world.api.find("secrets", "s3")["data"]["AWS_CA_BUNDLE"] = "LS0t"
        world.apply()
        await (await started(world)).look()
        assert "AWS_CA_BUNDLE" in str(world.active_jobs[0])


class TestStore:
    @pytest.mark.parametrize(
        "trouble",
        [
            MissingInput("The store s3://runs/demo has no such bucket (NoSuchBucket): create it."),
            AccessDenied("The store s3://runs/demo refused access."),
            StoreUnreachable("The store s3://runs/demo could not answer."),
            NoSpace("The store s3://runs/demo has no room left."),
        ],
        ids=lambda trouble: type(trouble).__name__,
    )
    @pytest.mark.parametrize("when", ["first look", "while breeding"])
    async def test_trouble_degrades_the_run_until_it_is_over(
        self, world: World, trouble: CycleQDError, when: str
    ) -> None:
        world.apply(children=3)
        operator = await started(world)
        if when == "while breeding":
            await until(world, operator, "Breeding")
        before = names(world)
        world.store_trouble = trouble
        assert await operator.look() == TROUBLE_SECONDS
        degraded = condition(world, "Degraded")
        assert (degraded.status, degraded.reason, degraded.message) == ("True", type(trouble).__name__, str(trouble))
        assert status_of(world).state == ("Breeding" if before else "Pending")
        assert names(world) == before
        world.store_trouble = None
        await operator.look()
        assert condition(world, "Degraded").status == "False"
        await until(world, operator, "Succeeded")

    async def test_the_secret_is_read_again_because_somebody_may_correct_it(self, world: World) -> None:
        operator = await breeding(world)
        world.store_trouble = AccessDenied("The store refused access.")
        await operator.look()
        world.api.requests.clear()
        await operator.look()
        assert "GET /api/v1/namespaces/research/secrets/s3" in world.api.requests

    async def test_figures_stay_while_it_is_away(self, world: World) -> None:
        operator = await breeding(world, children=6)
        world.work()
        world.work()
        await operator.look()
        world.store_trouble = AWAY
        await operator.look()
        assert (status_of(world).children, status_of(world).progress) == (2, "2/6")

    async def test_one_that_does_not_protect_results_fails_the_run(self, world: World) -> None:
        world.apply()
        world.store_trouble = UnsupportedHere("The store overwrites objects.")
        await (await started(world)).look()
        assert (status_of(world).state, condition(world, "Failed").reason) == ("Failed", "UnsupportedHere")

    async def test_another_runs_store_is_left_alone(self, world: World) -> None:
        operator = await breeding(world)
        world.apply("other", storage={"uri": "s3://runs/demo-2", "credentialsSecretName": "s3"})  # the same folder
        await operator.look("other")
        failed = condition(world, "Failed", "other")
        assert failed.reason == "RunMismatch"
        assert "holds the run demo" in failed.message

    async def test_damaged_results_are_reported_and_bred_again(self, world: World) -> None:
        operator = await breeding(world, children=2)
        world.storage.put(keys.result(3), b"half a res")
        await operator.look()
        degraded = condition(world, "Degraded")
        assert (degraded.status, degraded.reason) == ("True", "DamagedObjects")
        assert keys.result(3) in degraded.message
        await until(world, operator, "Succeeded")
        assert status_of(world).children == 2
        assert condition(world, "Degraded").status == "False"


class TestStorageInUse:
    async def test_the_younger_run_waits_until_the_older_one_is_over(self, world: World) -> None:
        world.apply(children=0)
        world.pass_time(1)
        world.apply("young", children=0, storage={"uri": "s3://runs/demo", "credentialsSecretName": "s3"})
        operator = await started(world)
        assert await operator.look("young") == TROUBLE_SECONDS
        degraded = condition(world, "Degraded", "young")
        assert degraded.reason == "StorageInUse"
        assert "The older run research/demo uses s3://runs/demo" in degraded.message
        assert world.jobs == []
        await until(world, operator, "Succeeded")
        await operator.look("young")
        assert condition(world, "Degraded", "young").status == "False"

    async def test_an_operator_that_starts_knows_which_runs_are_over(self, world: World) -> None:
        storage = {"uri": "s3://runs/demo", "credentialsSecretName": "s3"}
        world.apply(children=0)
        operator = await started(world)
        await until(world, operator, "Succeeded")
        world.pass_time(1)
        world.apply("young", children=1, storage=storage)
        operator.stop()
        operator = await started(world)
        await operator.look("young")
        assert condition(world, "Degraded", "young").reason != "StorageInUse"


class TestJobsInTheWay:
    async def test_a_foreign_job_of_the_name_is_left_alone_and_told(self, world: World) -> None:
        foreign = {"metadata": {"name": "demo-prepare-0", "namespace": "research"}, "spec": {}}
        world.api.add("jobs", foreign)
        world.apply(children=0)
        operator = await started(world)
        assert await operator.look() == TROUBLE_SECONDS
        degraded = condition(world, "Degraded")
        assert (degraded.reason, status_of(world).state) == ("ForeignJob", "Preparing")
        assert "The Job demo-prepare-0 belongs to something else" in degraded.message
        assert "template" not in world.api.find("jobs", "demo-prepare-0")["spec"]
        world.api.remove("jobs", world.api.find("jobs", "demo-prepare-0"))
        await until(world, operator, "Succeeded")

    async def test_one_that_an_earlier_operator_made_and_nobody_heard_of_is_adopted(self, world: World) -> None:
        world.apply()
        first = await started(world)
        await first.look()
        first.stop()
        made = world.active_jobs
        second = Operator(world)
        second.reconnect()
        second.ignore_jobs()  # as if the answer to the creation and the event had been lost
        await second.look()
        assert world.active_jobs == made
        assert status_of(world).failures == 0
        assert [job.name for job in second.tracked().active] == ["demo-prepare-0"]

    async def test_one_that_was_being_deleted_and_is_gone_when_it_is_looked_at_is_made_again(
        self, world: World, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        foreign = world.api.add("jobs", {"metadata": {"name": "demo-prepare-0", "namespace": "research"}, "spec": {}})
        world.apply()
        operator = await started(world)
        create = operator.cluster.create_job

        async def slowly(job: dict[str, Any]) -> Any:
            try:
                return await create(job)
            finally:
                if foreign in world.jobs:
                    world.api.remove("jobs", foreign)

        monkeypatch.setattr(operator.cluster, "create_job", slowly)
        await operator.look()
        assert names(world) == ["prepare-0"]
        assert labels.WORK in world.active_jobs[0]["metadata"]["annotations"]

    async def test_a_refusal_is_told_and_tried_again(self, world: World) -> None:
        world.api.refuses["jobs"] = 403, "exceeded quota: gpus"
        world.apply(children=0)
        operator = await started(world)
        assert await operator.look() == TROUBLE_SECONDS
        degraded = condition(world, "Degraded")
        assert degraded.reason == "Refused"
        assert "exceeded quota: gpus" in degraded.message
        del world.api.refuses["jobs"]
        await until(world, operator, "Succeeded")
        assert condition(world, "Degraded").status == "False"


def _without_sandbox(restarts: int) -> dict[str, Any]:
    """Return the status of a pod whose worker waits for a sandbox that ends again and again."""
    ended = {"exitCode": 1, "reason": "Error", "message": "no sandbox here (Landlock: Linux 5.13 has it)\n"}
    sandbox = {
        "name": "sandbox",
        "started": False,
        "restartCount": restarts,
        "state": {"waiting": {"reason": "CrashLoopBackOff", "message": "back-off 20s"}},
        "lastState": {"terminated": ended},
    }
    worker = {"name": "worker", "state": {"waiting": {"reason": "PodInitializing"}}}
    return {"phase": "Pending", "containerStatuses": [worker], "initContainerStatuses": [sandbox]}


async def _with_pods(world: World) -> Operator:
    """Return an operator whose new run has Jobs, and these their first pods."""
    world.apply()
    operator = await started(world)
    await operator.look()
    world.make_pods()
    return operator


class TestSlowPods:
    OBSTACLE: ClassVar[dict[str, Any]] = {
        "phase": "Pending",
        "conditions": [
            {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/3 nodes have a GPU."}
        ],
    }

    async def test_why_they_do_not_start_is_told_and_forgotten_when_they_do(self, world: World) -> None:
        world.obstacle = self.OBSTACLE
        operator = await _with_pods(world)
        world.pass_time(29)
        await operator.look()
        assert condition(world, "Degraded").status == "False"
        world.pass_time(2)
        await operator.look()
        degraded = condition(world, "Degraded")
        assert (degraded.status, degraded.reason) == ("True", "WorkersNotStarting")
        assert "0/3 nodes have a GPU" in degraded.message
        world.obstacle = None
        world.start_pods()
        await operator.look()
        assert condition(world, "Degraded").status == "False"

    async def test_a_sidecar_that_does_not_come_up_fails_the_run_before_it_computes_anything(
        self, world: World
    ) -> None:
        world.obstacle = _without_sandbox(restarts=1)
        operator = await _with_pods(world)
        world.pass_time(31)
        await operator.look()
        assert (status_of(world).state, condition(world, "Degraded").reason) == ("Preparing", "WorkersNotStarting")
        world.live_pods[0]["status"] = _without_sandbox(restarts=3)
        operator.tracked().pods_seen_at = 0.0  # that was long ago
        await operator.look()
        failed = condition(world, "Failed")
        assert (status_of(world).state, failed.reason) == ("Failed", "UnsupportedHere")
        assert "The sandbox beside the worker ended 3 times" in failed.message
        assert "no sandbox here" in failed.message
        world.stop_pods()
        await operator.look()
        assert names(world) == [], "and nothing is tried again"

    async def test_a_sidecar_that_does_not_come_up_later_is_waited_for(self, world: World) -> None:
        operator = await breeding(world, children=3)
        world.obstacle = _without_sandbox(restarts=3)
        world.make_pods()
        world.pass_time(31)
        await operator.look()
        assert (status_of(world).state, condition(world, "Degraded").reason) == ("Breeding", "WorkersNotStarting")

    async def test_pods_are_asked_for_only_now_and_then(self, world: World) -> None:
        world.obstacle = self.OBSTACLE
        operator = await _with_pods(world)
        world.pass_time(31)
        await operator.look()
        world.api.requests.clear()
        await operator.look()
        assert world.api.requests == []

    async def test_no_pods_at_all_are_told_too(self, world: World) -> None:
        world.apply()
        operator = await started(world)
        await operator.look()
        world.pass_time(31)
        await operator.look()
        assert "Kubernetes makes no pod for the Job demo-prepare-0" in condition(world, "Degraded").message

    async def test_a_job_in_a_queue_is_nobodys_trouble(self, world: World) -> None:
        world.apply()
        operator = await started(world)
        await operator.look()
        job = world.active_jobs[0]
        job["spec"]["suspend"] = True
        world.api.change("jobs", job)
        world.pass_time(3600)
        await operator.look()
        assert condition(world, "Degraded").status == "False"
