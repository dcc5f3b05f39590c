"""What a run needs and this machine lacks is refused before it starts, for benchmarks of the report as for tasks."""

from __future__ import annotations

from typing import Any

import pytest

from cycleqd.api import RunSpec
from cycleqd.errors import UnsupportedHere
from cycleqd.sidecars import evaluators
from cycleqd_runner.tasks.agentbench_db import private_server
from cycleqd_runner.unsupported import refuse_without_server, require_machines
from tests.runner.report.support import run_spec
from tests.runner.tasks.support import NoSandbox

OS = {"type": "AgentBenchOS", "data": "os.json"}
DB = {"type": "AgentBenchDB", "data": "db.jsonl"}


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
