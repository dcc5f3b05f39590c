"""The chart's values: what they are called, where they arrive, and which are refused in which words."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
import yaml

from tests.charts.helm import CHART, HelmRefused, container_of, environment_of, granted, only, pod_of, render

SCHEMA = json.loads((CHART / "values.schema.json").read_text(encoding="utf-8"))
DIGEST = f"sha256:{'0f' * 32}"


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


def test_a_digest_wins_over_a_tag() -> None:
    objects = render("image.tag=v7", f"image.digest={DIGEST}", f"worker.image.digest={DIGEST}")
    assert container_of(objects)["image"] == f"localhost/cycleqd-operator@{DIGEST}"
    assert environment_of(objects)["CYCLEQD_WORKER_IMAGE"] == f"localhost/cycleqd-runner@{DIGEST}"


def test_images_of_sidecars_reach_the_operator() -> None:
    environment = environment_of(render("sandbox.image.tag=v7", "mariadb.image.repository=example.org/mariadb"))
    assert environment["CYCLEQD_SANDBOX_IMAGE"] == "localhost/cycleqd-sandbox:v7"
    assert environment["CYCLEQD_MARIADB_IMAGE"] == "example.org/mariadb:11.8"
    inside = environment_of(render("sandbox.sidecar=false", "mariadb.image.pullPolicy=Always"))
    assert not [name for name in inside if "SANDBOX" in name]
    assert inside["CYCLEQD_MARIADB_IMAGE_PULL_POLICY"] == "Always"


def test_storage_reaches_the_operator_and_what_it_may_read() -> None:
    objects = render("storage.root=s3://models/", "storage.credentialsSecretName=s3", "rbac.secretNames={hub}")
    environment = environment_of(objects)
    assert environment["CYCLEQD_STORAGE_ROOT"] == "s3://models/"
    assert environment["CYCLEQD_STORAGE_SECRET_NAME"] == "s3"
    assert granted(only(objects, "Role"))["", "secrets", ("hub", "s3")] == {"get"}


def test_two_operators_can_be_kept_apart_and_go_first() -> None:
    spread = "topologySpreadConstraints[0]"
    objects = render(
        "replicas=2",
        "priorityClassName=system-cluster-critical",
        f"{spread}.maxSkew=1",
        f"{spread}.topologyKey=topology.kubernetes.io/zone",
        f"{spread}.whenUnsatisfiable=DoNotSchedule",
    )
    ours = only(objects, "Deployment")["spec"]["selector"]
    (constraint,) = pod_of(objects)["topologySpreadConstraints"]
    assert constraint["labelSelector"] == ours
    assert pod_of(objects)["priorityClassName"] == "system-cluster-critical"
    budget = only(objects, "PodDisruptionBudget")["spec"]
    assert budget["selector"] == ours
    assert budget["maxUnavailable"] == 1


@pytest.mark.parametrize("values", [["replicas=1"], ["replicas=2", "podDisruptionBudget.enabled=false"]])
def test_a_budget_is_for_two_operators_that_want_one(values: list[str]) -> None:
    assert not any(kind == "PodDisruptionBudget" for kind, _, _ in render(*values))


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
    "digest": ("image.digest=sha256:abc", "at '/image/digest': 'sha256:abc' does not match pattern"),
    "storage-root": ("storage.root=models", "at '/storage/root': 'models' does not match pattern '^(s3://"),
    "storage-root-without-bucket": ("storage.root=s3://", "at '/storage/root': 's3://' does not match pattern"),
    "storage-secret": ("storage.credentialsSecretName=A", "at '/storage/credentialsSecretName': 'A' does not match"),
    "store": ("objectStore=true", "at '/objectStore': got boolean, want object"),
    "store-enabled": ("objectStore.enabled=1", "at '/objectStore/enabled': got number, want boolean"),
    "store-size": ("objectStore.persistence.size=10GB", "at '/objectStore/persistence/size': '10GB' does not match"),
    "store-volume": ("objectStore.persistence.claim=a", "at '/objectStore/persistence': additional properties 'claim'"),
    "quickstart": ("objectStore.quickstart=false", "at '/objectStore/quickstart': got boolean, want object"),
    "port": ("networkPolicy.s3.ports={70700}", "at '/networkPolicy/s3/ports/0': maximum: got 70,700, want 65,535"),
    "no-ports": ("networkPolicy.dns.ports=null", "at '/networkPolicy/dns': missing property 'ports'"),
    "peer": ("networkPolicy.s3.to[0].cidr=::/0", "at '/networkPolicy/s3/to/0': additional properties 'cidr' not allow"),
    "budget-of-none": ("podDisruptionBudget.maxUnavailable=0", "at '/podDisruptionBudget/maxUnavailable': minimum"),
    "budget": ("podDisruptionBudget.maxUnavailable=half", "at '/podDisruptionBudget/maxUnavailable': 'half' does not"),
    "priority-class": ("priorityClassName=High", "at '/priorityClassName': 'High' does not match pattern"),
    "spread": ("topologySpreadConstraints[0].maxSkew=1", "at '/topologySpreadConstraints/0': missing properties"),
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


def _undescribed(schema: Any, path: str = "") -> Iterator[str]:
    """Yield every property of the schema, its definitions' too, that does not say what it is."""
    for name, inner in schema.items() if isinstance(schema, dict) else ():
        if name == "properties":
            yield from (f"{path}.{field}" for field, found in inner.items() if "description" not in found)
        yield from _undescribed(inner, f"{path}.{name}")


def test_the_schema_describes_all() -> None:
    assert list(_undescribed(SCHEMA)) == []


def _open(schema: Any, path: str = "") -> Iterator[str]:
    """Yield every object of the schema that takes other fields than it lists."""
    for name, inner in schema.items() if isinstance(schema, dict) else ():
        if name == "properties" and schema.get("additionalProperties") is not False:
            yield path
        yield from _open(inner, f"{path}.{name}")


def test_the_schema_takes_no_names_that_it_does_not_list() -> None:
    assert list(_open(SCHEMA)) == []


def _missing(schema: dict[str, Any], values: Any, path: str = "") -> Iterator[str]:
    """Yield every field of the schema that values.yaml does not show."""
    schema = SCHEMA["definitions"][schema["$ref"].rpartition("/")[2]] if "$ref" in schema else schema
    for name, field in schema.get("properties", {}).items():
        if name in values:
            yield from _missing(field, values[name], f"{path}.{name}")
        else:
            yield f"{path}.{name}"


def test_values_show_all_that_the_schema_knows() -> None:
    """That the schema knows all of values.yaml is what helm itself checks."""
    values = yaml.safe_load((CHART / "values.yaml").read_text(encoding="utf-8"))
    assert set(_missing(SCHEMA, values)) == {".global", ".resources.claims", ".objectStore.resources.claims"}
