"""The chart's values: what they are called, where they arrive, and which are refused in which words."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
import yaml

from tests.charts.helm import CHART, HelmRefused, container_of, environment_of, only, pod_of, render


def test_values_reach_the_operator() -> None:
    objects = render(
        "image.repository=example.org/op",
        "image.tag=7",
        "worker.image.tag=0.1.0-gpu",
        "worker.image.pullPolicy=Never",
        "worker.jobTtlSeconds=1000000",
        "log.level=DEBUG",
        "log.format=plain",
        "extraEnv[0].name=HTTPS_PROXY",
        "extraEnv[0].value=proxy:3128",
        "terminationGracePeriodSeconds=5",
        "imagePullSecrets[0].name=pull",
        "podLabels.team=a",
        "nodeSelector.disk=ssd",
        "image.tag=v7",
    )
    environment = environment_of(objects)
    assert container_of(objects)["image"] == "example.org/op:v7"
    assert environment["CYCLEQD_WORKER_IMAGE"] == "localhost/cycleqd-runner:0.1.0-gpu"
    assert environment["CYCLEQD_WORKER_IMAGE_PULL_POLICY"] == "Never"
    assert environment["CYCLEQD_JOB_TTL_SECONDS"] == "1000000"
    assert (environment["CYCLEQD_LOG_LEVEL"], environment["CYCLEQD_LOG_FORMAT"]) == ("DEBUG", "plain")
    assert environment["HTTPS_PROXY"] == "proxy:3128"
    pod = pod_of(objects)
    assert pod["terminationGracePeriodSeconds"] == 5
    assert pod["imagePullSecrets"] == [{"name": "pull"}]
    assert pod["nodeSelector"] == {"disk": "ssd"}
    assert only(objects, "Deployment")["spec"]["template"]["metadata"]["labels"]["team"] == "a"


@pytest.mark.parametrize(
    ("release", "values", "name"),
    [
        pytest.param("cycleqd", [], "cycleqd", id="release-named-like-the-chart"),
        pytest.param("my-cycleqd-2", [], "my-cycleqd-2", id="release-that-contains-it"),
        pytest.param("a.b", [], "a-b-cycleqd", id="dots-fit-no-lease"),
        pytest.param("r" * 53, [], "r" * 53, id="long-release"),
        pytest.param("evolve", ["fullnameOverride=true-name"], "true-name", id="override"),
    ],
)
def test_names(release: str, values: list[str], name: str) -> None:
    objects = render(*values, release=release, namespace="2026")
    assert only(objects, "Deployment")["metadata"]["name"] == name
    assert all(isinstance(namespace, str) for _, namespace, _ in objects), "a number is no namespace"


MISTAKES = {
    "unknown-value": ("replica=2", "at '': additional properties 'replica' not allowed"),
    "unknown-value-inside": ("image.name=x", "at '/image': additional properties 'name' not allowed"),
    "replicas-as-text": ("replicas=two", "at '/replicas': got string, want integer"),
    "too-many-replicas": ("replicas=4", "at '/replicas': maximum: got 4, want 3"),
    "negative-replicas": ("replicas=-1", "at '/replicas': minimum: got -1, want 0"),
    "no-repository": ("image.repository=", "at '/image/repository': minLength: got 0, want 1"),
    "repository-with-digest": ("image.repository=op@sha256:0", "at '/image/repository': 'op@sha256:0' does not match"),
    "tag-as-number": ("image.tag=7", "at '/image/tag': got number, want string"),
    "tag-with-colon": ("worker.image.tag=a:b", "at '/worker/image/tag': 'a:b' does not match pattern"),
    "pull-policy": ("image.pullPolicy=always", "at '/image/pullPolicy': value must be one of 'IfNotPresent', 'Always'"),
    "pull-secret-as-text": ("imagePullSecrets={pull}", "at '/imagePullSecrets/0': got string, want object"),
    "job-ttl": ("worker.jobTtlSeconds=10m", "at '/worker/jobTtlSeconds': got string, want integer"),
    "cluster-wide": ("watch.clusterWide=yes", "at '/watch/clusterWide': got string, want boolean"),
    "namespaces-as-text": ("watch.namespaces=a", "at '/watch/namespaces': got string, want array"),
    "namespace": ("watch.namespaces={Team_A}", "at '/watch/namespaces/0': 'Team_A' does not match pattern"),
    "namespace-twice": ("watch.namespaces={a,a}", "at '/watch/namespaces': items at 0 and 1 are equal"),
    "crds": ("crds.keep=false", "at '/crds': additional properties 'keep' not allowed"),
    "secret-names": ("rbac.secretNames={s3/x}", "at '/rbac/secretNames/0': 's3/x' does not match pattern"),
    "account": ("serviceAccount.name=Robot", "at '/serviceAccount/name': 'Robot' does not match pattern"),
    "account-annotation": ("serviceAccount.annotations.a=1", "at '/serviceAccount/annotations/a': got number, want"),
    "log-level": ("log.level=info", "at '/log/level': value must be one of 'DEBUG', 'INFO', 'WARNING', 'ERROR'"),
    "log-format": ("log.format=text", "at '/log/format': value must be one of 'json', 'plain'"),
    "variable-without-name": ("extraEnv[0].value=x", "at '/extraEnv/0': missing property 'name'"),
    "variable-as-number": ("extraEnv[0].name=A,extraEnv[0].value=1", "at '/extraEnv/0/value': got number, want string"),
    "resources": ("resources.memory=1Gi", "at '/resources': additional properties 'memory' not allowed"),
    "grace-period": ("terminationGracePeriodSeconds=-1", "at '/terminationGracePeriodSeconds': minimum"),
    "tolerations": ("tolerations.key=a", "at '/tolerations': got object, want array"),
    "long-name": (f"fullnameOverride={'x' * 54}", "at '/fullnameOverride': maxLength: got 54, want 53"),
    "all-and-some": (
        "watch.clusterWide=true,watch.namespaces={a}",
        "watch.clusterWide is true, which serves all namespaces, but watch.namespaces names some: choose one of them",
    ),
    "nobodys-account": (
        "serviceAccount.create=false",
        "serviceAccount.create is false: serviceAccount.name must name an account that exists",
    ),
}


@pytest.mark.parametrize(("value", "message"), [pytest.param(*row, id=name) for name, row in MISTAKES.items()])
def test_mistakes_are_refused_and_named(value: str, message: str) -> None:
    with pytest.raises(HelmRefused) as refused:
        render(value)
    assert message in str(refused.value)


def _leaves(values: Any, path: str = "") -> Iterator[str]:
    if isinstance(values, dict) and values:
        for name, value in values.items():
            yield from _leaves(value, f"{path}.{name}")
    else:
        yield path


def _described(schema: dict[str, Any], whole: dict[str, Any], path: str = "") -> Iterator[tuple[str, bool]]:
    """Yield every field of the schema that values.yaml can hold, and whether it is described."""
    described = "description" in schema
    if "$ref" in schema:
        target = whole["definitions"][schema["$ref"].rpartition("/")[2]]
        described, schema = described or "description" in target, target
    fields = schema.get("properties", {})
    for name, field in fields.items():
        yield from _described(field, whole, f"{path}.{name}")
    if not fields:
        yield path, described


def test_schema_and_values_speak_of_the_same_things() -> None:
    schema = json.loads((CHART / "values.schema.json").read_text())
    values = yaml.safe_load((CHART / "values.yaml").read_text())
    fields = dict(_described(schema, schema))
    inside = {".global", ".resources.requests", ".resources.limits", ".resources.claims"}
    assert set(fields) - inside == {path for path in _leaves(values) if not path.startswith(".resources")}
    assert [path for path, described in fields.items() if not described and path not in inside] == []
