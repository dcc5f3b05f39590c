"""What becomes of a run whose workers die, are killed, or say that something is wrong."""

from __future__ import annotations

from typing import Any

import pytest

from cycleqd.errors import MissingInput
from cycleqd.orders import Outcome
from cycleqd_operator.run_store import RunStore, StoreView
from tests.operator.operator_process import breeding, condition, names, started, status_of, until
from tests.operator.world import AWAY, DIES, World, notes


class TestDeaths:
    async def test_one_is_noted_once_and_asked_about_once(self, world: World) -> None:
        world.fates["breed-3"] = [DIES]
        operator = await breeding(world, children=3)
        world.work_off()
        await operator.look()
        world.api.requests.clear()
        await operator.look()
        assert world.api.requests == []
        assert len(notes(world)) == 1

    async def test_a_child_that_kills_its_workers_is_given_up_and_the_run_goes_on(self, world: World) -> None:
        world.apply(children=4, failurePolicy={"attempts": 3})
        world.fates["breed-4"] = [DIES] * 10
        operator = await started(world)
        blocks = []
        for _ in range(40):
            await operator.look()
            if operator.tracked().is_over:
                break
            blocks += names(world)
            world.work_off()
            world.pass_time(20)
        status = status_of(world)
        assert (status.state, status.children, status.failed_children, status.failures) == ("Succeeded", 3, (4,), 3)
        degraded = condition(world, "Degraded")
        assert (degraded.status, degraded.reason) == ("True", "Quarantined")
        assert "Child 4" in degraded.message
        assert [block for block in blocks if "breed" in block] == ["breed-3", "breed-4-1", "breed-4-2", "breed-5"]
        assert world.quarantined == {4}
        assert {(note.individual, note.node, note.is_death) for note in notes(world)} == {(4, "node-1", True)}

    async def test_one_during_a_look_is_dealt_with_by_the_next(
        self, world: World, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        world.fates["breed-3"] = [DIES]
        operator = await breeding(world, children=1)
        read = RunStore.look

        def read_while_it_dies(store: RunStore, *arguments: Any, **options: Any) -> StoreView:
            world.work_off()
            operator.hear()
            return read(store, *arguments, **options)

        monkeypatch.setattr(RunStore, "look", read_while_it_dies)
        await operator.look()
        assert (names(world), notes(world)) == ([], []), "its work is not planned again before it is noted"
        monkeypatch.setattr(RunStore, "look", read)
        await operator.look()
        assert (names(world), len(notes(world))) == (["breed-3-1"], 1)

    async def test_the_second_repetition_waits_a_while(self, world: World) -> None:
        world.fates["breed-3"] = [DIES] * 2
        operator = await breeding(world, children=1)
        world.work_off()
        await operator.look()
        assert names(world) == ["breed-3-1"]
        world.work_off()
        assert await operator.look() == 5
        assert names(world) == []
        world.pass_time(5)
        await operator.look()
        assert names(world) == ["breed-3-2"]

    async def test_other_work_that_dies_again_and_again_fails_the_run(self, world: World) -> None:
        world.apply(failurePolicy={"attempts": 2})
        world.fates["prepare-sql"] = [DIES] * 2
        operator = await started(world)
        for _ in range(3):
            await operator.look()
            world.work_off()
            world.pass_time(60)
        failed = condition(world, "Failed")
        assert (status_of(world).state, failed.reason) == ("Failed", "WorkersDied")
        assert "prepare-sql failed 2 times" in failed.message

    @pytest.mark.parametrize(
        "fate",
        [{"code": 143}, {"code": 137, "conditions": [{"type": "DisruptionTarget", "status": "True"}]}],
        ids=["stopped", "disrupted"],
    )
    async def test_what_kubernetes_ends_is_nobodys_failure(self, world: World, fate: dict[str, Any]) -> None:
        operator = await breeding(world, children=2)
        world.work()
        world.end_pod(world.live_pods[0], **fate)
        await operator.look()
        assert (status_of(world).failures, names(world)) == (0, ["breed-3"])
        await until(world, operator, "Succeeded")
        assert status_of(world).failures == 0

    async def test_a_job_that_somebody_deletes_is_made_again(self, world: World) -> None:
        operator = await breeding(world, children=3)
        world.work()
        world.api.remove("jobs", world.active_jobs[0])
        await operator.look()
        assert (names(world), status_of(world).failures) == (["breed-4"], 0)

    async def test_too_many_failures_of_any_kind_end_the_run(self, world: World) -> None:
        world.apply(children=3, failurePolicy={"maxFailures": 1})
        world.fates["breed-3"] = [Outcome.of(AWAY)] * 2
        operator = await started(world)
        await until(world, operator, "Failed")
        assert condition(world, "Failed").reason == "TooManyFailures"
        assert names(world) == []


class TestWordsOfWorkers:
    async def test_bad_input_fails_the_run_at_once_with_the_workers_sentence(self, world: World) -> None:
        world.apply(children=9, workers={"parallelism": 3})
        told = Outcome(ok=False, permanent=True, kind="BadModel", message="The model models/sql has no tokenizer.")
        world.fates["prepare-sql"] = [told]
        operator = await started(world)
        await operator.look()
        world.make_pods()
        world.step(next(pod for pod in world.live_pods if "prepare-0" in pod["metadata"]["name"]))
        assert len(names(world)) == 2
        await operator.look()
        failed = condition(world, "Failed")
        assert (status_of(world).state, failed.reason, failed.message) == ("Failed", "BadModel", told.message)
        assert names(world) == []

    async def test_a_changed_spec_is_tried_again(self, world: World) -> None:
        world.apply(children=1)
        world.fates["prepare-sql"] = [Outcome(ok=False, permanent=True, kind="BadModel", message="No tokenizer.")]
        operator = await started(world)
        await until(world, operator, "Failed")
        assert await operator.look() is None
        world.change(parallelism=2)
        await until(world, operator, "Succeeded")
        assert condition(world, "Failed").status == "False"
        assert status_of(world).failures == 1

    async def test_something_missing_degrades_the_run_until_it_is_there(self, world: World) -> None:
        world.apply(children=0)
        missing = MissingInput("The model hf://org/sql does not exist.")
        world.fates["prepare-sql"] = [Outcome.of(missing)]
        operator = await started(world)
        await operator.look()
        world.work_off()
        await operator.look()
        degraded = condition(world, "Degraded")
        assert (degraded.reason, degraded.message) == ("MissingInput", str(missing))
        assert status_of(world).state == "Preparing"
        world.pass_time(31)
        await until(world, operator, "Succeeded")
        assert condition(world, "Degraded").status == "False"

    async def test_a_worker_that_says_it_is_done_without_results_has_failed(self, world: World) -> None:
        operator = await breeding(world, children=2)
        world.make_pods()
        world.end_pod(world.live_pods[0], 0, Outcome(ok=True))
        await operator.look()
        assert [note.message for note in notes(world)] == [
            "The worker ended as if all was well, but its results are missing."
        ]
        assert names(world) == ["breed-3-1"]
