"""A run's tasks: their evaluators, and which items each split has. Drawn once, recorded in the store, then kept to."""

from __future__ import annotations

from dataclasses import dataclass

from pydantic import TypeAdapter

from cycleqd import keys
from cycleqd.api import RunSpec
from cycleqd.api.tasks import Task
from cycleqd.errors import BadData
from cycleqd.records import Split
from cycleqd.splits import Splits, make_splits
from cycleqd.store import ObjectStore
from cycleqd_runner.local_copies import read_data
from cycleqd_runner.tasks.contract import Evaluator, Item
from cycleqd_runner.tasks.registry import make_evaluator

_RECORD = TypeAdapter(dict[str, Splits])


@dataclass(frozen=True)
class RunTask:
    """A task with its evaluator and its items.

    Attributes:
        spec: from the manifest.
        evaluator: asks and judges.
        splits: the items of each split, in the order in which they are asked.
    """

    spec: Task
    evaluator: Evaluator
    splits: dict[Split, tuple[Item, ...]]


def open_tasks(store: ObjectStore, spec: RunSpec) -> tuple[RunTask, ...]:
    """Return the run's tasks, in cycle order; the first caller records the splits.

    Raises:
        BadData: an items file is broken, or its items are not those that the run was started with.
        BadManifest: fewer items than the splits need.
        UnsupportedHere: this version has no such evaluator.
    """
    tasks = tuple(_open(task, spec.search.seed) for task in spec.tasks)
    drawn = {task.spec.name: _ids(task) for task in tasks}
    if not store.put_once(keys.SPLITS, _RECORD.dump_json(drawn)):
        recorded = _RECORD.validate_json(store.get(keys.SPLITS))
        changed = [name for name in drawn if drawn[name] != recorded.get(name)]
        if changed:
            raise BadData(
                f"The items of task {changed[0]} are not those that the run was started with: "
                "restore the data file, or start a new run in another storage.uri."
            )
    return tasks


def _open(task: Task, seed: int) -> RunTask:
    evaluator = make_evaluator(task.evaluator, read_data)
    items = {item.id: item for item in evaluator.items()}
    seen, unseen, either = (
        [item.id for item in items.values() if item.pool == pool] for pool in ("seen", "unseen", "any")
    )
    splits = make_splits(task.name, seen, unseen, either, task.items, seed)
    return RunTask(task, evaluator, {split: tuple(items[item] for item in ids) for split, ids in splits.items()})


def _ids(task: RunTask) -> Splits:
    return {split: tuple(item.id for item in items) for split, items in task.splits.items()}
