"""Grids as heat maps for pages: what is in which cell, in the coordinates of an SVG. Markup is the template's."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

from matplotlib import colormaps
from matplotlib.colors import to_hex

from cycleqd.report import ArchiveView, Report
from cycleqd_runner.report.people import People

SIDE = 300.0
"""Side of a map's plot, in SVG units; about as many pixels on a phone."""
STRIP = 44.0
"""Height of the map of an archive with one axis."""
COLOURS = "viridis"
DARK = 0.42
"""Shares of the best score below which white is seen better on the colour than black."""
MAX_MAPS = 36
"""Maps on one page. Pairs of axes grow with the cube of the number of tasks; each archive keeps one at least."""
TICKS = 5
"""Labelled edges per axis, about."""


@dataclass(frozen=True)
class Tick:
    """A labelled bin edge.

    Attributes:
        at: position in SVG units, from the left or from the top.
        text: score in percent.
    """

    at: float
    text: str


@dataclass(frozen=True)
class Cell:
    """An occupied cell.

    Attributes:
        column, row: from the lower left, from 0.
        left, top, width, height: in SVG units.
        colour: of the quality.
        is_dark: whether an outline must be white to be seen on the colour.
        who: id of the elite.
        mark: ``member`` of the final model, ``expert``, or nothing.
        label: an expert's name.
    """

    column: int
    row: int
    left: float
    top: float
    width: float
    height: float
    colour: str
    is_dark: bool
    who: int
    mark: str
    label: str


@dataclass(frozen=True)
class HeatMap:
    """One archive, seen along one axis or a pair of them.

    Attributes:
        task: whose score is quality.
        x_axis, y_axis: tasks of the axes; ``y_axis`` is empty for an archive with one axis.
        height: of the plot, in SVG units; its width is :data:`SIDE`.
        cells: occupied ones, by column and row.
        x_ticks, y_ticks: labelled edges.
    """

    task: str
    x_axis: str
    y_axis: str
    height: float
    cells: tuple[Cell, ...]
    x_ticks: tuple[Tick, ...]
    y_ticks: tuple[Tick, ...]


@dataclass(frozen=True)
class ArchiveMaps:
    """All maps of one archive.

    Attributes:
        archive: what the maps show.
        maps: one per pair of axes.
        left_out: how many pairs have no map, see :data:`MAX_MAPS`.
    """

    archive: ArchiveView
    maps: tuple[HeatMap, ...]
    left_out: int


def archive_maps(report: Report) -> tuple[ArchiveMaps, ...]:
    """Return the heat maps of all archives that are grids."""
    people, top = People.of(report), best_score(report)
    allowed = maps_per_archive(report)
    found = []
    for archive in (archive for archive in report.archives if archive.edges):
        pairs = axis_pairs(archive)
        maps = tuple(_heat_map(report, people, archive, pair, top) for pair in pairs[:allowed])
        found.append(ArchiveMaps(archive, maps, len(pairs) - len(maps)))
    return tuple(found)


def maps_per_archive(report: Report) -> int:
    """Return how many pairs of axes an archive may show, see :data:`MAX_MAPS`."""
    return max(1, MAX_MAPS // max(1, len(report.archives)))


def best_score(report: Report) -> float:
    """Return the best search score of anybody on any task: the upper end of the colours."""
    return max((score for individual in report.individuals for score in individual.scores or ()), default=0.0) or 1.0


def axis_pairs(archive: ArchiveView) -> list[tuple[int, ...]]:
    """Return the axes of each map of an archive: all pairs, or the only axis."""
    axes = range(len(archive.axes))
    return [(0,)] if len(archive.axes) == 1 else list(combinations(axes, 2))


def best_occupants(archive: ArchiveView, pair: Sequence[int], people: People, task: int) -> dict[tuple[int, int], int]:
    """Return who is best over all other axes, by (column, row); row is 0 where there is one axis only."""
    best: dict[tuple[int, int], int] = {}
    for cell, individual in archive.cells:
        place = (cell[pair[0]], cell[pair[1]] if len(pair) > 1 else 0)
        if place not in best or _quality(people, individual, task) > _quality(people, best[place], task):
            best[place] = individual
    return best


def colour_of(share: float) -> str:
    """Return the colour of a quality as a share, in [0, 1], of the best score."""
    return to_hex(colormaps[COLOURS](share))


def _quality(people: People, individual: int, task: int) -> float:
    return people.score(individual, task) or 0.0


def _heat_map(report: Report, people: People, archive: ArchiveView, pair: Sequence[int], top: float) -> HeatMap:
    task = report.tasks.index(archive.task)
    is_strip = len(pair) == 1
    height = STRIP if is_strip else SIDE
    columns = len(archive.edges[pair[0]]) - 1
    rows = 1 if is_strip else len(archive.edges[pair[1]]) - 1
    width_of_cell, height_of_cell = SIDE / columns, height / rows
    members = set(report.chosen.weights) if report.chosen else set()
    cells = []
    for (column, row), who in sorted(best_occupants(archive, pair, people, task).items()):
        is_expert, share = people.is_expert(who), _quality(people, who, task) / top
        cells.append(
            Cell(
                column=column,
                row=row,
                left=column * width_of_cell,
                top=height - (row + 1) * height_of_cell,
                width=width_of_cell,
                height=height_of_cell,
                colour=colour_of(share),
                is_dark=share < DARK,
                who=who,
                mark="member" if who in members else "expert" if is_expert else "",
                label=people.name(who) if is_expert else "",
            )
        )
    return HeatMap(
        task=archive.task,
        x_axis=archive.axes[pair[0]],
        y_axis="" if is_strip else archive.axes[pair[1]],
        height=height,
        cells=tuple(cells),
        x_ticks=_ticks(archive.edges[pair[0]], SIDE, is_downward=False),
        y_ticks=() if is_strip else _ticks(archive.edges[pair[1]], SIDE, is_downward=True),
    )


def _ticks(edges: Sequence[float], length: float, *, is_downward: bool) -> tuple[Tick, ...]:
    """Return every few edges, without those that would repeat a label: an axis can be narrower than a percent."""
    bins = len(edges) - 1
    step = max(1, round(bins / TICKS))
    found: dict[str, float] = {}
    for i in range(0, bins + 1, step):
        found.setdefault(f"{100 * edges[i]:.0f}", length * i / bins)
    return tuple(Tick(length - at if is_downward else at, text) for text, at in found.items())
