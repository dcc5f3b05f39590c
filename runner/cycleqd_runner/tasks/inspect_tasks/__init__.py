"""Tasks of inspect-ai: its solvers ask the engine, its scorers judge; a module for each step, and one for the model.

Only :mod:`~cycleqd_runner.tasks.inspect_tasks.opening` and what it leads to import the package, which takes seconds
and is part of the extra ``benchmarks``.
"""

from __future__ import annotations

from collections.abc import Callable

from cycleqd.api.tasks import InspectEvaluator
from cycleqd.errors import UnsupportedHere
from cycleqd_runner.tasks.contract import Evaluator

__all__ = ["inspect_evaluator"]


def inspect_evaluator(spec: InspectEvaluator, fetch: Callable[[str], bytes]) -> Evaluator:
    """Build the evaluator; the code of the task's file, which is its user's own, runs here.

    Args:
        spec: its part of the manifest.
        fetch: reads a file in S3; one on this machine is loaded where it lies, beside what it imports and reads.

    Raises:
        UnsupportedHere: inspect-ai is missing or of another version, or the task needs what is not there.
        MissingInput: there is no such file.
        BadData: the file cannot be loaded, or has no such task, or the task has no items.
    """
    try:
        from cycleqd_runner.tasks.inspect_tasks.evaluator import Inspect  # noqa: PLC0415 - see above
        from cycleqd_runner.tasks.inspect_tasks.opening import open_task  # noqa: PLC0415
    except ImportError as error:  # missing, or another version, whose inner parts lie elsewhere
        raise UnsupportedHere(
            f"Evaluators of type Inspect need inspect-ai, which cannot be used ({error}): install cycleqd[benchmarks]."
        ) from error
    return Inspect(spec, open_task(spec, fetch))
