"""Progress as step curves for pages, in the coordinates of an SVG. Markup is the template's."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.ticker import MaxNLocator

from cycleqd.report import Progress, Report
from cycleqd_runner.report.formats import count, like, time_unit, token_unit
from cycleqd_runner.report.heatmaps import Tick

WIDTH = 300.0
HEIGHT = 170.0
STYLES = 6
"""Colours of curves; further tasks use them again, dotted."""
MEAN = "mean of one model"
"""Name of the curve of the best individual's mean over the tasks."""


@dataclass(frozen=True)
class Curve:
    """One line of a panel.

    Attributes:
        name: task, or :data:`MEAN`.
        kind: CSS classes.
        path: ``d`` attribute of an SVG path.
        last: where it ends, with its unit.
    """

    name: str
    kind: str
    path: str
    last: str


@dataclass(frozen=True)
class Panel:
    """One quantity against the number of children, or against tokens.

    Attributes:
        title: what is shown, with its unit.
        curves: in the order of the tasks, or of the runs.
        x_axis: what the rows of labels below the plot count, from top to bottom.
        x_rows: labels, in SVG units; below the number of children, what they had cost by then.
        y_ticks: in SVG units.
    """

    title: str
    curves: tuple[Curve, ...]
    x_axis: tuple[str, ...]
    x_rows: tuple[tuple[Tick, ...], ...]
    y_ticks: tuple[Tick, ...]


def panels(report: Report) -> tuple[Panel, ...]:
    """Return coverage, QD score and best score; nothing before the experts have scores."""
    if not report.progress:
        return ()
    archives = [archive.task for archive in report.archives] or list(report.tasks)
    best = [[100 * value for value in point.best] + [100 * point.best_mean] for point in report.progress]
    coverage = [[100 * value for value in point.coverage] for point in report.progress]
    qd_score = [list(point.qd_score) for point in report.progress]
    return (
        _panel("Coverage of the archives, %", "%", archives, report.progress, coverage),
        _panel("QD score", "", archives, report.progress, qd_score),
        _panel("Best search score, %", "%", [*report.tasks, MEAN], report.progress, best),
    )


def _panel(
    title: str, unit: str, names: Sequence[str], points: Sequence[Progress], values: Sequence[Sequence[float]]
) -> Panel:
    """Return a panel of (n_points, n_curves) values."""
    children = [point.children for point in points]
    x_scale = WIDTH / max(1, children[-1] - children[0])
    y_scale, y_ticks = _y_axis(max((value for row in values for value in row), default=0.0))
    xs = [(number - children[0]) * x_scale for number in children]
    curves = []
    for index, (name, column) in enumerate(zip(names, zip(*values, strict=True), strict=True)):
        ys = [HEIGHT - value * y_scale for value in column]
        curves.append(Curve(name, _kind(name, index), _steps(xs, ys), f"{column[-1]:.3g}{f' {unit}' if unit else ''}"))
    x_axis, x_rows = _x_rows(points, x_scale)
    return Panel(
        title=title,
        curves=tuple(curves),
        x_axis=x_axis,
        x_rows=x_rows,
        y_ticks=y_ticks,
    )


def best_against_tokens(runs: Sequence[tuple[str, Sequence[Progress]]]) -> Panel | None:
    """Return a curve per run of the best individual's mean search score, or None where a run's tokens are not known.

    Args:
        runs: names, and how the searches went.
    """
    if not all(points and points[-1].tokens for _, points in runs):
        return None
    spent = [[point.tokens + point.training_tokens for point in points] for _, points in runs]
    best = [[100 * point.best_mean for point in points] for _, points in runs]
    greatest = max(own[-1] for own in spent)
    x_scale, (size, unit) = WIDTH / greatest, token_unit(greatest)
    y_scale, y_ticks = _y_axis(max(own[-1] for own in best))
    curves = []
    for index, ((name, _), xs, ys) in enumerate(zip(runs, spent, best, strict=True)):
        path = _steps([x * x_scale for x in xs], [HEIGHT - y * y_scale for y in ys])
        last = f"{ys[-1]:.3g} % with {like(xs[-1] / size, greatest / size)} {unit}"
        curves.append(Curve(name, _kind(name, index), path, last))
    marks = [mark for mark in _marks(0.0, greatest / size) if mark * size <= greatest]
    return Panel(
        title="Best mean search score of one model, %",
        curves=tuple(curves),
        x_axis=(unit,),
        x_rows=(tuple(Tick(mark * size * x_scale, f"{mark:g}") for mark in marks),),
        y_ticks=y_ticks,
    )


def _y_axis(greatest: float) -> tuple[float, tuple[Tick, ...]]:
    """Return the SVG units of one unit of a quantity, and the ticks from zero to at least its greatest value."""
    marks = _marks(0.0, greatest or 1.0)
    scale = HEIGHT / marks[-1]
    return scale, tuple(Tick(HEIGHT - mark * scale, f"{mark:g}") for mark in marks)


def _x_rows(points: Sequence[Progress], scale: float) -> tuple[tuple[str, ...], tuple[tuple[Tick, ...], ...]]:
    """Return what the rows of labels count, and the rows: children, worker time and tokens where they are known."""
    children = [point.children for point in points]
    first, last = children[0], children[-1]
    marks = [mark for mark in _marks(first, max(last, first + 1)) if first <= mark <= last and mark == int(mark)]
    unit, second = time_unit(points[-1].worker_seconds)
    times = {"h": "worker hours", "min": "worker minutes", "s": "worker seconds"}
    size, tokens = token_unit(points[-1].tokens)
    rows = [("children", [count(int(mark)) for mark in marks])]

    def measured(values: Sequence[float], size: float) -> list[str]:
        return [like(float(np.interp(mark, children, values)) / size, values[-1] / size) for mark in marks]

    if points[-1].worker_seconds:
        rows.append((times[unit], measured([point.worker_seconds for point in points], second)))
    if points[-1].tokens:
        rows.append((tokens, measured([point.tokens for point in points], size)))
    ticks = [
        tuple(Tick((mark - first) * scale, text) for mark, text in zip(marks, texts, strict=True)) for _, texts in rows
    ]
    return tuple(name for name, _ in rows), tuple(ticks)


def _kind(name: str, index: int) -> str:
    if name == MEAN:
        return "mean"
    return f"line-{index % STYLES}{' dotted' if index >= STYLES else ''}"


def _marks(low: float, high: float) -> list[float]:
    """Return round numbers that span the range."""
    return [float(mark) for mark in MaxNLocator(4, steps=[1, 2, 2.5, 5, 10]).tick_values(low, high) if mark >= low]


def _steps(xs: Sequence[float], ys: Sequence[float]) -> str:
    """Return a path that keeps each value until the next point, and leaves out points where nothing changes."""
    parts, height = [f"M{xs[0]:.1f} {ys[0]:.1f}"], ys[0]
    for x, y in zip(xs, ys, strict=True):
        if y != height:
            parts.append(f"H{x:.1f}V{y:.1f}")
            height = y
    return "".join([*parts, f"H{max(xs[-1], xs[0] + 1):.1f}"])
