"""Which evaluators need something beside the worker, and what the two call it."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import TypeAdapter

from cycleqd.api.tasks import Evaluator
from cycleqd.plan import Role
from cycleqd.sidecars import container_key, evaluators, is_first, needs_mysql, runs_model_code
from tests.core.support import run_spec

DB = {"type": "AgentBenchDB", "data": "s3://data/db.jsonl"}


@pytest.mark.parametrize(
    ("evaluator", "code", "mysql"),
    [
        pytest.param({"type": "Sql"}, True, False, id="statements on SQLite"),
        pytest.param({"type": "Shell"}, True, False, id="commands"),
        pytest.param({"type": "PythonTests"}, True, False, id="functions"),
        pytest.param(DB, False, True, id="statements on the server"),
        pytest.param(DB | {"server": "SQLite"}, True, False, id="statements on the embedded server"),
        pytest.param({"type": "AgentBenchOS", "data": "s3://data/os.json"}, True, False, id="a machine"),
        pytest.param({"type": "LmEval", "task": "gsm8k"}, False, False, id="answers"),
        pytest.param({"type": "Inspect", "task": "x.py@y"}, False, False, id="the task's own code"),
        pytest.param(
            {"type": "Container", "image": "judge:1", "data": "s3://data/x.jsonl"}, False, False, id="its own image"
        ),
    ],
)
def test_what_an_evaluator_needs(evaluator: dict[str, Any], code: bool, mysql: bool) -> None:
    validated: Any = TypeAdapter(Evaluator).validate_python(evaluator)
    assert (runs_model_code(validated), needs_mysql(validated)) == (code, mysql)


@pytest.mark.parametrize(
    ("role", "subject", "first"),
    [("prepare", "sql", True), ("prepare", "shell", False), ("evaluate", "", False), ("breed", "", False)],
)
def test_the_worker_of_the_first_expert_is_the_first(role: Role, subject: str, first: bool) -> None:
    assert is_first(run_spec(2), role, subject) == first


def test_benchmarks_of_the_report_are_evaluators_too() -> None:
    spec = run_spec(2, report={"benchmarks": [{"name": "db", "evaluator": DB}]})
    assert [evaluator.type for evaluator in evaluators(spec)] == ["Sql", "Sql", "AgentBenchDB"]


def test_a_container_is_known_by_image_and_command() -> None:
    """The two halves of a pod may be of different versions for a while, so the name stays."""
    assert container_key("judge:1", ("judge", "--all")) == "9648fb181923"
    assert container_key("judge:1", ("judge --all",)) != container_key("judge:1", ("judge", "--all"))
