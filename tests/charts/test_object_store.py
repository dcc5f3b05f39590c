"""The store for try-outs, as it is rendered; tests/e2e/test_try_out.py uses it."""

from __future__ import annotations

import sys
from typing import Any

import boto3
import pytest
from moto import mock_aws

from tests.charts.helm import Objects, container_of, environment_of, granted, only, render

STORE = "objectStore.enabled=true"
NAME = "evolve-cycleqd-s3"


@pytest.fixture(scope="module")
def objects() -> Objects:
    return render(STORE, "watch.namespaces={team-a,team-b}", "networkPolicy.enabled=true")


def pod_of_store(objects: Objects) -> dict[str, Any]:
    pod: dict[str, Any] = objects["Deployment", "research", NAME]["spec"]["template"]["spec"]
    return pod


def test_one_key_is_where_the_store_and_where_runs_are(objects: Objects) -> None:
    secrets = {key[1]: body["stringData"] for key, body in objects.items() if key[0] == "Secret" and key[2] == NAME}
    assert secrets.keys() == {"research", "team-a", "team-b"}
    assert secrets["research"] == secrets["team-a"] == secrets["team-b"]
    assert len(secrets["research"]["AWS_SECRET_ACCESS_KEY"]) == 40
    assert secrets["research"]["AWS_ENDPOINT_URL"] == f"http://{NAME}.research.svc:7070"


def test_keys_are_random() -> None:
    keys = {only(render(STORE), "Secret")["stringData"]["AWS_SECRET_ACCESS_KEY"] for _ in range(2)}
    assert len(keys) == 2


def test_runs_live_there_unless_said_otherwise(objects: Objects) -> None:
    environment = environment_of(objects)
    assert environment["CYCLEQD_STORAGE_ROOT"] == "s3://cycleqd/"
    assert environment["CYCLEQD_STORAGE_SECRET_NAME"] == NAME
    environment = environment_of(render(STORE, "storage.root=s3://own/", "storage.credentialsSecretName=own"))
    assert environment["CYCLEQD_STORAGE_ROOT"] == "s3://own/"
    assert environment["CYCLEQD_STORAGE_SECRET_NAME"] == "own"


def test_the_operator_may_read_its_secret_where_secrets_are_named() -> None:
    rights = granted(only(render(STORE, "rbac.secretNames={hub}"), "Role"))
    assert rights["", "secrets", ("hub", NAME)] == {"get"}


def test_the_service_leads_to_the_pod(objects: Objects) -> None:
    service = objects["Service", "research", NAME]["spec"]
    template = objects["Deployment", "research", NAME]["spec"]["template"]
    assert service["selector"].items() <= template["metadata"]["labels"].items()
    (port,) = pod_of_store(objects)["containers"][0]["ports"]
    assert (service["ports"][0]["port"], service["ports"][0]["targetPort"]) == (port["containerPort"], port["name"])


def test_an_upgrade_of_the_chart_leaves_the_pod_alone(objects: Objects) -> None:
    template = str(objects["Deployment", "research", NAME]["spec"]["template"])
    assert "helm.sh/chart" not in template
    assert "app.kubernetes.io/version" not in template


@pytest.mark.parametrize(
    ("values", "volume", "claims"),
    [
        pytest.param([], {"emptyDir": {"sizeLimit": "10Gi"}}, [], id="while-the-pod-lives"),
        pytest.param(["enabled=true"], {"persistentVolumeClaim": {"claimName": NAME}}, [NAME], id="stays"),
        pytest.param(
            ["enabled=true", "existingClaim=mine"],
            {"persistentVolumeClaim": {"claimName": "mine"}},
            [],
            id="exists",
        ),
    ],
)
def test_volumes(values: list[str], volume: dict[str, Any], claims: list[str]) -> None:
    objects = render(STORE, *(f"objectStore.persistence.{value}" for value in values))
    assert pod_of_store(objects)["volumes"] == [{"name": "data", **volume}]
    assert [name for kind, _, name in objects if kind == "PersistentVolumeClaim"] == claims


def test_a_claim_outlives_the_release() -> None:
    claim = only(render(STORE, "objectStore.persistence.enabled=true"), "PersistentVolumeClaim")
    assert claim["metadata"]["annotations"] == {"helm.sh/resource-policy": "keep"}


def test_a_secret_that_exists_is_used_everywhere() -> None:
    objects = render(STORE, "objectStore.existingSecret=mine", tests=True)
    assert not any(kind == "Secret" for kind, _, _ in objects)
    (server,) = pod_of_store(objects)["containers"]
    assert {entry["valueFrom"]["secretKeyRef"]["name"] for entry in server["env"]} == {"mine"}
    for pod in (only(objects, "Job")["spec"]["template"], only(objects, "Pod")):
        assert pod["spec"]["containers"][0]["envFrom"] == [{"secretRef": {"name": "mine"}}]
    assert environment_of(objects)["CYCLEQD_STORAGE_SECRET_NAME"] == "mine"


def test_the_quickstarts_models_are_uploaded(objects: Objects) -> None:
    job = only(objects, "Job")
    assert job["metadata"]["name"] == f"{NAME}-setup-1"
    (container,) = job["spec"]["template"]["spec"]["containers"]
    assert [*container["command"], *container["args"]] == ["cycleqd-upload-quickstart", "s3://cycleqd/"]
    assert container["image"] == container_of(objects)["image"].replace("operator", "quickstart")


@mock_aws
def test_without_them_the_operators_image_makes_the_bucket(monkeypatch: pytest.MonkeyPatch) -> None:
    objects = render(STORE, "objectStore.quickstart.enabled=false", "storage.root=s3://own/runs/")
    (container,) = only(objects, "Job")["spec"]["template"]["spec"]["containers"]
    assert container["image"] == container_of(objects)["image"]
    assert container["command"] == ["python", "-c"]
    program, root = container["args"]
    assert root == "s3://own/runs/"
    for name in ("AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(sys, "argv", ["-c", root])
    exec(program)
    assert [bucket["Name"] for bucket in boto3.client("s3").list_buckets()["Buckets"]] == ["own"]
