"""Who may talk to whom, read from the rendered policies. That a network enforces them is the cluster's business."""

from __future__ import annotations

from typing import Any

import pytest

from cycleqd_operator import labels
from tests.charts.helm import Objects, render

ON = "networkPolicy.enabled=true"
STORE = "objectStore.enabled=true"
WORKER = {labels.NAME: "cycleqd", labels.COMPONENT: "worker", labels.MANAGED_BY: labels.MANAGER, labels.INSTANCE: "run"}
DNS = {("anyone", "UDP", 53), ("anyone", "TCP", 53)}
API_SERVER = {("anyone", "TCP", 443), ("anyone", "TCP", 6443)}
S3 = {("anyone", "TCP", 443)}
OWN_STORE = {("object-store", "TCP", 7070)}

Ways = set[tuple[str, str, int]]
"""Who, how, and at which port."""


def ours(component: str) -> dict[str, str]:
    """Return the labels of the pods of a part of the release."""
    return {labels.NAME: "cycleqd", labels.INSTANCE: "evolve", labels.COMPONENT: component}


def ways(objects: Objects, direction: str, pod: dict[str, str], namespace: str = "research") -> Ways | None:
    """Return whom a pod may talk to (``egress``) or be talked to by (``ingress``); None: no policy is about it."""
    policies = [
        body["spec"]
        for (kind, where, _), body in objects.items()
        if kind == "NetworkPolicy"
        and where == namespace
        and body["spec"]["podSelector"]["matchLabels"].items() <= pod.items()
    ]
    if not policies:
        return None
    assert all(policy["policyTypes"] == ["Ingress", "Egress"] for policy in policies)
    side = {"egress": "to", "ingress": "from"}[direction]
    return {
        (_who(peer), port["protocol"], port["port"])
        for policy in policies
        for rule in policy[direction]
        for peer in rule.get(side, [{}])
        for port in rule["ports"]
    }


def _who(peer: dict[str, Any]) -> str:
    """Return a word for a peer: a part of the release, addresses, or namespaces."""
    pods = peer.get("podSelector", {}).get("matchLabels", {})
    if labels.COMPONENT in pods:
        return str(pods[labels.COMPONENT])
    if "ipBlock" in peer:
        return str(peer["ipBlock"]["cidr"])
    expressions = (peer.get("namespaceSelector") or {}).get("matchExpressions", [])
    return ",".join(name for expression in expressions for name in expression["values"]) or "anyone"


@pytest.fixture(scope="module")
def objects() -> Objects:
    return render(ON, STORE, "watch.namespaces={team-a,team-b}", tests=True)


@pytest.mark.parametrize(
    ("component", "egress", "ingress"),
    [
        ("operator", DNS | API_SERVER | S3 | OWN_STORE, {("anyone", "TCP", 8080), ("test", "TCP", 8080)}),
        ("test", DNS | API_SERVER | S3 | OWN_STORE | {("operator", "TCP", 8080)}, set()),
        ("object-store", set(), {("research,team-a,team-b", "TCP", 7070)}),
        ("object-store-setup", DNS | S3 | OWN_STORE, set()),
    ],
)
def test_parts_of_the_release(objects: Objects, component: str, egress: Ways, ingress: Ways) -> None:
    assert ways(objects, "egress", ours(component)) == egress
    assert ways(objects, "ingress", ours(component)) == ingress


@pytest.mark.parametrize("namespace", ["team-a", "team-b"])
def test_workers_reach_names_and_stores_and_are_reached_by_nobody(objects: Objects, namespace: str) -> None:
    assert ways(objects, "egress", WORKER, namespace) == DNS | S3 | OWN_STORE
    assert ways(objects, "ingress", WORKER, namespace) == set()


def test_other_pods_are_left_alone(objects: Objects) -> None:
    assert ways(objects, "egress", {"app": "other"}) is None
    assert ways(objects, "egress", WORKER) is None, "no runs are served in the release's namespace"


def test_without_the_store_nobody_goes_there() -> None:
    assert ways(render(ON), "egress", WORKER) == DNS | S3


def test_there_are_none_unless_asked_for() -> None:
    assert not any(kind == "NetworkPolicy" for kind, _, _ in render(STORE))


def test_they_can_be_narrowed_and_widened() -> None:
    values = ("s3.to[0].ipBlock.cidr=192.0.2.0/24", "s3.ports={9000}", "metricsFrom=null", "dns.ports={5353}")
    proxy = "extraEgress[0].ports[0].port=3128,networkPolicy.workers.extraEgress[0].ports[0].protocol=TCP"
    objects = render(ON, *(f"networkPolicy.{value}" for value in values), f"networkPolicy.workers.{proxy}")
    dns = {("anyone", "UDP", 5353), ("anyone", "TCP", 5353)}
    store = {("192.0.2.0/24", "TCP", 9000)}
    assert ways(objects, "egress", WORKER) == dns | store | {("anyone", "TCP", 3128)}
    assert ways(objects, "egress", ours("operator")) == dns | store | API_SERVER
    assert ways(objects, "ingress", ours("operator")) == {("test", "TCP", 8080)}


@pytest.mark.parametrize(
    ("values", "namespaces"),
    [
        pytest.param([], set(), id="none-holds-for-all-namespaces"),
        pytest.param(["networkPolicy.workers.namespaces={a,b}"], {"a", "b"}, id="unless-named"),
    ],
)
def test_cluster_wide(values: list[str], namespaces: set[str]) -> None:
    objects = render(ON, "watch.clusterWide=true", *values)
    policies = {(where, name) for kind, where, name in objects if kind == "NetworkPolicy"}
    assert {where for where, name in policies if name.endswith("-workers")} == namespaces
