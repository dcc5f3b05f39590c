"""Deleting a run: its Jobs go with it, what it stored only if the manifest says so, and nothing holds it for ever."""

from __future__ import annotations

import pytest

from cycleqd import keys
from cycleqd.errors import AccessDenied, StoreUnreachable
from cycleqd_operator.cluster import PLURAL, ClusterUnreachable, NameTaken
from cycleqd_operator.labels import FINALIZER
from cycleqd_operator.removal import RETRY_SECONDS
from tests.operator.operator_process import Operator, breeding, started
from tests.operator.world import AWAY, World

KEEPS = {"uri": "s3://runs/demo", "credentialsSecretName": "s3"}
DELETES = {**KEEPS, "deleteOnRemoval": True}


def delete(world: World) -> None:
    status, _ = world.api.answer("DELETE", f"/apis/cycleqd.dev/v1alpha1/namespaces/research/{PLURAL}/demo")
    assert status == 200


async def deleted(world: World) -> Operator:
    """Return an operator whose run had a worker at work and is being deleted."""
    operator = await breeding(world, storage=DELETES)
    world.work()
    delete(world)
    return operator


class TestFinalizer:
    @pytest.mark.parametrize(("storage", "finalizers"), [(KEEPS, None), (DELETES, [FINALIZER])], ids=["keep", "delete"])
    async def test_only_runs_that_want_their_storage_deleted_have_it(
        self, world: World, storage: dict[str, str], finalizers: list[str] | None
    ) -> None:
        world.apply(storage=storage)
        await (await started(world)).look()
        assert world.run()["metadata"].get("finalizers") == finalizers

    async def test_others_finalizers_stay(self, world: World) -> None:
        world.apply(storage=DELETES)["metadata"]["finalizers"] = ["example.com/audit"]
        operator = await started(world)
        await operator.look()
        await operator.look()
        assert world.run()["metadata"]["finalizers"] == ["example.com/audit", FINALIZER]

    async def test_it_is_set_before_anything_is_stored(self, world: World) -> None:
        world.apply(storage=DELETES)
        operator = await started(world)
        world.api.change(PLURAL, world.run())  # the operator does not know this version
        with pytest.raises(NameTaken):
            await operator.reconciler.look(operator.tracked())
        assert list(world.storage.list()) == []
        await operator.look()
        assert world.run()["metadata"]["finalizers"] == [FINALIZER]


class TestRemoval:
    async def test_without_it_a_run_goes_at_once_with_its_jobs_and_its_storage_stays(self, world: World) -> None:
        operator = await breeding(world, storage=KEEPS)
        delete(world)
        operator.hear()
        assert (operator.fleet.runs, world.jobs) == ({}, [])
        assert world.storage.exists(keys.RUN)

    async def test_first_the_workers_then_the_storage_then_the_run(self, world: World) -> None:
        operator = await deleted(world)
        assert await operator.look() == RETRY_SECONDS
        assert world.jobs == []
        assert world.storage.exists(keys.RUN)
        world.stop_pods(last_words=True)  # they write results to the end
        assert await operator.look() is None
        assert list(world.storage.list()) == []
        assert world.api.all(PLURAL) == []

    async def test_a_run_that_never_stored_anything_goes_too(self, world: World) -> None:
        world.store_trouble = AWAY
        world.apply(storage=DELETES)
        operator = await started(world)
        await operator.look()
        world.store_trouble = None
        delete(world)
        await operator.look()
        assert world.api.all(PLURAL) == []

    async def test_others_finalizers_still_hold_it(self, world: World) -> None:
        operator = await deleted(world)
        world.run()["metadata"]["finalizers"].append("example.com/audit")
        world.api.change(PLURAL, world.run())
        await operator.look()
        world.stop_pods()
        await operator.look()
        assert world.run()["metadata"]["finalizers"] == ["example.com/audit"]
        assert await operator.look() is None

    async def test_it_waits_for_a_store_that_is_away(self, world: World) -> None:
        operator = await deleted(world)
        await operator.look()
        world.stop_pods()
        world.store_trouble = AWAY
        with pytest.raises(StoreUnreachable):
            await operator.look()
        assert world.run()["metadata"]["finalizers"] == [FINALIZER]
        world.store_trouble = None
        await operator.look()
        assert world.api.all(PLURAL) == []

    @pytest.mark.parametrize("cause", ["secret is gone", "access denied", "another run's store"])
    async def test_what_nobody_can_delete_is_told_and_does_not_hold_it(self, world: World, cause: str) -> None:
        operator = await deleted(world)
        await operator.look()
        world.stop_pods()
        if cause == "secret is gone":
            world.api.remove("secrets", world.api.find("secrets", "s3"))
        elif cause == "access denied":
            world.store_trouble = AccessDenied("The store refused access.")
        else:
            identity = world.storage.get(keys.RUN).replace(world.run()["metadata"]["uid"].encode(), b"another")
            world.storage.put(keys.RUN, identity)
        await operator.look()
        event = world.api.events[-1]
        assert (event["type"], event["reason"]) == ("Warning", "StorageKept")
        assert "What the run stored was not deleted: " in event["note"]
        assert world.api.all(PLURAL) == []
        assert world.storage.exists(keys.SPEC)

    async def test_a_change_meanwhile_is_heard_first(self, world: World) -> None:
        operator = await deleted(world)
        await operator.look()
        world.stop_pods()
        world.run()["metadata"]["labels"] = {"team": "research"}
        world.api.change(PLURAL, world.run())
        assert await operator.reconciler.look(operator.tracked()) == RETRY_SECONDS
        await operator.look()
        assert world.api.all(PLURAL) == []

    async def test_it_can_be_interrupted_anywhere(self, world: World) -> None:
        operator = await deleted(world)
        for request in range(1, 20):
            operator.cluster.away = iter([False] * request + [True] + [False] * 100)
            try:
                await operator.look()
            except ClusterUnreachable:
                operator.stop()
                operator = await started(world)
            world.stop_pods()
            if not world.api.all(PLURAL):
                break
        assert world.api.all(PLURAL) == []
        assert list(world.storage.list()) == []
