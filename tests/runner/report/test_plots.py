"""Pictures: the right quality in the right cell, and files that are pictures."""

from __future__ import annotations

import io

import numpy as np
import pytest
from matplotlib.image import imread

from cycleqd.report import ArchiveView, Individual, Report
from cycleqd_runner.report.heatmaps import MAX_MAPS, SIDE, archive_maps, axis_pairs, best_score
from cycleqd_runner.report.people import People
from cycleqd_runner.report.plots import archives_figure, best_in_cells, pictures, progress_figure
from tests.runner.report.support import demo_report, empty_report

EDGES = (0.0, 0.25, 0.5, 0.75, 1.0)


def archive(n_axes: int, cells: dict[tuple[int, ...], int]) -> ArchiveView:
    """Return an archive of task ``quality`` with four bins an axis."""
    axes = tuple(f"axis {k}" for k in range(n_axes))
    return ArchiveView(
        task="quality", axes=axes, edges=(EDGES,) * n_axes, cells=tuple(cells.items()), coverage=0.1, qd_score=1.0
    )


def report_of(view: ArchiveView, qualities: dict[int, float]) -> Report:
    """Return a report with this archive, in which only the quality differs between individuals."""
    tasks = (view.task, *view.axes)
    individuals = tuple(
        Individual(id=who, parents=(0, 1), scores=(quality, *(0.5 for _ in view.axes)))
        for who, quality in qualities.items()
    )
    return Report(
        run="r", uid="", tasks=tasks, experts=("a", "b"), scores={}, means={}, individuals=individuals, archives=(view,)
    )


def test_cells_of_one_axis_make_a_strip() -> None:
    report = report_of(view := archive(1, {(0,): 5, (3,): 6}), {5: 0.2, 6: 0.9})
    grid = best_in_cells(view, (0,), People.of(report), 0)
    np.testing.assert_array_equal(grid, [[0.2, np.nan, np.nan, 0.9]])


def test_first_axis_is_across_and_second_is_up() -> None:
    report = report_of(view := archive(2, {(3, 1): 5}), {5: 0.2})
    grid = best_in_cells(view, (0, 1), People.of(report), 0)
    assert grid[1, 3] == 0.2
    assert np.isfinite(grid).sum() == 1
    (cell,) = archive_maps(report)[0].maps[0].cells
    assert (cell.left, cell.top + cell.height) == (3 * SIDE / 4, SIDE * 3 / 4)


def test_more_axes_show_the_best_over_the_others() -> None:
    view = archive(3, {(1, 2, 0): 5, (1, 2, 3): 6, (1, 0, 3): 7})
    report = report_of(view, {5: 0.2, 6: 0.9, 7: 0.4})
    people = People.of(report)
    assert axis_pairs(view) == [(0, 1), (0, 2), (1, 2)]
    assert best_in_cells(view, (0, 1), people, 0)[2, 1] == 0.9
    assert best_in_cells(view, (0, 1), people, 0)[0, 1] == 0.4
    assert best_in_cells(view, (0, 2), people, 0)[3, 1] == 0.9
    assert best_in_cells(view, (1, 2), people, 0)[0, 2] == 0.2
    first = archive_maps(report)[0].maps[0]
    assert [(cell.column, cell.row, cell.who) for cell in first.cells] == [(1, 0, 7), (1, 2, 6)]


def test_pairs_of_axes_are_bounded() -> None:
    view = archive(12, {(0,) * 12: 5})
    report = report_of(view, {5: 0.5})
    (own,) = archive_maps(report)
    assert (len(own.maps), own.left_out) == (MAX_MAPS, 66 - MAX_MAPS)
    maps = [axes for axes in archives_figure(report).axes if axes.get_title(loc="left").startswith("quality: ")]
    assert len(maps) == MAX_MAPS


def test_ticks_are_edges_in_percent_from_left_and_from_below() -> None:
    own = archive_maps(report_of(archive(2, {(0, 0): 5}), {5: 0.5}))[0].maps[0]
    assert [(tick.at, tick.text) for tick in own.x_ticks] == [
        (0.0, "0"), (SIDE / 4, "25"), (SIDE / 2, "50"), (SIDE * 3 / 4, "75"), (SIDE, "100"),
    ]  # fmt: skip
    assert [(tick.at, tick.text) for tick in own.y_ticks][:2] == [(SIDE, "0"), (SIDE * 3 / 4, "25")]


def test_an_axis_without_extent_has_one_tick() -> None:
    view = archive(1, {(0,): 5}).model_copy(update={"edges": ((0.0, 0.0, 0.0),)})
    own = archive_maps(report_of(view, {5: 0.5}))[0].maps[0]
    assert [tick.text for tick in own.x_ticks] == ["0"]


def test_colours_span_all_scores() -> None:
    assert best_score(demo_report(3)) == max(max(one.scores or ()) for one in demo_report(3).individuals)
    assert best_score(empty_report()) == 1.0


@pytest.mark.parametrize("n_tasks", [2, 3, 4])
def test_files_are_pictures(n_tasks: int) -> None:
    found = pictures(demo_report(n_tasks, children=40))
    assert sorted(found) == ["archives.png", "progress.png"]
    for png in found.values():
        pixels = imread(io.BytesIO(png))
        assert min(pixels.shape[:2]) > 200
        assert pixels[..., :3].std() > 0.01


def test_pictures_show_what_the_archives_hold() -> None:
    report = demo_report(3, children=40)
    for view, axes in zip(report.archives, archives_figure(report).axes, strict=False):
        drawn = np.asarray(axes.images[0].get_array())
        assert np.isfinite(np.ma.filled(drawn, np.nan)).sum() == len(view.cells)
        assert axes.get_title(loc="left").startswith(f"quality: {view.task}")


def test_curves_end_where_the_progress_ends() -> None:
    report = demo_report(3, children=40)
    coverage, qd_score, best = progress_figure(report).axes
    last = report.progress[-1]
    assert [float(np.asarray(line.get_ydata())[-1]) for line in qd_score.lines] == pytest.approx(last.qd_score)
    assert [float(np.asarray(line.get_ydata())[-1]) for line in coverage.lines] == pytest.approx(
        [100 * value for value in last.coverage]
    )
    assert [float(np.asarray(line.get_ydata())[-1]) for line in best.lines] == pytest.approx(
        [100 * value for value in (*last.best, last.best_mean)]
    )


def test_nothing_is_drawn_of_nothing() -> None:
    assert pictures(empty_report()) == {}
