"""Pictures of a comparison: how the searches went, and where the methods ended. Pure functions of the standings."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping, Sequence
from itertools import cycle, product
from operator import attrgetter

import numpy as np
import numpy.typing as npt
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from cycleqd_runner.contest.standings import Row, Standings
from cycleqd_runner.contest.trials import Point
from cycleqd_runner.report.formats import token_unit

DOTS_PER_INCH = 130
STEPS = 300
"""Places along the axis at which the mean over seeds is drawn."""
LOOKS = list(product((("-", "*"), ("--", "P")), map(colormaps["tab20"], range(20))))
"""Lines, marks of the final model and colours: enough that methods of a large comparison look different."""

Spent = Callable[[Point], float]
"""Returns how far along the axis a point is."""


def pictures(found: Standings) -> dict[str, bytes]:
    """Return the PNG files by name; none before the first trial."""
    if not found.rows:
        return {}
    drawn = {"tests.png": _png(tests_figure(found))}
    if any(row.curves for row in found.rows):
        drawn["searches.png"] = _png(searches_figure(found))
    return drawn


def searches_figure(found: Standings) -> Figure:
    """Return mean scores so far against tokens and against evaluations: above on search items, below on test items."""
    figure = Figure(figsize=(12.0, 9.6), layout="constrained")
    panels = figure.subplots(2, 2, sharey=True, sharex="col")
    rows = [row for row in found.rows if row.curves]
    size, unit = token_unit(round(max(row.tokens for row in rows)))
    units: list[tuple[str, Spent, Callable[[Row], float]]] = [
        (unit, lambda point: point.tokens / size, lambda row: row.tokens / size),
        ("evaluations", lambda point: point.evaluations, lambda row: row.evaluations),
    ]
    for (above, below), (label, spent, total) in zip(panels.T, units, strict=True):
        for row, ((line, marker), colour) in zip(rows, cycle(LOOKS), strict=False):
            places, best = mean_curve(row.curves, spent)
            above.plot(places, 100 * best, line, color=colour, drawstyle="steps-post")
            tests = {seed: [point for point in curve if point.test is not None] for seed, curve in row.curves.items()}
            if all(tests.values()):
                places, tested = mean_curve(tests, spent, lambda point: point.test or 0.0)
                below.plot(places, 100 * tested, line, color=colour, drawstyle="steps-post")
            end, mean = total(row), 100 * row.mean.mean
            below.plot(end, mean, line + marker, color=colour, ms=9, markeredgecolor="black", label=row.method)
        below.set_xlabel(label)
        _tidy(above)
        _tidy(below)
    panels[0, 0].set_ylabel("best search score so far, %")
    panels[1, 0].set_ylabel("test score if it had ended there, %\n(star or cross: final model)")
    figure.legend(*panels[1, 0].get_legend_handles_labels(), fontsize=8, ncols=6, loc="outside lower center")
    return figure


def mean_curve(
    curves: Mapping[int, Sequence[Point]], spent: Spent, score: Callable[[Point], float] = attrgetter("best")
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Return places along the axis and the mean over seeds there, from where all seeds have begun to the last end.

    A seed that has ended keeps its last score.
    """
    steps = [([spent(point) for point in curve], [score(point) for point in curve]) for curve in curves.values()]
    first, last = max(places[0] for places, _ in steps), max(places[-1] for places, _ in steps)
    ends = [place for places, _ in steps for place in places if place >= first]
    grid = np.unique([*np.linspace(first, last, STEPS), *ends])
    values = [np.array(best)[np.searchsorted(places, grid, side="right") - 1] for places, best in steps]
    return grid, np.mean(values, axis=0)


def tests_figure(found: Standings) -> Figure:
    """Return the mean test scores with their intervals, the best above."""
    rows = sorted(found.rows, key=lambda row: row.mean.mean)
    figure = Figure(figsize=(8.0, 0.32 * len(rows) + 1.0), layout="constrained")
    axes = figure.subplots()
    for place, row in enumerate(rows):
        is_reference = row.method == found.reference
        colour = "#d1642a" if is_reference else "#3565c9" if row.limit else "#5f6b7a"
        axes.plot([100 * row.mean.low, 100 * row.mean.high], [place, place], color=colour, linewidth=2)
        axes.plot(100 * row.mean.mean, place, "o", color=colour)
    axes.set_yticks(range(len(rows)), [row.method for row in rows], fontsize=9)
    axes.set_ylim(-1, len(rows))
    axes.set_xlabel("mean test score, % (orange: reference, grey: no search)")
    _tidy(axes)
    return figure


def _tidy(axes: Axes) -> None:
    axes.grid(visible=True, color="#e3e6ea", linewidth=0.6)
    axes.spines[["top", "right"]].set_visible(False)


def _png(figure: Figure) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=DOTS_PER_INCH)
    return buffer.getvalue()
