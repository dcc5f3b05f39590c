"""The chart, rendered by the real helm: who may do what, and how the operator's pod is locked in."""

from __future__ import annotations

import pytest
import yaml

from cycleqd import __version__, crd
from cycleqd_operator.settings import Settings
from tests.charts.helm import CHART, Objects, container_of, environment_of, granted, helm, only, pod_of, render

NAMESPACED = {
    ("cycleqd.dev", "cycleqdruns", ()): {"get", "list", "watch", "patch", "delete"},
    ("cycleqd.dev", "cycleqdruns/status", ()): {"patch"},
    ("cycleqd.dev", "cycleqdruns/finalizers", ()): {"update"},
    ("batch", "jobs", ()): {"get", "list", "watch", "create", "delete"},
    ("", "pods", ()): {"get", "list"},
    ("events.k8s.io", "events", ()): {"create"},
    ("", "secrets", ()): {"get"},
}
CLUSTER_WIDE = {**NAMESPACED, ("apiextensions.k8s.io", "customresourcedefinitions", ()): {"list", "watch"}}


@pytest.fixture(scope="module")
def default() -> Objects:
    return render()


@pytest.fixture(scope="module")
def pair() -> Objects:
    """Two operators that serve the whole cluster."""
    return render("replicas=2", "watch.clusterWide=true")


def test_lint() -> None:
    assert "1 chart(s) linted, 0 chart(s) failed" in helm("lint", "--strict", str(CHART))


def test_it_installs_this_version(default: Objects) -> None:
    assert yaml.safe_load((CHART / "Chart.yaml").read_text())["appVersion"] == __version__
    assert container_of(default)["image"] == f"localhost/cycleqd-operator:{__version__}"
    assert environment_of(default)["CYCLEQD_WORKER_IMAGE"] == f"localhost/cycleqd-runner:{__version__}"


def test_the_definition_is_the_generated_one_and_stays(default: Objects) -> None:
    assert only(default, "CustomResourceDefinition") == crd.build(crd.KEEP)
    assert crd.KEEP == {"helm.sh/resource-policy": "keep"}


def test_the_definition_can_be_left_out() -> None:
    kinds = {kind for kind, _, _ in render("crds.install=false")}
    assert kinds == {"ServiceAccount", "Role", "RoleBinding", "Deployment"}


def test_by_default_it_serves_its_own_namespace_and_has_rights_nowhere_else(default: Objects) -> None:
    assert {key for key in default if key[0] != "CustomResourceDefinition"} == {
        ("ServiceAccount", "research", "evolve-cycleqd"),
        ("Role", "research", "research-evolve-cycleqd"),
        ("RoleBinding", "research", "research-evolve-cycleqd"),
        ("Deployment", "research", "evolve-cycleqd"),
    }
    assert granted(only(default, "Role")) == NAMESPACED
    assert environment_of(default)["CYCLEQD_NAMESPACES"] == "research"


def test_it_has_a_role_in_every_namespace_that_it_serves() -> None:
    objects = render("watch.namespaces={team-a,team-b}")
    assert {namespace for kind, namespace, _ in objects if kind == "Role"} == {"team-a", "team-b"}
    for namespace in ("team-a", "team-b"):
        assert granted(objects["Role", namespace, "research-evolve-cycleqd"]) == NAMESPACED
        binding = objects["RoleBinding", namespace, "research-evolve-cycleqd"]
        assert binding["roleRef"]["name"] == "research-evolve-cycleqd"
        assert binding["subjects"] == [
            {"kind": "ServiceAccount", "name": "evolve-cycleqd", "namespace": "research"},
        ]
    assert not any(kind.startswith("Cluster") for kind, _, _ in objects)
    assert environment_of(objects)["CYCLEQD_NAMESPACES"] == "team-a,team-b"


def test_cluster_wide_it_has_one_cluster_role(pair: Objects) -> None:
    assert granted(only(pair, "ClusterRole")) == CLUSTER_WIDE
    binding = only(pair, "ClusterRoleBinding")
    assert binding["roleRef"]["name"] == only(pair, "ClusterRole")["metadata"]["name"] == "research-evolve-cycleqd"
    assert binding["subjects"] == [{"kind": "ServiceAccount", "name": "evolve-cycleqd", "namespace": "research"}]
    assert environment_of(pair)["CYCLEQD_NAMESPACES"] == ""


def test_secrets_can_be_named() -> None:
    rights = granted(only(render("rbac.secretNames={s3-credentials,hub}"), "Role"))
    assert rights["", "secrets", ("s3-credentials", "hub")] == {"get"}
    assert ("", "secrets", ()) not in rights


def test_two_operators_agree_on_a_lease(pair: Objects) -> None:
    assert granted(only(pair, "Role")) == {
        ("coordination.k8s.io", "leases", ()): {"create"},
        ("coordination.k8s.io", "leases", ("evolve-cycleqd",)): {"get", "update"},
    }
    assert only(pair, "RoleBinding")["roleRef"]["name"] == only(pair, "Role")["metadata"]["name"]
    environment = environment_of(pair)
    assert environment["CYCLEQD_LEADER_ELECTION"] == "true"
    assert (environment["CYCLEQD_LEASE_NAMESPACE"], environment["CYCLEQD_LEASE_NAME"]) == ("research", "evolve-cycleqd")
    assert only(pair, "Deployment")["spec"]["strategy"]["type"] == "RollingUpdate"


def test_one_operator_needs_no_lease_and_never_meets_its_successor(default: Objects) -> None:
    assert environment_of(default)["CYCLEQD_LEADER_ELECTION"] == "false"
    assert only(default, "Deployment")["spec"]["strategy"] == {"type": "Recreate"}


def test_rights_can_be_given_by_somebody_else() -> None:
    kinds = {kind for kind, _, _ in render("rbac.create=false", "replicas=2", "crds.install=false")}
    assert kinds == {"ServiceAccount", "Deployment", "PodDisruptionBudget"}


def test_an_account_that_exists_can_be_used() -> None:
    objects = render("serviceAccount.create=false", "serviceAccount.name=robot")
    assert not any(kind == "ServiceAccount" for kind, _, _ in objects)
    assert pod_of(objects)["serviceAccountName"] == "robot"
    assert only(objects, "RoleBinding")["subjects"][0]["name"] == "robot"


def test_the_pod_is_locked_in(default: Objects) -> None:
    """Restricted Pod Security, and more: no writable root, and a token only where it is asked for."""
    pod, container = pod_of(default), container_of(default)
    assert pod["securityContext"] == {
        "runAsNonRoot": True,
        "runAsUser": 65532,
        "runAsGroup": 65532,
        "fsGroup": 65532,
        "seccompProfile": {"type": "RuntimeDefault"},
    }
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert pod["volumes"] == [{"name": "tmp", "emptyDir": {"sizeLimit": "64Mi"}}]
    assert container["volumeMounts"] == [{"name": "tmp", "mountPath": "/tmp"}]
    assert pod["enableServiceLinks"] is False
    assert pod["automountServiceAccountToken"] is True
    assert only(default, "ServiceAccount")["automountServiceAccountToken"] is False
    assert not {"hostNetwork", "hostPID", "hostIPC"} & set(pod)
    assert set(container["resources"]) == {"requests", "limits"}


def test_probes_ask_the_port_that_the_operator_listens_on(default: Objects) -> None:
    container = container_of(default)
    assert container["ports"] == [{"name": "http", "containerPort": 8080}]
    assert environment_of(default)["CYCLEQD_PORT"] == "8080"
    asked = {name: container[name]["httpGet"] for name in ("startupProbe", "livenessProbe", "readinessProbe")}
    assert asked == {
        "startupProbe": {"path": "/healthz", "port": "http"},
        "livenessProbe": {"path": "/healthz", "port": "http"},
        "readinessProbe": {"path": "/readyz", "port": "http"},
    }


def test_the_selector_finds_the_pods_and_never_changes(default: Objects) -> None:
    deployment = only(default, "Deployment")["spec"]
    selector = deployment["selector"]["matchLabels"]
    assert selector.items() <= deployment["template"]["metadata"]["labels"].items()
    assert not any("version" in name or "chart" in name for name in selector)


def test_the_operator_understands_its_environment(pair: Objects, monkeypatch: pytest.MonkeyPatch) -> None:
    environment = environment_of(pair)
    assert {name.removeprefix("CYCLEQD_").lower() for name in environment} <= set(Settings.model_fields)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    read = Settings.load()
    assert read.namespaces == ()
    assert (read.leader_election, read.lease_namespace, read.lease_name) == (True, "research", "evolve-cycleqd")
    assert (read.job_ttl_seconds, read.port, read.log_level, read.log_format) == (600, 8080, "INFO", "json")
