"""Runs that do not say where they lie: what becomes of their manifests, and that they never move."""

from __future__ import annotations

from typing import Any

import pytest

from cycleqd.api.status import RunStatus
from cycleqd.errors import BadManifest
from cycleqd_operator.placing import Placing
from cycleqd_operator.settings import Settings
from tests.core.support import spec_dict
from tests.operator.api_server import run_body
from tests.operator.operator_process import AT_ONCE, condition, names, started, status_of, until
from tests.operator.test_removal import delete
from tests.operator.world import World

HERE = Placing("s3://cycleqd/", "tryout")
RELATIVE = {"uri": "../../runs/demo"}


def body(storage: dict[str, Any]) -> dict[str, Any]:
    return run_body("demo", spec_dict(storage=storage))


@pytest.mark.parametrize(
    ("placing", "storage", "uri", "secret"),
    [
        (HERE, RELATIVE, "s3://cycleqd/runs/demo", "tryout"),
        (HERE, {**RELATIVE, "credentialsSecretName": "own"}, "s3://cycleqd/runs/demo", "own"),
        (HERE, {"uri": "s3://mine/demo/"}, "s3://mine/demo/", "tryout"),
        (Placing(secret_name="tryout"), {"uri": "s3://mine/demo"}, "s3://mine/demo", "tryout"),
        (Placing(), {"uri": "s3://mine/demo"}, "s3://mine/demo", None),
        (HERE, {"uri": "/runs/demo"}, "/runs/demo", "tryout"),
    ],
)
def test_all_ways_to_a_runs_storage_agree(
    placing: Placing, storage: dict[str, Any], uri: str, secret: str | None
) -> None:
    found = placing.read(body(storage)).spec.storage
    assert (found.uri, found.credentials_secret_name) == (uri, secret)
    assert placing.storage(body(storage)) == found
    assert placing.storage_uri(body(storage)) == uri.rstrip("/")


def test_without_a_root_a_relative_storage_is_refused() -> None:
    nowhere = Placing()
    with pytest.raises(BadManifest, match=r"^The manifest: spec\.storage\.uri: \.\./\.\./runs/demo is relative"):
        nowhere.read(body(RELATIVE))
    with pytest.raises(BadManifest, match=r"^spec\.storage: \.\./\.\./runs/demo is relative"):
        nowhere.storage(body(RELATIVE))
    assert nowhere.storage_uri(body(RELATIVE)) == "../../runs/demo"


@pytest.mark.parametrize(
    ("status", "root"),
    [
        (None, "s3://cycleqd/"),
        (RunStatus(), "s3://cycleqd/"),
        (RunStatus(storage_root="s3://before"), "s3://before"),
    ],
)
def test_a_run_keeps_the_root_that_it_began_with(status: RunStatus | None, root: str) -> None:
    assert HERE.kept(status) == Placing(root, "tryout")


def settings(**fields: Any) -> Settings:
    return Settings(**{**AT_ONCE.model_dump(), "storage_root": "s3://cycleqd/", "storage_secret_name": "s3"} | fields)


class TestRuns:
    async def test_everybody_is_told_the_same_place(self, world: World) -> None:
        world.apply(storage=RELATIVE, baseModel={"uri": "../../models/base"})
        operator = await started(world, settings())
        await until(world, operator, "Breeding")
        container = world.active_jobs[0]["spec"]["template"]["spec"]["containers"][0]
        assert container["args"][2:4] == ["--run", "s3://cycleqd/runs/demo"]
        key = next(variable for variable in container["env"] if variable["name"] == "AWS_ACCESS_KEY_ID")
        assert key["valueFrom"]["secretKeyRef"]["name"] == "s3"
        status = status_of(world)
        assert (status.storage_uri, status.storage_root) == ("s3://cycleqd/runs/demo", "s3://cycleqd/")
        recorded = world.storage.get("spec.json").decode()
        assert '"s3://cycleqd/models/base"' in recorded
        assert '"../' not in recorded
        world.work_off()
        await until(world, operator, "Succeeded")
        assert status_of(world).model_uri == "s3://cycleqd/runs/demo/final/model"

    async def test_without_a_root_the_run_fails_and_says_what_to_do(self, world: World) -> None:
        world.apply(storage=RELATIVE)
        await (await started(world)).look()
        assert status_of(world).state == "Failed"
        assert "write s3://BUCKET/PREFIX, or install the chart with storage.root" in condition(world, "Failed").message
        assert list(world.storage.list()) == []

    @pytest.mark.parametrize(
        "change", [{"storage_root": "s3://elsewhere/"}, {"storage_root": ""}, {"storage_secret_name": "other"}], ids=str
    )
    async def test_a_run_that_has_begun_stays_where_it_is(self, world: World, change: dict[str, Any]) -> None:
        world.api.add(
            "secrets", {**world.api.find("secrets", "s3"), "metadata": {"name": "other", "namespace": "research"}}
        )
        world.apply(storage=RELATIVE, children=6)
        before = await started(world, settings())
        await until(world, before, "Breeding")
        world.work()
        before.stop()
        after = await started(world, settings(**change))
        await after.look()
        assert (status_of(world).state, status_of(world).storage_uri) == ("Breeding", "s3://cycleqd/runs/demo")
        assert names(world) == ["breed-3"]
        await until(world, after, "Succeeded")

    async def test_a_run_that_has_found_no_place_takes_a_corrected_root(self, world: World) -> None:
        world.api.remove("secrets", world.api.find("secrets", "s3"))
        world.apply(storage=RELATIVE)
        before = await started(world, settings(storage_root="s3://typo/"))
        await before.look()
        assert condition(world, "Degraded").status == "True"
        before.stop()
        after = await started(world, settings())
        await after.look()
        assert status_of(world).storage_uri == "s3://cycleqd/runs/demo"

    async def test_the_same_relative_storage_in_two_namespaces_is_the_same_place(self, world: World) -> None:
        world.apply(storage=RELATIVE)
        other = run_body("demo-2", spec_dict(storage={"uri": "runs/demo"}))
        other["metadata"]["namespace"] = "teaching"
        world.now += 60
        world.api.add("cycleqdruns", other)
        operator = await started(world, settings())
        await operator.look()
        await operator.look("demo-2")
        told = next(body for (_, _, name), body in world.api.objects.items() if name == "demo-2")["status"]
        (degraded,) = (condition for condition in told["conditions"] if condition["type"] == "Degraded")
        assert degraded["reason"] == "StorageInUse"
        assert degraded["message"] == "The older run research/demo uses s3://cycleqd/runs/demo: this one waits."

    async def test_what_it_stored_is_deleted_where_it_is(self, world: World) -> None:
        world.apply(storage={**RELATIVE, "deleteOnRemoval": True})
        before = await started(world, settings())
        await until(world, before, "Breeding")
        before.stop()
        after = await started(world, settings(storage_root=""))
        delete(world)
        await after.look()
        assert list(world.storage.list()) == []
        assert world.api.all("cycleqdruns") == []
