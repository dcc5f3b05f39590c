"""What the chart makes, in a real API server: accepted without a warning, and with no more rights than it needs."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.charts.combinations import COMBINATIONS
from tests.charts.helm import CHART, helm, render, settings
from tests.e2e.cluster import Kubectl, Manifest, install_definition, throwaway_namespace

pytestmark = pytest.mark.e2e


@pytest.fixture(scope="module")
def namespace(kubectl: Kubectl) -> Iterator[str]:
    """A namespace where pods below restricted Pod Security make kubectl warn."""
    install_definition(kubectl)
    with throwaway_namespace(kubectl, {"pod-security.kubernetes.io/warn": "restricted"}) as name:
        for account in ("evolve-cycleqd", "mine", "robot"):
            # A pod without a Deployment, as helm test makes one, is refused while its account is not there.
            kubectl.must("create", "serviceaccount", account, "--namespace", name)
        yield name


@pytest.mark.parametrize("values", COMBINATIONS.values(), ids=COMBINATIONS)
def test_the_api_server_accepts_every_object(kubectl: Kubectl, namespace: str, values: list[str]) -> None:
    places: dict[str, list[Manifest]] = {}
    for (_, place, _), body in render(*values, namespace=namespace, tests=True).items():
        places.setdefault(place or namespace, []).append(body)
    for place, objects in places.items():
        assert kubectl.apply(objects, place, "--dry-run=server", "--force-conflicts") == (True, "")


def test_the_notes_say_what_comes_next(kubectl: Kubectl, namespace: str) -> None:
    # The definition is there already, from a file, and so is the account.
    answer = helm(
        *("install", "evolve", str(CHART), "--namespace", namespace, "--dry-run=server", "--take-ownership"),
        *settings("crds.install=false"),
    )
    notes = answer.partition("NOTES:")[2]
    assert f"It serves the runs of: {namespace}\n" in notes
    assert f"kubectl --namespace {namespace} rollout status deployment/evolve-cycleqd" in notes
    assert "apply crds/cycleqd.dev_cycleqdruns.yaml" in notes


@pytest.fixture(scope="module")
def account(kubectl: Kubectl, namespace: str) -> str:
    """The operator's account, with its real rights."""
    objects = render("replicas=2", "crds.install=false", "rbac.secretNames={s3}", namespace=namespace)
    rights = [body for (kind, _, _), body in objects.items() if kind in {"ServiceAccount", "Role", "RoleBinding"}]
    assert kubectl.apply(rights, namespace) == (True, "")
    return f"system:serviceaccount:{namespace}:evolve-cycleqd"


@pytest.mark.parametrize(
    ("verb", "what", "allowed"),
    [
        ("list", "cycleqdruns.cycleqd.dev", True),
        ("create", "cycleqdruns.cycleqd.dev", False),
        ("patch", "cycleqdruns.cycleqd.dev/status", True),
        ("create", "jobs.batch", True),
        ("delete", "jobs.batch", True),
        ("list", "pods", True),
        ("create", "pods", False),
        ("delete", "pods", False),
        ("create", "events.events.k8s.io", True),
        ("get", "secrets/s3", True),
        ("get", "secrets/other", False),
        ("list", "secrets", False),
        ("update", "leases.coordination.k8s.io/evolve-cycleqd", True),
        ("update", "leases.coordination.k8s.io/another", False),
        ("create", "leases.coordination.k8s.io", True),
        ("create", "rolebindings.rbac.authorization.k8s.io", False),
    ],
)
def test_the_account_may_do_what_it_needs_and_nothing_else(
    kubectl: Kubectl, namespace: str, account: str, verb: str, what: str, allowed: bool
) -> None:
    resource, _, sub = what.partition("/")
    target = ["--subresource=status", resource] if sub == "status" else [what]
    done = kubectl.run("auth", "can-i", verb, *target, "--namespace", namespace, f"--as={account}")
    assert done.stdout.strip() == ("yes" if allowed else "no"), done.stderr


def test_the_account_has_no_rights_elsewhere(kubectl: Kubectl, namespace: str, account: str) -> None:
    done = kubectl.run("auth", "can-i", "list", "jobs.batch", "--namespace", "default", f"--as={account}")
    assert done.stdout.strip() == "no", done.stderr
