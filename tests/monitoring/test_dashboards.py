"""Every panel draws something: a real Prometheus scraped a real operator while it looked after a run from end to end.

Workers, API server and S3 are those of :mod:`tests.operator.world`; tests/e2e/test_monitoring.py has the real ones.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.cog.plugins import register_default_plugins
from grafana_foundation_sdk.models.dashboard import Dashboard

from cycleqd_operator.web import serve
from tests.charts.helm import only, render
from tests.monitoring.boards import BOARDS, Query, panels, queries
from tests.monitoring.monitors import scrape_config
from tests.monitoring.prometheus import Prometheus, free_port, prometheus
from tests.operator.operator_process import started, status_of
from tests.operator.world import World

POD = {"namespace": "ops", "pod": "evolve-cycleqd-1", "service": "evolve-cycleqd-metrics", "container": "operator"}
"""Labels that prometheus-operator gives to the target."""
PAUSE_SECONDS = 0.6
"""Between two steps of all workers, so that each is scraped."""
VARIABLES = {"datasource": "", "namespace": "research", "run": "demo", "window": "5s", "__rate_interval": "5s"}
QUERIES = list(queries())
WORKERS = {"parallelism": 2, "childrenPerJob": 10, "gpus": 4}


@dataclass(frozen=True)
class Recording:
    """What Prometheus has seen of a run, from its beginning to its end in Unix time."""

    prometheus: Prometheus
    start: float
    end: float

    def of(self, expression: str) -> list[float]:
        return self.prometheus.numbers(expression, self.start, self.end)


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Recording]:
    folder = tmp_path_factory.mktemp("prometheus")
    world = World(folder / "store")
    monitor = only(render("monitoring.serviceMonitor.enabled=true"), "ServiceMonitor")
    (endpoint,) = monitor["spec"]["endpoints"]
    port = free_port()
    found = {"static_configs": [{"targets": [f"127.0.0.1:{port}"], "labels": POD}]}
    with world.entered(), prometheus(folder, scrape_config(endpoint) | found) as scraping:
        start = time.time()
        asyncio.run(play(world, port))
        yield Recording(scraping, start, time.time())


async def play(world: World, port: int) -> None:
    """Let an operator look after a run until it has succeeded."""
    world.apply(children=20, workers=WORKERS)
    operator = await started(world)
    operator.metrics.set_leader(leads=True)
    server = await serve(port, operator.metrics, time.monotonic)
    while not (world.run().get("status") and status_of(world).state == "Succeeded"):
        await operator.tend()
        await asyncio.sleep(PAUSE_SECONDS)
        world.work()
    await asyncio.sleep(PAUSE_SECONDS)
    await server.cleanup()


@pytest.mark.parametrize("query", QUERIES, ids=[f"{query.board}-{query.panel}-{n}" for n, query in enumerate(QUERIES)])
def test_every_query_has_an_answer(recording: Recording, query: Query) -> None:
    namespace = {"operator": "ops"}.get(query.board, "research")
    assert recording.of(query.with_variables(VARIABLES | {"namespace": namespace}))


@pytest.mark.parametrize(
    ("expression", "highest"),
    [
        pytest.param('cycleqd_run_children{state="done"}', 20, id="children"),
        pytest.param("cycleqd_run_gpus", 8, id="GPUs held by two workers"),
        pytest.param("cycleqd_run_worker_busy_ratio", 0.8, id="workers evaluate for 8 of 10 seconds"),
        pytest.param("cycleqd_run_evaluation_seconds_count", 23, id="results, experts included"),
        pytest.param("cycleqd_run_gpu_busy_seconds_total", 23 * 8, id="GPU seconds"),
        pytest.param('cycleqd_run_state{state="Succeeded"}', 1, id="the end"),
        pytest.param("sum(cycleqd_operator_reconcile_errors_total)", 0, id="errors"),
    ],
)
def test_prometheus_has_what_happened(recording: Recording, expression: str, highest: float) -> None:
    assert max(recording.of(expression)) == highest


def test_a_runs_series_have_its_namespace_and_nothing_of_the_operators_pod(recording: Recording) -> None:
    match = {"match[]": '{run="demo"}', "start": recording.start, "end": recording.end}
    found = recording.prometheus.ask("series", **match)
    assert {series["namespace"] for series in found} == {"research"}
    assert not [series for series in found if series.keys() & {"pod", "instance", "exported_namespace"}]
    leader = {"match[]": "cycleqd_operator_leader", "start": recording.start, "end": recording.end}
    assert {series["namespace"] for series in recording.prometheus.ask("series", **leader)} == {"ops"}


def test_alert_rules_are_evaluated_without_errors(recording: Recording) -> None:
    assert [(rule["name"], rule["lastError"]) for rule in recording.prometheus.rules() if rule["health"] != "ok"] == []


@pytest.mark.parametrize("board", BOARDS)
def test_grafana_knows_every_field(board: str) -> None:
    """Grafana's own models leave out what they do not know."""
    register_default_plugins()
    read = Dashboard.from_json(BOARDS[board])
    assert list(left_out(BOARDS[board], json.loads(JSONEncoder().encode(read)))) == []


def left_out(ours: Any, theirs: Any, path: str = "") -> Iterator[str]:
    """Yield the places where ``theirs`` does not say the same as ours."""
    if isinstance(ours, dict) and isinstance(theirs, dict):
        for key, value in ours.items():
            yield from left_out(value, theirs.get(key), f"{path}.{key}")
    elif isinstance(ours, list) and isinstance(theirs, list) and len(ours) == len(theirs):
        for n, (value, other) in enumerate(zip(ours, theirs, strict=True)):
            yield from left_out(value, other, f"{path}[{n}]")
    elif ours != theirs:
        yield path


@pytest.mark.parametrize("board", BOARDS)
def test_grafana_can_import_it(board: str) -> None:
    content = BOARDS[board]
    assert "id" not in content, "an id belongs to one Grafana; the uid is the same everywhere"
    assert content["uid"] == f"cycleqd-{board}"
    used = {name for query in queries() if query.board == board for name in query.variables}
    given = {variable["name"] for variable in content["templating"]["list"]}
    assert used <= given | {"__rate_interval"}
    for panel in panels(board):
        assert panel["datasource"]["uid"] == "${datasource}", panel["title"]
        assert {target["datasource"]["uid"] for target in panel["targets"]} == {"${datasource}"}
        assert panel["description"], panel["title"]


@pytest.mark.parametrize("board", BOARDS)
def test_panels_do_not_overlap(board: str) -> None:
    cells = [
        (x, y)
        for place in (panel["gridPos"] for panel in BOARDS[board]["panels"])
        for x in range(place["x"], place["x"] + place["w"])
        for y in range(place["y"], place["y"] + place["h"])
    ]
    assert len(cells) == len(set(cells))
    assert max(x for x, _ in cells) < 24
    ids = [panel["id"] for panel in BOARDS[board]["panels"]]
    assert len(ids) == len(set(ids))
