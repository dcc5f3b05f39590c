"""Prometheus finds the operator through what the ServiceMonitor describes, and all panels show a run of the cluster.

It runs on this machine, discovers with the Kubernetes API as prometheus-operator would have it do, and scrapes the pod.
"""

from __future__ import annotations

import os
import socket
import time

import pytest

from tests.charts.helm import only, render
from tests.e2e.scene import Scene
from tests.e2e.world import RELEASE, World
from tests.monitoring.boards import queries
from tests.monitoring.monitors import discovery, scrape_config
from tests.monitoring.prometheus import Prometheus, prometheus

pytestmark = [pytest.mark.e2e, pytest.mark.together, pytest.mark.timeout(900)]

FOUND_SECONDS = 90
"""From the Service's creation to the first scrape; discovery is told at once."""
LAST_SCRAPES_SECONDS = 3


def test_every_panel_shows_a_run_that_is_found_through_the_service_monitor(scene: Scene) -> None:
    world = scene.world
    _need_the_pod_network(world)
    named = (f"fullnameOverride={RELEASE}", "monitoring.serviceMonitor.enabled=true")
    objects = render(*named, release=RELEASE, namespace=world.system)
    ok, error = world.kubectl.apply(only(objects, "Service"), world.system)
    assert ok, error
    monitor = only(objects, "ServiceMonitor")
    (endpoint,) = monitor["spec"]["endpoints"]
    with prometheus(scene.folder, scrape_config(endpoint) | discovery(monitor, os.environ["KUBECONFIG"])) as scraping:
        labels = _first_scrape(scraping)
        assert (labels["namespace"], labels["service"]) == (world.system, f"{RELEASE}-metrics")
        start = time.time()
        run = scene.tiny_run("watched", {"spec.search.children": 8})
        run.apply()
        run.reach_state("Succeeded")
        time.sleep(LAST_SCRAPES_SECONDS)
        end = time.time()

        variables = {"datasource": "", "run": run.name, "window": "30s", "__rate_interval": "15s"}
        of_runs = variables | {"namespace": world.namespace}
        of_operators = variables | {"namespace": world.system}
        silent = [
            query
            for query in queries()
            if not scraping.numbers(
                query.with_variables(of_operators if query.board == "operator" else of_runs), start, end
            )
        ]
        assert silent == []
        done = f'cycleqd_run_children{{namespace="{world.namespace}",run="{run.name}",state="done"}}'
        assert max(scraping.numbers(done, start, end)) == 8
        assert [rule["lastError"] for rule in scraping.rules() if rule["health"] != "ok"] == []


def _need_the_pod_network(world: World) -> None:
    """Skip the test where pods cannot be reached from this machine: it is the cluster's, not the chart's doing."""
    (pod,) = world.kubectl.get("pods", "", world.system, "--selector=app.kubernetes.io/component=operator")["items"]
    address = pod["status"]["podIP"]
    try:
        socket.create_connection((address, 8080), timeout=10).close()
    except OSError as error:
        pytest.skip(f"{address}, the operator's pod, cannot be reached from this machine: {error}")


def _first_scrape(scraping: Prometheus) -> dict[str, str]:
    """Wait until the only target was scraped; return its labels."""
    deadline = time.monotonic() + FOUND_SECONDS
    while time.monotonic() < deadline:
        targets = scraping.targets()
        if [target["health"] for target in targets] == ["up"]:
            labels: dict[str, str] = targets[0]["labels"]
            return labels
        time.sleep(0.5)
    raise AssertionError(f"one target should be scraped, but there are {targets}")
