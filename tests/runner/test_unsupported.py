"""What a run needs and this machine lacks is refused before it starts, for benchmarks of the report as for tasks."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from cycleqd.api import CycleQDRun, RunSpec
from cycleqd.errors import MissingInput, UnsupportedHere
from cycleqd.identity import claim
from cycleqd.orders import Order
from cycleqd.sidecars import CONTAINERS, evaluators
from cycleqd.store import FolderStore
from cycleqd_runner.tasks.agentbench_db import private_server
from cycleqd_runner.unsupported import refuse_without_server, require_machines, require_neighbours
from cycleqd_runner.worker import run_once
from tests.core.support import spec_dict
from tests.runner.report.support import run_spec
from tests.runner.tasks.support import NoSandbox

OS = {"type": "AgentBenchOS", "data": "os.json"}
DB = {"type": "AgentBenchDB", "data": "db.jsonl"}
JUDGE = {"type": "Container", "image": "judge:1", "command": ["judge"], "data": "x.jsonl"}


class WithoutMachines(NoSandbox):
    """A sandbox that has none."""

    def require_machines(self) -> None:
        raise UnsupportedHere("this sandbox has none: install proot")


def with_benchmark(**evaluator: Any) -> RunSpec:
    fields = run_spec(2).model_dump(mode="json", by_alias=True)
    return RunSpec.model_validate({**fields, "report": {"benchmarks": [{"name": "dev", "evaluator": evaluator}]}})


def test_a_benchmark_needs_machines() -> None:
    with pytest.raises(
        UnsupportedHere, match=r"^Benchmark dev \(AgentBenchOS\) needs machines, but this sandbox has none"
    ):
        require_machines(with_benchmark(**OS), WithoutMachines())
    require_machines(with_benchmark(type="Sql"), WithoutMachines())


def test_a_benchmark_needs_a_server(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(private_server, "PROGRAMS", ("no-such-server",))
    monkeypatch.delenv(private_server.SOCKET_VARIABLE, raising=False)
    with pytest.raises(UnsupportedHere, match="no-such-server cannot be found"):
        refuse_without_server(evaluators(with_benchmark(**DB)))
    refuse_without_server(evaluators(with_benchmark(**DB, server="SQLite")))


def test_a_server_beside_the_worker_has_to_answer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(private_server.SOCKET_VARIABLE, str(tmp_path / "socket"))
    refuse_without_server(evaluators(with_benchmark(**DB)))
    with pytest.raises(
        UnsupportedHere,
        match=r"^Benchmark dev \(AgentBenchDB\) needs a MySQL-protocol server, but the one beside the worker, on "
        r".*/socket, cannot be used: The database server failed \(2003: .*\): see its log\.$",
    ):
        require_neighbours(with_benchmark(**DB))
    require_neighbours(with_benchmark(**DB, server="SQLite"))


def test_one_that_answers_will_do(monkeypatch: pytest.MonkeyPatch) -> None:
    try:
        private_server.require_server()
    except UnsupportedHere as error:
        pytest.skip(str(error))
    server = private_server.PrivateServer()
    try:
        monkeypatch.setenv(private_server.SOCKET_VARIABLE, server.socket())
        require_neighbours(with_benchmark(**DB))
    finally:
        monkeypatch.undo()
        server.close()


def test_a_container_beside_the_worker_has_to_be_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(CONTAINERS, str(tmp_path))
    with pytest.raises(UnsupportedHere, match="No container of the image judge:1 is beside this worker"):
        require_neighbours(with_benchmark(**JUDGE))


@pytest.fixture
def nothing_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> FolderStore:
    """A run whose models do not exist, with the evaluator and the sandbox that the test names."""
    evaluator, sandbox = request.param
    monkeypatch.setenv(private_server.SOCKET_VARIABLE, str(tmp_path / "socket"))
    models = {
        "baseModel": {"uri": str(tmp_path / "base")},
        "experts": [{"name": name, "uri": str(tmp_path / name)} for name in ("sql", "shell")],
    }
    tasks = [{"name": f"t-{name}", "expert": name, "evaluator": evaluator} for name in ("sql", "shell")]
    storage = {"uri": str(tmp_path / "run")}
    fields = spec_dict(2, **models, tasks=tasks, storage=storage, sandbox=sandbox)
    manifest = {"apiVersion": "cycleqd.dev/v1alpha1", "kind": "CycleQDRun", "metadata": {"name": "nothing"}}
    store = FolderStore(tmp_path / "run")
    claim(store, CycleQDRun.model_validate({**manifest, "spec": fields}))
    return store


@pytest.mark.parametrize(
    ("nothing_there", "message"),
    [
        pytest.param((DB, "Auto"), "needs a MySQL-protocol server", id="no server"),
        pytest.param(
            (OS, "Unsafe"),
            "needs machines, but sandbox Unsafe has no machines",
            id="no machines",
            marks=pytest.mark.skipif(os.geteuid() != 0, reason="only root's Unsafe has no machines"),
        ),
    ],
    indirect=["nothing_there"],
)
def test_the_first_worker_finds_it_out_before_it_opens_a_model(nothing_there: FolderStore, message: str) -> None:
    with pytest.raises(UnsupportedHere, match=f"^Task t-sql .*{message}"):
        run_once(nothing_there, Order(role="prepare", subject="sql"))
    with pytest.raises(MissingInput):
        run_once(nothing_there, Order(role="prepare", subject="shell"))
