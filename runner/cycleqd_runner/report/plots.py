"""Pictures of a run: archives as heat maps or scatter plots, and how they grew. Pure functions of a report."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure

from cycleqd.report import ArchiveView, Report
from cycleqd_runner.report.heatmaps import COLOURS, axis_pairs, best_occupants, best_score, maps_per_archive
from cycleqd_runner.report.people import People
from cycleqd_runner.report.scatter import best_lowest, others_of, points_of

DOTS_PER_INCH = 130
EMPTY_CELL = "#eef0f3"
LINES = ("#3565c9", "#d1642a", "#2f8f5b", "#8a4fbf", "#b3394d", "#5f6b7a")
"""One colour per task; they differ in lightness, too."""


def pictures(report: Report) -> dict[str, bytes]:
    """Return the PNG files of a run by name; none before the experts have scores."""
    if not report.archives:
        return {}
    found = {"archives.png": _png(archives_figure(report))}
    if report.progress:
        found["progress.png"] = _png(progress_figure(report))
    return found


def archives_figure(report: Report) -> Figure:
    """Return one heat map per grid, or per grid and pair of axes where there are more than two; else scatter plots."""
    allowed = maps_per_archive(report)
    views = [(archive, pair) for archive in report.archives for pair in _panels(archive)[:allowed]]
    columns = min(len(views), 3)
    rows = -(-len(views) // columns)
    is_strip = len(views[0][1]) == 1
    figure = Figure(figsize=(4.3 * columns + 0.8, (1.9 if is_strip else 4.1) * rows + 0.5), layout="constrained")
    grid = figure.subplots(rows, columns, squeeze=False)
    colours = Normalize(0.0, best_score(report) if views[0][1] else best_lowest(report))
    for axes, (archive, pair) in zip(grid.flat, views, strict=False):
        if pair:
            _heat_map(axes, report, archive, pair, colours)
        else:
            _scatter(axes, report, archive, colours)
    for axes in list(grid.flat)[len(views) :]:
        axes.set_visible(False)
    label = "quality" if views[0][1] else "lowest score on any task"
    figure.colorbar(ScalarMappable(colours, COLOURS), ax=grid, label=label, shrink=0.8, pad=0.01)
    children = sum(1 for individual in report.individuals if individual.id >= len(report.experts))
    figure.suptitle(f"{report.run}: archives after {children} children", x=0.01, ha="left", fontsize=11)
    return figure


def _panels(archive: ArchiveView) -> list[tuple[int, ...]]:
    """Return the axes of each panel of an archive; none of the one panel of an archive that is no grid."""
    return axis_pairs(archive) if archive.edges else [()]


def best_in_cells(archive: ArchiveView, pair: Sequence[int], people: People, task: int) -> npt.NDArray[np.float64]:
    """Return the best quality over all other axes: (bins, bins) for two axes, (1, bins) for one; NaN where empty."""
    sizes = [len(archive.edges[axis]) - 1 for axis in pair]
    grid = np.full((sizes[1] if len(pair) > 1 else 1, sizes[0]), np.nan)
    for (column, row), individual in best_occupants(archive, pair, people, task).items():
        grid[row, column] = people.score(individual, task)
    return grid


def progress_figure(report: Report) -> Figure:
    """Return coverage, QD score and best score against the number of children."""
    figure = Figure(figsize=(12.0, 3.6), layout="constrained")
    coverage, qd_score, best = figure.subplots(1, 3)
    children = [point.children for point in report.progress]
    for axes, title, curves in (
        (coverage, "coverage of the archives", [[100 * value for value in p.coverage] for p in report.progress]),
        (qd_score, "QD score", [list(p.qd_score) for p in report.progress]),
        (best, "best search score", [[100 * value for value in p.best] for p in report.progress]),
    ):
        for task, name in enumerate(report.tasks):
            values = [curve[task] for curve in curves]
            axes.plot(children, values, color=LINES[task % len(LINES)], label=name, drawstyle="steps-post")
        axes.set_title(title, loc="left", fontsize=10)
        axes.set_xlabel("children")
        axes.set_ylim(bottom=0)
        axes.grid(visible=True, color="#e3e6ea", linewidth=0.6)
        axes.spines[["top", "right"]].set_visible(False)
    means = [100 * point.best_mean for point in report.progress]
    best.plot(children, means, color="black", linestyle="--", label="mean of one model", drawstyle="steps-post")
    coverage.set_ylabel("%")
    best.set_ylabel("%")
    best.legend(fontsize=8, frameon=False, loc="lower right")
    return figure


def _heat_map(axes: Axes, report: Report, archive: ArchiveView, pair: Sequence[int], colours: Normalize) -> None:
    task = report.tasks.index(archive.task)
    people = People.of(report)
    grid = best_in_cells(archive, pair, people, task)
    bins_y, bins_x = grid.shape
    axes.set_facecolor(EMPTY_CELL)
    axes.imshow(grid, origin="lower", cmap=COLOURS, norm=colours, aspect="auto", extent=(0, bins_x, 0, bins_y))
    axes.set_xticks(range(bins_x + 1), minor=True)
    axes.set_yticks(range(bins_y + 1), minor=True)
    axes.grid(which="minor", color="white", linewidth=0.7)
    axes.tick_params(which="minor", length=0)
    _ticks(axes, archive, pair)
    _mark(axes, report, people, best_occupants(archive, pair, people, task))
    axes.set_title(f"quality: {archive.task}   ({100 * archive.coverage:.0f} % covered)", loc="left", fontsize=10)


def _scatter(axes: Axes, report: Report, archive: ArchiveView, colours: Normalize) -> None:
    points = points_of(report, People.of(report), archive)
    x, y = [100 * point.others for point in points], [100 * point.quality for point in points]
    axes.scatter(x, y, c=[point.lowest for point in points], cmap=COLOURS, norm=colours, edgecolor="white", s=36)
    for point in points:
        if point.mark:
            place = (100 * point.others, 100 * point.quality)
            _star(axes, place, is_member=point.mark == "member")
            axes.annotate(point.label, place, xytext=(6, 3), textcoords="offset points", fontsize=7)
    axes.grid(visible=True, color="#e3e6ea", linewidth=0.6)
    axes.set_axisbelow(True)
    axes.margins(0.12)
    axes.set_xlabel(f"{others_of(archive)}, %")
    axes.set_ylabel(f"{archive.task} score, %")
    axes.set_title(f"quality: {archive.task}   ({len(points)} models)", loc="left", fontsize=10)


def _star(axes: Axes, place: tuple[float, float], *, is_member: bool) -> None:
    """Mark an expert (triangle) or a member of the final model (star)."""
    marker, size, colour = ("*", 150, "#ff5a36") if is_member else ("^", 55, "white")
    axes.scatter(*place, marker=marker, s=size, color=colour, edgecolor="black", linewidth=0.8)


def _ticks(axes: Axes, archive: ArchiveView, pair: Sequence[int]) -> None:
    """Label the axes with scores in percent at every third edge."""
    edges = archive.edges[pair[0]]
    axes.set_xlabel(f"{archive.axes[pair[0]]} score, %")
    axes.set_xticks(range(0, len(edges), 3), [f"{100 * edge:.0f}" for edge in edges[::3]], fontsize=8)
    if len(pair) == 1:
        axes.set_yticks([])
        return
    edges = archive.edges[pair[1]]
    axes.set_ylabel(f"{archive.axes[pair[1]]} score, %")
    axes.set_yticks(range(0, len(edges), 3), [f"{100 * edge:.0f}" for edge in edges[::3]], fontsize=8)


def _mark(axes: Axes, report: Report, people: People, occupants: Mapping[tuple[int, int], int]) -> None:
    """Mark the experts (triangles) and the members of the final model (stars) that hold a cell."""
    members = set(report.chosen.weights) if report.chosen else set()
    for (column, row), individual in occupants.items():
        if not people.is_expert(individual) and individual not in members:
            continue
        x, y = column + 0.5, row + 0.5
        _star(axes, (x, y), is_member=individual in members)
        if people.is_expert(individual):
            is_right = 2 * x > axes.get_xlim()[1]
            side, aside = ("right", -6) if is_right else ("left", 6)
            offset = (aside, 3)
            axes.annotate(
                people.name(individual), (x, y), xytext=offset, textcoords="offset points", ha=side, fontsize=7
            )


def _png(figure: Figure) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=DOTS_PER_INCH)
    return buffer.getvalue()
