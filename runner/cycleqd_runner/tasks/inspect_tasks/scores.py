"""What a scorer of inspect says, as a score in [0, 1]."""

from __future__ import annotations

import math

from inspect_ai import Task
from inspect_ai._util.registry import registry_unqualified_name
from inspect_ai.scorer import CORRECT, INCORRECT, NOANSWER, PARTIAL, Score, Scorer, Value

from cycleqd.errors import BadData, near_misses
from cycleqd_runner.tasks.executable import one_line

Scored = tuple[float | None, str | None]
"""Score in [0, 1], or None; and why there is none, or what was wrong."""

WORDS = {CORRECT: 1.0, PARTIAL: 0.5, INCORRECT: 0.0, NOANSWER: 0.0, "yes": 1.0, "true": 1.0, "no": 0.0, "false": 0.0}
"""What inspect's own ``value_to_float`` makes of words; it takes every other one for 0."""


def scorer_of(task: Task, what: str) -> Scorer:
    """Return the scorer that judges: the one that ``headline_metric`` names, or the first.

    Raises:
        BadData: it names none of the task's.
    """
    scorers = task.scorer or []
    wanted = task.headline_metric.scorer if task.headline_metric else None
    if wanted is None:
        return scorers[0]
    named = {registry_unqualified_name(scorer): scorer for scorer in scorers}
    if wanted not in named:
        raise BadData(f"{what} has the headline_metric of scorer {wanted}{near_misses(wanted, named)}: correct it.")
    return named[wanted]


def scored(score: Score | None, where: str) -> Scored:
    """Return what a scorer's result means.

    Args:
        score: None, or NaN as its value: the scorer could not tell.
        where: the task and its sample, for messages.

    Raises:
        BadData: a value that is no score in [0, 1]; another sample would have the like.
    """
    if score is None:
        return None, "the scorer gave no score"
    value = score.value
    number = _number(value)
    if number is not None and math.isnan(number):
        return None, one_line(f"the scorer could not tell: {score.reason or score.explanation or 'it gives no reason'}")
    if number is None or not 0.0 <= number <= 1.0:
        raise BadData(
            f"{where}: the scorer gave {one_line(repr(value), 80)}, expected C, I, P, N, true, false or a number in "
            "[0, 1]: choose or write a scorer whose values are such."
        )
    if number == 1.0:
        return number, None
    return number, one_line(score.explanation or "") or one_line(f"the scorer gave {value} for {score.answer!r}")


def _number(value: Value) -> float | None:
    if isinstance(value, str) and (word := value if value in WORDS else value.lower()) in WORDS:
        return WORDS[word]
    try:
        return float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return None
