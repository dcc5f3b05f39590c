"""What a reader must know about how a run went: failed workers, mixed versions, objects that were set aside."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from cycleqd import keys
from cycleqd.errors import MissingObject
from cycleqd.failures import Failure
from cycleqd.records import Result
from cycleqd.report import FailedWork
from cycleqd.store import ObjectStore

MAX_FAILURES = 20
"""Kinds of failures in a report. Messages may hold names of pods, so there can be as many kinds as failures."""
UNSAFE = "Unsafe"


def failed_work(store: ObjectStore) -> tuple[FailedWork, ...]:
    """Return the failures that were noted in the store, the most frequent first."""
    counts: Counter[tuple[str, str]] = Counter()
    for key in store.list(keys.FAILURES):
        try:
            note = Failure.model_validate_json(store.get(key))
        except (ValueError, MissingObject):
            continue  # a note that cannot be read tells nothing
        counts[note.role, note.message or "The worker died without a word."] += 1
    kinds = [FailedWork(role=role, message=message, count=n) for (role, message), n in counts.most_common()]
    shown, more = kinds[:MAX_FAILURES], kinds[MAX_FAILURES:]
    if more:
        shown.append(FailedWork(role="other", message="Further failures.", count=sum(one.count for one in more)))
    return tuple(shown)


def versions_of(results: Sequence[Result]) -> dict[str, str]:
    """Return what the results were made with; where they differ, all of it in the order of time."""
    return {name: ", ".join(versions) for name, versions in _distinct(results).items()}


def notes_on(results: Sequence[Result], damaged: Sequence[str]) -> tuple[str, ...]:
    """Return what qualifies the numbers, in whole sentences.

    Args:
        results: of the run.
        damaged: what is wrong with the objects that were set aside.
    """
    notes, distinct = [], _distinct(results)
    if UNSAFE in distinct.get("sandbox", ()):
        notes.append("Model-written code ran without a sandbox (spec.sandbox: Unsafe).")
    if mixed := [f"{name} {' and '.join(several)}" for name, several in distinct.items() if len(several) > 1]:
        notes.append(f"Not all results were made alike ({'; '.join(mixed)}), so scores may differ a little.")
    if damaged:
        more = f" ({len(damaged) - 1} more like it.)" if len(damaged) > 1 else ""
        notes.append(f"{damaged[0]}{more}")
    return tuple(notes)


def _distinct(results: Sequence[Result]) -> dict[str, list[str]]:
    """Return all versions of everything, in the order of time."""
    found: dict[str, dict[str, None]] = {}
    for result in sorted(results, key=lambda result: result.finished_at):
        for name, version in result.versions.items():
            found.setdefault(name, {})[version] = None
    return {name: list(versions) for name, versions in found.items()}
