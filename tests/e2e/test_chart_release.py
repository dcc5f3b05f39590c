"""A release of two operators with a store of its own: installed, tested, upgraded, uninstalled. No run is started."""

from __future__ import annotations

import os
import time
from base64 import b64decode
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from tests.charts.helm import CHART, HelmRefused, helm, settings
from tests.e2e.cluster import Kubectl, connect, install_definition, throwaway_namespace

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(900)]

OPERATOR = "evolve-cycleqd"
STORE = f"{OPERATOR}-s3"
IMAGES = {"image": "CYCLEQD_OPERATOR_IMAGE", "objectStore.image": "CYCLEQD_OBJECT_STORE_IMAGE"}
TAKE_OVER_SECONDS = 120
"""A Lease that nobody renews is taken after 20 s; beyond this, nobody will."""
RESTRICTED = {"pod-security.kubernetes.io/enforce": "restricted"}


@dataclass(frozen=True)
class Release:
    """The release, and where it and its runs are."""

    kubectl: Kubectl
    namespace: str
    runs: str

    def helm(self, command: str, *arguments: str) -> str:
        """Run a command of helm on the release and return what it said."""
        return helm(command, "evolve", *arguments, "--namespace", self.namespace, seconds=300)

    def key(self, namespace: str) -> str:
        """Return the store's secret key, as the Secret in a namespace has it."""
        secret = self.kubectl.get("secret", STORE, namespace)
        return b64decode(secret["data"]["AWS_SECRET_ACCESS_KEY"]).decode()

    def pods(self, component: str) -> set[str]:
        """Return the names of the pods of a part."""
        selector = f"--selector=app.kubernetes.io/instance=evolve,app.kubernetes.io/component={component}"
        return {pod["metadata"]["name"] for pod in self.kubectl.get("pods", "", self.namespace, selector)["items"]}

    def leader(self) -> str:
        """Return who leads: the name of its pod, and the number of its process."""
        lease = self.kubectl.get("lease", OPERATOR, self.namespace)
        return str(lease["spec"]["holderIdentity"])


@pytest.fixture(scope="module")
def release() -> Iterator[Release]:
    """The release, installed with all that can be switched on."""
    kubectl = connect()
    missing = [name for name in IMAGES.values() if not os.environ.get(name)]
    if missing:
        pytest.skip(f"not set: {', '.join(missing)}, the images of the operator and of versitygw")
    install_definition(kubectl)
    with throwaway_namespace(kubectl, RESTRICTED) as namespace, throwaway_namespace(kubectl) as runs:
        made = Release(kubectl, namespace, runs)
        images = []
        for name, variable in IMAGES.items():
            repository, _, tag = os.environ[variable].rpartition(":")
            images += [f"{name}.repository={repository}", f"{name}.tag={tag}"]
        values = [
            # The definition is there already, from a file, and only its owner may install it.
            "crds.install=false",
            f"watch.namespaces={{{namespace},{runs}}}",
            "replicas=2",
            "networkPolicy.enabled=true",
            "objectStore.enabled=true",
            "objectStore.quickstart.enabled=false",
        ]
        made.helm("install", str(CHART), *settings(*values, *images), "--wait", "--wait-for-jobs", "--timeout=4m")
        yield made
        if helm("list", "--namespace", namespace, "--short"):
            made.helm("uninstall", "--wait")


def test_helm_test_finds_all_in_order(release: Release) -> None:
    told = release.helm("test", "--logs", "--hide-notes")
    for line in (
        "ok: the operator is ready",
        "ok: the operator serves its metrics",
        "ok: the API server serves CycleQDRuns",
        "things that it has to",
        "ok: s3://cycleqd/ can be written",
    ):
        assert line in told


def test_one_of_two_leads_and_the_other_takes_over(release: Release) -> None:
    first = release.leader()
    (leading,) = (pod for pod in release.pods("operator") if first.startswith(pod))
    release.kubectl.delete("pod", leading, release.namespace)
    deadline = time.monotonic() + TAKE_OVER_SECONDS
    while release.leader() == first:
        assert time.monotonic() < deadline, f"{first} is gone, and nobody leads"
        time.sleep(1)
    assert any(release.leader().startswith(pod) for pod in release.pods("operator") - {leading})


def test_an_upgrade_keeps_the_key_and_the_store(release: Release) -> None:
    key, store = release.key(release.namespace), release.pods("object-store")
    release.helm("upgrade", str(CHART), "--reuse-values", *settings("log.level=DEBUG"), "--wait", "--timeout=4m")
    assert release.key(release.namespace) == release.key(release.runs) == key
    assert release.pods("object-store") == store


def test_helm_test_names_a_right_that_is_missing(release: Release) -> None:
    role = f"{release.namespace}-{OPERATOR}"
    release.kubectl.delete("rolebinding", role, release.runs)
    with pytest.raises(HelmRefused):
        release.helm("test", "--hide-notes")
    told = release.kubectl.must("logs", f"{OPERATOR}-test", "--namespace", release.namespace)
    assert "The operator's account may not do this" in told
    assert f"'namespace': '{release.runs}'" in told


def test_uninstalling_leaves_nothing_but_the_definition(release: Release) -> None:
    release.helm("uninstall", "--wait")
    release.kubectl.must("get", "crd", "cycleqdruns.cycleqd.dev")
    kinds = "deployments,services,secrets,roles,rolebindings,networkpolicies,poddisruptionbudgets,jobs"
    selector = "--selector=app.kubernetes.io/instance=evolve"
    for namespace in (release.namespace, release.runs):
        assert release.kubectl.get(kinds, "", namespace, selector)["items"] == []
