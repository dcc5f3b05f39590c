"""The operator's process: how it begins and ends."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import pytest
from aiohttp.test_utils import unused_port

from cycleqd_operator import __main__ as main_module
from cycleqd_operator.cluster import ClusterUnreachable
from cycleqd_operator.supervisor import Supervisor
from tests.operator.api_server import ApiServer, LocalCluster
from tests.operator.manifests import job
from tests.operator.operator_process import Operator
from tests.operator.virtual_time import in_virtual_time, now
from tests.operator.world import World

PATIENCE_SECONDS = 30
IMAGE = {"CYCLEQD_WORKER_IMAGE": "localhost/cycleqd-runner:test"}


@contextmanager
def process(folder: Path, **variables: str) -> Iterator[subprocess.Popen[str]]:
    """Start an operator that finds no cluster but the one that its variables name."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("CYCLEQD_", "KUBE"))}
    command = [sys.executable, "-m", "cycleqd_operator"]
    with subprocess.Popen(
        command, env={**clean, "HOME": str(folder), **variables}, stderr=subprocess.PIPE, text=True
    ) as started:
        try:
            yield started
        finally:
            started.kill()


@pytest.fixture
def kubeconfig(tmp_path: Path) -> str:
    """A configuration of a cluster whose API server is away."""
    cluster = {"name": "c", "cluster": {"server": f"http://127.0.0.1:{unused_port()}"}}
    context = {"name": "c", "context": {"cluster": "c", "user": "u"}}
    file = tmp_path / "kubeconfig"
    config = {
        "clusters": [cluster],
        "contexts": [context],
        "users": [{"name": "u", "user": {}}],
        "current-context": "c",
    }
    file.write_text(json.dumps(config), encoding="utf-8")
    return str(file)


@pytest.mark.parametrize(
    ("variables", "words"),
    [
        ({}, "CYCLEQD_WORKER_IMAGE cannot be used"),
        ({**IMAGE, "CYCLEQD_PORT": "http"}, "CYCLEQD_PORT cannot be used"),
        ({**IMAGE, "CYCLEQD_LEADER_ELECTION": "true"}, "set CYCLEQD_LEASE_NAMESPACE"),
        (IMAGE, "There is no cluster to serve"),
    ],
    ids=["no image", "a port that is none", "no place for the Lease", "no cluster"],
)
def test_what_it_cannot_work_with_is_said_in_its_last_line(
    tmp_path: Path, variables: dict[str, str], words: str
) -> None:
    with process(tmp_path, **variables) as started:
        _, errors = started.communicate(timeout=PATIENCE_SECONDS)
    assert started.returncode == 2
    line = errors.splitlines()[-1]
    assert "Traceback" not in errors
    assert line.startswith("cycleqd-operator: ")
    assert words in line


@pytest.mark.parametrize("election", [False, True], ids=["alone", "with election"])
def test_it_waits_for_an_api_server_in_good_health_until_it_is_told_to_stop(
    tmp_path: Path, kubeconfig: str, election: bool
) -> None:
    port = unused_port()
    more = {"CYCLEQD_LEADER_ELECTION": "true", "CYCLEQD_LEASE_NAMESPACE": "cycleqd-system"} if election else {}
    with process(tmp_path, KUBECONFIG=kubeconfig, CYCLEQD_PORT=str(port), **IMAGE, **more) as started:
        assert _status(f"http://127.0.0.1:{port}/readyz") == 200
        assert _status(f"http://127.0.0.1:{port}/healthz") == 200
        started.send_signal(signal.SIGTERM)
        _, errors = started.communicate(timeout=PATIENCE_SECONDS)
    assert started.returncode == 0
    lines = [json.loads(line) for line in errors.splitlines()]
    assert lines[-1]["message"] == "Stopped."
    assert lines[-1]["levelname"] == "INFO"


async def test_all_jobs_are_known_before_the_first_look(world: World) -> None:
    server = ApiServer(lambda: world.now)
    server.add("jobs", job())
    operator = Operator(world)
    cluster = LocalCluster(server)
    supervisor = Supervisor(operator.fleet, operator.reconciler, cluster, operator.settings, operator.metrics)
    await main_module._first_look(cluster, supervisor)
    assert [found.name for found in operator.fleet.jobs()] == [job()["metadata"]["name"]]


def test_the_first_look_waits_for_the_api_server_and_counts_as_work(monkeypatch: pytest.MonkeyPatch) -> None:
    class Late:
        async def check_definition(self) -> None:
            if now() < 1000:
                raise ClusterUnreachable("away")

    class Watched:
        last_pass = 0.0

        async def resync(self) -> None:
            assert now() - self.last_pass <= main_module.FIRST_RETRY_SECONDS

    async def story() -> None:
        watched = Watched()
        await main_module._first_look(Late(), watched)  # type: ignore[arg-type]
        assert 1000 <= now() <= 1000 + main_module.FIRST_RETRY_SECONDS

    monkeypatch.setattr(main_module, "time", SimpleNamespace(monotonic=now))
    in_virtual_time(story())


def _status(url: str) -> int:
    """Return what the operator answers, once it does."""
    until = time.monotonic() + PATIENCE_SECONDS
    while True:
        try:
            with urllib.request.urlopen(url) as answer:
                return int(answer.status)
        except urllib.error.HTTPError as error:
            return error.code
        except OSError:
            if time.monotonic() > until:
                raise
            time.sleep(0.1)
