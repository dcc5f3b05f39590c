"""Prometheus finds the operator through what the ServiceMonitor describes, and all panels show a run of the cluster.

It runs on this machine, gets the targets that prometheus-operator would have it find, and scrapes the operator's pod.
"""

from __future__ import annotations

import socket
import time
from typing import Any

import pytest

from tests.charts.helm import only, render
from tests.e2e.scene import POLL_SECONDS, Scene
from tests.e2e.world import RELEASE, World
from tests.monitoring.boards import queries
from tests.monitoring.monitors import scrape_config, targets
from tests.monitoring.prometheus import prometheus

pytestmark = [pytest.mark.e2e, pytest.mark.together, pytest.mark.timeout(3000)]

FOUND_SECONDS = 90
"""From the Service's creation to its EndpointSlice."""
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
    (found,) = _targets(world, monitor)
    assert (found["labels"]["namespace"], found["labels"]["service"]) == (world.system, f"{RELEASE}-metrics")
    with prometheus(scene.folder, scrape_config(endpoint) | {"static_configs": [found]}) as scraping:
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


def _targets(world: World, monitor: dict[str, Any]) -> list[dict[str, Any]]:
    """Return what the monitor finds, once Kubernetes has noted which pods belong to the Service."""
    deadline = time.monotonic() + FOUND_SECONDS
    while time.monotonic() < deadline:
        found = list(targets(world.kubectl, monitor))
        if found:
            return found
        time.sleep(POLL_SECONDS)
    raise AssertionError(f"the ServiceMonitor finds nothing: {monitor}")
