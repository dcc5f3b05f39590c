"""What goes away for everybody: the operator, the S3, the API server. Nothing else runs meanwhile."""

from __future__ import annotations

import socket
import time
from urllib.parse import urlsplit

import pytest

from tests.e2e.checker import check
from tests.e2e.outside import Switch
from tests.e2e.scene import Scene

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(3000)]

OUTAGE_SECONDS = 60
TWO_WORKERS = {"spec.search.children": 16, "spec.workers.parallelism": 2, "spec.workers.childrenPerJob": 4}


def test_a_killed_operator_goes_on_where_it_was(scene: Scene) -> None:
    run = scene.tiny_run("operator-killed", TWO_WORKERS)
    run.apply()
    run.reach_children(2)
    jobs = {job["metadata"]["uid"] for job in run.active_jobs()}
    system = scene.world.system
    (pod,) = scene.world.kubectl.get("pods", "", system)["items"]
    scene.world.kubectl.delete("pod", pod["metadata"]["name"], system, "--force", "--grace-period=0")
    # Workers do not notice; a second operator adopts what they do.
    run.reach_children(4)
    scene.world.operator_ready()
    (successor,) = scene.world.kubectl.get("pods", "", system, "--field-selector=status.phase=Running")["items"]
    assert successor["metadata"]["uid"] != pod["metadata"]["uid"]
    run.reach_state("Succeeded")
    check(run)
    assert run.failures() == []
    assert jobs <= {job["metadata"]["uid"] for job in run.objects("jobs")}, "the first Jobs were not made again"
    told = [event["reason"] for event in run.objects("events")]
    assert sorted(told) == sorted(set(told)), "the second operator repeats no event"


def test_s3_may_be_away_for_a_minute(scene: Scene) -> None:
    switch = Switch("S3")
    switch.need()
    run = scene.tiny_run("s3-away", TWO_WORKERS)
    run.apply()
    run.reach_children(2)
    before = run.results()
    switch.stop()
    try:
        end = time.monotonic() + OUTAGE_SECONDS
        if not accepts_connections(scene.world.outside.secret.get("AWS_ENDPOINT_URL", "")):
            message = run.reach_condition("Degraded", "True", "StoreUnreachable", seconds=OUTAGE_SECONDS)
            assert message.endswith(".")
        time.sleep(max(0.0, end - time.monotonic()))
    finally:
        switch.start()
    run.reach_state("Succeeded")
    after = check(run)
    assert {individual: after[individual] for individual in before} == before
    assert run.condition("Degraded")[0] == "False"
    assert run.status().get("quarantined", 0) == 0


def accepts_connections(endpoint: str) -> bool:
    """Return whether a server is silent, so that nobody knows of an outage that is shorter than a request's limit."""
    parts = urlsplit(endpoint)
    try:
        socket.create_connection((parts.hostname or "", parts.port or 443), timeout=2).close()
    except OSError:
        return False
    return True


def test_the_api_server_may_be_away_for_a_minute(scene: Scene) -> None:
    switch = Switch("API")
    switch.need()
    run = scene.tiny_run("api-away", TWO_WORKERS)
    run.apply()
    run.reach_children(2)
    switch.stop()
    try:
        time.sleep(OUTAGE_SECONDS)
        during = run.children()
    finally:
        switch.start()
    assert during >= 8, "workers need no API server: each has finished its block"
    run.reach_state("Succeeded")
    check(run)
    assert run.failures() == []
    restarts = [
        status["restartCount"]
        for pod in scene.world.kubectl.get("pods", "", scene.world.system)["items"]
        for status in pod["status"]["containerStatuses"]
    ]
    assert sum(restarts) == 0, "an operator that is restarted helps nobody"
