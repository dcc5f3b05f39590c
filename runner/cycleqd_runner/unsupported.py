"""What the schema knows and this version cannot do yet: refused before anything is computed, never ignored."""

from __future__ import annotations

from collections.abc import Iterable

from cycleqd.api import RunSpec
from cycleqd.api.tasks import AgentBenchDbEvaluator, Task
from cycleqd.errors import UnsupportedHere
from cycleqd_runner.tasks.agentbench_db.private_server import require_server


def refuse_unsupported(spec: RunSpec) -> None:
    """Refuse a manifest that asks for what this version lacks.

    Raises:
        UnsupportedHere: one sentence about the first such wish.
    """
    wishes = {"report.benchmarks": bool(spec.report.benchmarks)}
    for wish, is_made in wishes.items():
        if is_made:
            raise UnsupportedHere(f"spec.{wish} is not part of this version: leave it out.")


def refuse_without_server(tasks: Iterable[Task]) -> None:
    """Refuse tasks that need a database server where there is none and none can be started.

    Raises:
        UnsupportedHere: one sentence about what to install.
    """
    for task in tasks:
        if isinstance(task.evaluator, AgentBenchDbEvaluator) and task.evaluator.server == "MySQL":
            require_server()
