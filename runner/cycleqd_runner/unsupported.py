"""What the schema knows and this version cannot do yet: refused before anything is computed, never ignored."""

from __future__ import annotations

from cycleqd.api import RunSpec
from cycleqd.api.tasks import AgentBenchDbEvaluator
from cycleqd.errors import UnsupportedHere
from cycleqd_runner.tasks.agentbench_db.private_server import require_server


def refuse_unsupported(spec: RunSpec) -> None:
    """Refuse a manifest that asks for what this version or this machine lacks.

    Raises:
        UnsupportedHere: one sentence about the first such wish.
    """
    wishes = {"report.benchmarks": bool(spec.report.benchmarks)}
    for wish, is_made in wishes.items():
        if is_made:
            raise UnsupportedHere(f"spec.{wish} is not part of this version: leave it out.")
    for task in spec.tasks:
        if isinstance(task.evaluator, AgentBenchDbEvaluator) and task.evaluator.server == "MySQL":
            require_server()
