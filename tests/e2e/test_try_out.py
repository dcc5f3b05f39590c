"""What a newcomer does with helm: install with the try-out store, test, run the quickstart, upgrade, uninstall.

Nothing but images is given: the store, its Secret, the models and the place of the run come with the chart. This comes
before all other scenarios, so that on a new cluster the chart also brings the definition.
"""

from __future__ import annotations

import os
from base64 import b64decode
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cycleqd import keys
from tests.charts.helm import CHART, helm, settings
from tests.e2e.checker import check
from tests.e2e.cluster import connect, throwaway_namespace
from tests.e2e.diagnosis import explained
from tests.e2e.manifests import SMALLER, quickstart
from tests.e2e.outside import IMAGES, TRY_OUT_IMAGES, need
from tests.e2e.scene import RUNS, Run
from tests.e2e.world import RELEASE, RESTRICTED, Site, image_value

pytestmark = [pytest.mark.e2e, pytest.mark.empty_cluster, pytest.mark.timeout(3600)]

STORE = f"{RELEASE}-s3"
"""Deployment, Service and Secret of the try-out store."""
STORE_PORT = 7070
PATIENCE_SECONDS = 1500
"""For half of the run: one worker at a time, with the real model."""

OURS = f"--selector=app.kubernetes.io/instance={RELEASE}"
IMAGE_VALUES = {
    "image": "CYCLEQD_OPERATOR_IMAGE",
    "worker.image": "CYCLEQD_RUNNER_IMAGE",
    "sandbox.image": "CYCLEQD_SANDBOX_IMAGE",
    "objectStore.image": "CYCLEQD_OBJECT_STORE_IMAGE",
    "objectStore.quickstart.image": "CYCLEQD_QUICKSTART_IMAGE",
}


class TryOutRun(Run):
    """A run that lies below the chart's storage root."""

    @property
    def uri(self) -> str:
        return f"s3://cycleqd/runs/{self.name}"


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    """An empty namespace, for the release and for its runs."""
    kubectl = connect()
    need(IMAGES | TRY_OUT_IMAGES)
    monkeypatch.setenv("CYCLEQD_CACHE", str(tmp_path))
    with throwaway_namespace(kubectl, RESTRICTED) as namespace:
        yield Site(kubectl, namespace, namespace)


def test_a_newcomer_comes_to_a_model_and_goes_again(
    site: Site, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(site)
    site.operator_ready()
    told = helm("test", RELEASE, "--namespace", site.system, "--logs", seconds=300)
    assert "can be written, and honours If-None-Match" in told

    with site.kubectl.forward(f"service/{STORE}", STORE_PORT, site.system) as address:
        for name, value in credentials(site, address).items():
            monkeypatch.setenv(name, value)
        run = TryOutRun(site, "quickstart", quickstart(edits=SMALLER))
        with explained(request.node, [run]):
            run.apply()
            run.reach("a child", lambda: run.children() > 0, seconds=PATIENCE_SECONDS)
            before, workers, pods = run.results(), uids(run.active_jobs()), pods_of_the_release(site)
            assert workers, "the search was over before the upgrade"
            upgrade(site)
            assert pods_of_the_release(site)["operator"] != pods["operator"]
            assert pods_of_the_release(site)["object-store"] == pods["object-store"]
            assert workers <= uids(run.objects("jobs")), "workers were replaced"

            run.reach_state("Succeeded", seconds=PATIENCE_SECONDS)
            after = check(run)
            assert {individual: after[individual] for individual in before} == before
            assert run.failures() == []
            assert run.status()["storageUri"] == run.uri
            assert run.status()["modelUri"] == f"{run.uri}/{keys.MODEL}"

    left = run.body()
    helm("uninstall", RELEASE, "--namespace", site.system, "--wait", seconds=120)
    site.kubectl.must("get", "crd", RUNS)
    assert run.body() == left
    assert site.kubectl.get("deployments,services,secrets,serviceaccounts", "", site.system, OURS)["items"] == []


def install(site: Site) -> None:
    """Install the release as its NOTES say, with images of this cluster. A definition that is there is taken over."""
    images = {name: image_value(os.environ[variable]) for name, variable in IMAGE_VALUES.items()}
    values = [f"{name}.{part}={value}" for name, image in images.items() for part, value in image.items()]
    options = ("--namespace", site.system, "--take-ownership", *settings("objectStore.enabled=true", *values))
    helm("install", RELEASE, str(CHART), *options)


def upgrade(site: Site) -> None:
    """Upgrade the release so that the operator is replaced, and wait until it is, and the models are uploaded again."""
    changed = settings("log.level=DEBUG")
    helm("upgrade", RELEASE, str(CHART), "--namespace", site.system, "--reset-then-reuse-values", *changed)
    site.operator_ready()
    site.kubectl.wait("job", f"{STORE}-setup-2", "condition=Complete", site.system, seconds=180)


def credentials(site: Site, address: str) -> dict[str, str]:
    """Return the environment in which this machine reaches the try-out store, out of the Secret that the chart made."""
    secret = site.kubectl.get("secret", STORE, site.namespace)["data"]
    found = {name: b64decode(secret[name]).decode() for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")}
    return {**found, "AWS_ENDPOINT_URL_S3": f"http://{address}", "AWS_DEFAULT_REGION": "us-east-1"}


def uids(objects: list[dict[str, Any]]) -> set[str]:
    return {body["metadata"]["uid"] for body in objects}


def pods_of_the_release(site: Site) -> dict[str, set[str]]:
    """Return the uids of the release's pods that are to stay, by component."""
    found: dict[str, set[str]] = {}
    for pod in site.kubectl.get("pods", "", site.system, OURS)["items"]:
        if "deletionTimestamp" not in pod["metadata"]:
            component = pod["metadata"]["labels"].get("app.kubernetes.io/component", "")
            found.setdefault(component, set()).add(pod["metadata"]["uid"])
    return found
