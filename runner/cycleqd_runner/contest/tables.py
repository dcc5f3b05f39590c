"""The tables of a comparison, as the paper's Tables 1 and 2: pure functions of :class:`~.standings.Standings`.

A table is a heading, column names and rows of text, so that Markdown and the terminal show the same.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from cycleqd.report import Change, Interval
from cycleqd_runner.contest.standings import Row, Standings
from cycleqd_runner.report.formats import points, token_unit

NOTHING = "–"


@dataclass(frozen=True)
class Table:
    """One table.

    Attributes:
        heading: above it.
        columns: names.
        rows: as many cells as columns.
        bold: positions of rows that stand out.
    """

    heading: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    bold: frozenset[int] = frozenset()


def tables(found: Standings, *, brief: bool = False) -> tuple[Table, ...]:
    """Return the scores, the differences from the reference, and what they took.

    Args:
        found: how the contest stands.
        brief: leave out the intervals of single tasks, and what the methods ended with, for terminals.
    """
    score, change = (_score, _points) if brief else (_interval, _change)
    return (_scores(found, score), _differences(found, change), _costs(found, finals=not brief))


def _scores(found: Standings, score: Callable[[Interval], str]) -> Table:
    columns = ("method", "seeds", *found.tasks, "mean", "kept")
    rows = tuple(
        (
            row.method,
            str(len(row.seeds)),
            *(score(row.tasks[task]) for task in found.tasks),
            _interval(row.mean),
            _kept(row),
        )
        for row in found.rows
    )
    best = max(found.rows, key=lambda row: row.mean.mean, default=None)
    bold = frozenset(position for position, row in enumerate(found.rows) if row is best)
    return Table("Test scores in %, mean over seeds with 95 % interval", columns, rows, bold)


def _differences(found: Standings, change: Callable[[Change], str]) -> Table:
    own = [(row.method, row.versus) for row in found.rows if row.versus]
    return Table(
        f"Difference from {found.reference} in points, paired, with 95 % interval",
        ("method", *found.tasks, "mean", "p", "verdict"),
        tuple(
            (
                name,
                *(change(versus.tasks[task]) for task in found.tasks),
                _change(versus),
                NOTHING if versus.p is None else f"{versus.p:.3f}",
                _verdict(versus),
            )
            for name, versus in own
        ),
    )


def _costs(found: Standings, *, finals: bool) -> Table:
    searching = [row for row in found.rows if row.limit]
    size, unit = token_unit(round(max((row.tokens for row in searching), default=0)))
    return Table(
        "What it took, mean over seeds",
        (
            "method",
            "evaluations",
            unit,
            "of these training",
            "of the budget",
            "minutes",
            *(["final model"] if finals else []),
        ),
        tuple(
            (
                row.method,
                f"{row.evaluations:.1f}",
                f"{row.tokens / size:.2f}",
                f"{row.training_tokens / size:.2f}",
                f"{100 * row.tokens / row.limit:.0f} %",
                f"{row.seconds / 60:.1f}",
                *([_final(row)] if finals else []),
            )
            for row in searching
        ),
    )


def markdown(found: Standings) -> str:
    """Return the page ``comparison.md``."""
    parts = [f"# {found.name}", *found.notes]
    for table in tables(found):
        if table.rows:
            parts += [f"## {table.heading}", _lines(table)]
    parts.append(
        "kept: the smallest share, over the tasks, of what the task's own expert scores on the same test items. "
        "Intervals are over seeds and items; docs/comparisons.md says how they are made."
    )
    if found.missing:
        parts.append(f"Not finished: {_missing(found)}.")
    return "\n\n".join(parts) + "\n"


def _missing(found: Standings) -> str:
    """Return who has no trial with which seeds."""
    seeds = defaultdict[str, list[str]](list)
    for method, seed in found.missing:
        seeds[method].append(str(seed))
    return ", ".join(f"{method} (seed{'s' if len(own) > 1 else ''} {', '.join(own)})" for method, own in seeds.items())


def _lines(table: Table) -> str:
    rows: list[Sequence[str]] = [table.columns, ["---", *("---:" for _ in table.columns[1:])]]
    rows += [[f"**{cell}**" for cell in row] if at in table.bold else row for at, row in enumerate(table.rows)]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def _score(value: Interval) -> str:
    return f"{100 * value.mean:.1f}"


def _points(change: Change) -> str:
    return points(change.mean)


def _interval(value: Interval) -> str:
    return f"{100 * value.mean:.1f} [{100 * value.low:.1f}, {100 * value.high:.1f}]"


def _change(change: Change) -> str:
    return f"{points(change.mean)} [{points(change.low)}, {points(change.high)}]"


def _kept(row: Row) -> str:
    shares = [share for share in row.kept.values() if share is not None]
    return f"{100 * min(shares):.0f} %" if shares else NOTHING


def _final(row: Row) -> str:
    """Return what a method ended with, where that is the same with every seed."""
    found = set(row.finals.values())
    return found.pop() if len(found) == 1 else "by seed"


def _verdict(change: Change) -> str:
    """Return what the interval says: nothing is claimed that could be zero."""
    if change.low > 0:
        return "better"
    return "worse" if change.high < 0 else "open"
