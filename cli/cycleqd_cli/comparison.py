"""What differs between two runs: their specs field by field, their search, their final models."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from rich import box
from rich.table import Table
from rich.text import Text

from cycleqd import keys
from cycleqd.records import Record
from cycleqd.report import Interval
from cycleqd_cli.opening import OpenedRun
from cycleqd_cli.results import read_report
from cycleqd_cli.standing import Standing, read_snapshot, standing
from cycleqd_cli.texts import PHASES, percent

ELSEWHERE = ("storage",)
"""Parts of a spec in which runs always differ."""


class Difference(Record):
    """A field of the spec that the runs differ in; None where one does not have it."""

    field: str
    """For example search.mutation.maxScale."""
    first: Any
    second: Any


class Side(Record):
    """One of the runs."""

    storage: str
    standing: Standing
    test: dict[str, Interval] | None = None
    """Test scores of the final model per task, once there is one."""
    test_mean: Interval | None = None
    """Their mean."""


class Comparison(Record):
    """Two runs."""

    first: Side
    second: Side
    differences: tuple[Difference, ...]


def compare_runs(first: OpenedRun, second: OpenedRun) -> Comparison:
    """Compare two runs. Raises what reading their stores raises."""
    specs = [run.spec.model_dump(mode="json", by_alias=True, exclude=set(ELSEWHERE)) for run in (first, second)]
    one, two = (dict(_flat(spec)) for spec in specs)
    fields = [field for field in {**one, **two} if one.get(field) != two.get(field)]
    differences = tuple(Difference(field=field, first=one.get(field), second=two.get(field)) for field in fields)
    return Comparison(first=_side(first), second=_side(second), differences=differences)


def _flat(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:  # noqa: ANN401 - JSON
    """Yield the leaves of a JSON value by their paths."""
    if isinstance(value, dict) and value:
        for name, part in value.items():
            yield from _flat(part, f"{path}.{name}" if path else name)
    elif isinstance(value, list) and value:
        for place, part in enumerate(value):
            yield from _flat(part, f"{path}[{place}]")
    else:
        yield path, value


def _side(run: OpenedRun) -> Side:
    now = standing(run.name, run.spec, read_snapshot(run))
    report = read_report(run.store, run.name) if run.store.exists(keys.REPORT) else None
    return Side(
        storage=run.store.uri,
        standing=now,
        test=report.scores.get("merged") if report else None,
        test_mean=report.means.get("merged") if report else None,
    )


def tables(found: Comparison) -> Iterator[Table | Text]:
    """Yield what a terminal shows: the runs' numbers, the fields in which they differ, what qualifies the scores."""
    sides = (found.first, found.second)
    yield _numbers(*sides)
    if found.differences:
        table = _table(sides, "spec")
        for each in found.differences:
            table.add_row(Text(each.field), _cell(each.first), _cell(each.second))
        yield table
    yield from (Text(f"{side.standing.run}: {note}") for side in sides for note in side.standing.notes)


def _numbers(first: Side, second: Side) -> Table:
    table = _table((first, second), "")
    one, two = first.standing, second.standing
    table.add_row("storage", Text(first.storage, overflow="fold"), Text(second.storage, overflow="fold"))
    table.add_row("phase", PHASES[one.phase], PHASES[two.phase])
    table.add_row("children", f"{one.children} of {one.target}", f"{two.children} of {two.target}")
    table.add_row("best mean", percent(one.best_mean), percent(two.best_mean))
    archives = [{archive.task: archive for archive in now.archives} for now in (one, two)]
    for task in dict.fromkeys(archive.task for now in (one, two) for archive in now.archives):
        row = [side.get(task) for side in archives]
        table.add_row(Text(f"{task}: best"), *(percent(a.best if a else None) for a in row))
        table.add_row(Text(f"{task}: coverage"), *(percent(a.coverage if a else None) for a in row))
        table.add_row(Text(f"{task}: QD score"), *("–" if a is None else f"{a.qd_score:.2f}" for a in row))
    if first.test or second.test:
        tests = [side.test or {} for side in (first, second)]
        table.add_section()
        for task in dict.fromkeys([*tests[0], *tests[1]]):
            table.add_row(Text(f"{task}: test"), *(_interval(test.get(task)) for test in tests))
        table.add_row("mean: test", _interval(first.test_mean), _interval(second.test_mean))
    return table


def _table(sides: tuple[Side, Side], title: str) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column(title)
    for side in sides:
        table.add_column(Text(side.standing.run), overflow="fold")
    return table


def _interval(value: Interval | None) -> str:
    return "–" if value is None else f"{percent(value.mean)} ({100 * value.low:.1f} to {100 * value.high:.1f})"


def _cell(value: object) -> Text:
    return Text("–" if value is None else str(value), overflow="fold")
