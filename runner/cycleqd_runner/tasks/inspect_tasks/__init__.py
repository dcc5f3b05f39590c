"""Tasks of inspect-ai: its solvers ask the engine, its scorers judge; a module for each step, and one for the model.

Only :mod:`~cycleqd_runner.tasks.inspect_tasks.opening` and what it leads to import the package, which takes seconds
and is part of the extra ``benchmarks``.
"""

from __future__ import annotations

from importlib.util import find_spec

from cycleqd.api.tasks import InspectEvaluator
from cycleqd.errors import UnsupportedHere
from cycleqd_runner.tasks.agentbench_os.items import Fetch
from cycleqd_runner.tasks.contract import Evaluator

__all__ = ["inspect_evaluator"]


def inspect_evaluator(spec: InspectEvaluator, fetch: Fetch) -> Evaluator:
    """Build the evaluator; the code of the task's file, which is its user's own, runs here.

    Args:
        spec: its part of the manifest.
        fetch: reads a file in S3; one on this machine is loaded where it lies, beside what it imports and reads.

    Raises:
        UnsupportedHere: inspect-ai is missing, or the task needs what the engine or this evaluator lacks.
        MissingInput: there is no such file.
        BadData: the file cannot be loaded, or has no such task, or the task has no items.
    """
    if find_spec("inspect_ai") is None:
        raise UnsupportedHere(
            "Evaluators of type Inspect need inspect-ai, which is missing: install cycleqd[benchmarks]."
        )
    from cycleqd_runner.tasks.inspect_tasks.evaluator import Inspect  # noqa: PLC0415 - see above
    from cycleqd_runner.tasks.inspect_tasks.opening import open_task  # noqa: PLC0415

    return Inspect(spec, open_task(spec, fetch))
