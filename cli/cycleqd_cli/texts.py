"""How numbers and pieces of work are written for people. No layout lives here."""

from __future__ import annotations

import math
from collections.abc import Collection

from cycleqd.api import RunSpec
from cycleqd.plan import Phase, Work

PHASES: dict[Phase, str] = {
    "Preparing": "Reading and factorising the experts",
    "Evaluating": "Scoring the experts",
    "Breeding": "Breeding children",
    "Finalizing": "Choosing and testing the final model",
    "Succeeded": "Finished",
    "Cancelled": "Cancelled",
}


def duration(seconds: float) -> str:
    """Return seconds as 0:07, 12:34 or 3:02:01."""
    whole = max(0, math.ceil(seconds))
    hours, minutes, rest = whole // 3600, whole // 60 % 60, whole % 60
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


def percent(value: float | None) -> str:
    """Return a score or share in [0, 1] as 12.5 %, or a dash."""
    return "–" if value is None else f"{100 * value:.1f} %"


def individual(number: int, spec: RunSpec) -> str:
    """Return what an individual is called: an expert's name, or ``child 7`` (its id)."""
    return spec.experts[number].name if number < len(spec.experts) else f"child {number}"


def activity(work: Work, done: Collection[int], spec: RunSpec) -> str:
    """Return what a worker does, in a few words."""
    if work.role == "prepare":
        return f"factorises expert {work.subject}"
    if work.role == "evaluate":
        return f"scores expert {', '.join(individual(number, spec) for number in work.ids)}"
    if work.role == "finalize":
        return "tries final models on the validation split, then tests and exports the best"
    waiting = [number for number in work.ids if number not in done]
    if not waiting:
        return "finishes its block"
    return f"breeds and scores {individual(waiting[0], spec)} ({len(work.ids) - len(waiting)} of {len(work.ids)} done)"


def age(seconds: float) -> str:
    """Return seconds in one or two letters and digits, as kubectl does: 45s, 12m, 5h, 3d."""
    whole = max(0, int(seconds))
    for size, letter in ((86400, "d"), (3600, "h"), (60, "m")):
        if whole >= 2 * size:
            return f"{whole // size}{letter}"
    return f"{whole}s"
