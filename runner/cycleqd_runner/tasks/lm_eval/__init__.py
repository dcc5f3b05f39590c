"""Tasks of lm-evaluation-harness: ``harness`` opens and scores them, ``evaluator`` asks the model."""

from __future__ import annotations

from collections.abc import Callable

from cycleqd.api.tasks import LmEvalEvaluator
from cycleqd.errors import UnsupportedHere
from cycleqd_runner.tasks.contract import Evaluator

__all__ = ["lm_eval_evaluator"]


def lm_eval_evaluator(spec: LmEvalEvaluator, fetch: Callable[[str], bytes]) -> Evaluator:  # noqa: ARG001 - as all
    """Return the evaluator of a task or a group of tasks.

    Raises:
        UnsupportedHere: the harness, or a package of the task, is not installed; or the task is of a kind that cannot
            be scored item by item from text.
        BadManifest: no such task, metric or filter, or a metric that is not in [0, 1] for each item.
        MissingInput: the task's file or data is not there.
        BadData: the harness cannot open the task.
    """
    try:
        # The harness takes seconds to import.
        from cycleqd_runner.tasks.lm_eval.evaluator import LmEval  # noqa: PLC0415 - see above
    except ImportError as error:
        raise UnsupportedHere(
            f"Evaluators of type LmEval need the package lm-eval ({error}): install cycleqd[benchmarks]."
        ) from error
    return LmEval(spec)
