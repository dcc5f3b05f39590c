"""Archives without a grid as scatter plots for pages, in the coordinates of an SVG. Markup is the template's.

However many tasks there are, one plot an archive shows what its members trade: the score on the archive's own task
against the mean of those on the others. Colour is the lowest score on any task, so that who fails at one stands out.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from statistics import fmean

from cycleqd.report import ArchiveView, Report
from cycleqd_runner.report.heatmaps import SIDE, TICKS, Tick, colour_of
from cycleqd_runner.report.people import People

STEP = 0.1
"""Axes begin and end at multiples of it: scores in [0, 1]."""


@dataclass(frozen=True)
class Point:
    """A member of an archive by its scores, all in [0, 1].

    Attributes:
        who: id.
        others: mean on the other tasks.
        quality: on the archive's own task.
        lowest: on any task.
        mark: ``member`` of the final model, ``expert``, or nothing.
        label: name of the expert that is best on the archive's task; the others' would cover each other.
    """

    who: int
    others: float
    quality: float
    lowest: float
    mark: str
    label: str = ""


@dataclass(frozen=True)
class Dot:
    """A member of an archive on a page.

    Attributes:
        x, y: of its centre, in SVG units.
        colour: of its lowest score.
        point: whose dot it is.
    """

    x: float
    y: float
    colour: str
    point: Point


@dataclass(frozen=True)
class Scatter:
    """One archive.

    Attributes:
        archive: what is shown.
        x_axis: what the horizontal axis is.
        dots: the weakest on the archive's task first, so that good ones lie on top.
        x_ticks, y_ticks: in percent.
    """

    archive: ArchiveView
    x_axis: str
    dots: tuple[Dot, ...]
    x_ticks: tuple[Tick, ...]
    y_ticks: tuple[Tick, ...]


def scatters(report: Report) -> tuple[Scatter, ...]:
    """Return the plots of all archives that are not grids; those of a report have the same axes, to be compared."""
    people, top = People.of(report), best_lowest(report)
    clouds = [(archive, points_of(report, people, archive)) for archive in report.archives if not archive.edges]
    everybody = [point for _, points in clouds for point in points]
    x, y = extent([point.others for point in everybody]), extent([point.quality for point in everybody])
    return tuple(
        Scatter(
            archive,
            others_of(archive),
            tuple(_dot(point, x, y, top) for point in points),
            tuple(Tick(SIDE * share, text) for share, text in _ticks(*x)),
            tuple(Tick(SIDE * (1 - share), text) for share, text in _ticks(*y)),
        )
        for archive, points in clouds
    )


def best_lowest(report: Report) -> float:
    """Return the best of everybody's lowest score: the upper end of the colours."""
    return max((min(individual.scores) for individual in report.individuals if individual.scores), default=0.0) or 1.0


def points_of(report: Report, people: People, archive: ArchiveView) -> list[Point]:
    """Return the members that have scores, the weakest on the archive's task first."""
    task = report.tasks.index(archive.task)
    final = set(report.chosen.weights) if report.chosen else set()
    points = []
    for who in archive.members:
        known = people.by_id.get(who)
        if known is None or not known.scores:
            continue
        others = [score for axis, score in enumerate(known.scores) if axis != task]
        mark = "member" if who in final else "expert" if people.is_expert(who) else ""
        points.append(Point(who, fmean(others), known.scores[task], min(known.scores), mark))
    points.sort(key=lambda point: (point.quality, -point.who))
    own = next((k for k in reversed(range(len(points))) if people.is_expert(points[k].who)), None)
    if own is not None:
        points[own] = replace(points[own], label=people.name(points[own].who))
    return points


def others_of(archive: ArchiveView) -> str:
    """Return what the horizontal axis is."""
    return archive.axes[0] if len(archive.axes) == 1 else f"mean of the other {len(archive.axes)} tasks"


def extent(scores: list[float]) -> tuple[float, float]:
    """Return where an axis begins and ends so that it shows these scores."""
    low = math.floor(round(min(scores, default=0.0) / STEP, 6)) * STEP
    high = math.ceil(round(max(scores, default=1.0) / STEP, 6)) * STEP
    return (low, high) if high > low else (low, low + STEP)


def _dot(point: Point, x: tuple[float, float], y: tuple[float, float], top: float) -> Dot:
    return Dot(
        x=SIDE * (point.others - x[0]) / (x[1] - x[0]),
        y=SIDE * (1 - (point.quality - y[0]) / (y[1] - y[0])),
        colour=colour_of(point.lowest / top),
        point=point,
    )


def _ticks(low: float, high: float) -> list[tuple[float, str]]:
    """Return (share of the axis, label) of all steps, or of every other one where there are more than :data:`TICKS`."""
    steps = round((high - low) / STEP)
    every = 1 if steps <= TICKS else 2
    return [(step / steps, f"{100 * (low + step * STEP):.0f}") for step in range(0, steps + 1, every)]
