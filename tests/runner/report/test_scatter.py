"""Archives without a grid: everybody has a dot, where the scores say, and the page and the files show them."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest
from matplotlib.image import imread

from cycleqd.report import ArchiveView, Individual, Report
from cycleqd_runner.report.heatmaps import SIDE, archive_maps
from cycleqd_runner.report.html import render
from cycleqd_runner.report.plots import archives_figure, pictures
from cycleqd_runner.report.scatter import extent, scatters
from tests.runner.report.support import demo_report
from tests.runner.report.test_html import Page

ARCHIVES: dict[str, dict[str, Any]] = {
    "Cvt": {"type": "Cvt", "cells": 30},
    "DominatedNovelty": {"type": "DominatedNovelty", "size": 30},
}


def report_of(*scores: tuple[float, ...], members: tuple[int, ...]) -> Report:
    """Return a report with one archive, of the first task; two are experts."""
    tasks = tuple(f"task {k}" for k in range(len(scores[0])))
    view = ArchiveView(task=tasks[0], axes=tasks[1:], members=members, coverage=0.5, qd_score=1.0)
    people = tuple(Individual(id=who, scores=own) for who, own in enumerate(scores))
    return Report(
        run="r", uid="", tasks=tasks, experts=("a", "b"), scores={}, means={}, individuals=people, archives=(view,)
    )


def test_dots_are_where_the_scores_say() -> None:
    (plot,) = scatters(report_of((0.8, 0.2, 0.0), (0.4, 0.6, 0.6), (0.6, 0.4, 0.2), members=(0, 1, 2)))
    assert [dot.point.who for dot in plot.dots] == [1, 2, 0]
    assert [(dot.x, dot.y) for dot in plot.dots] == [
        pytest.approx(place) for place in [(SIDE, SIDE), (SIDE * 2 / 5, SIDE / 2), (0.0, 0.0)]
    ]
    assert [dot.point.lowest for dot in plot.dots] == [0.4, 0.2, 0.0]
    assert [dot.point.label for dot in plot.dots] == ["", "", "a"]
    assert [tick.text for tick in plot.x_ticks] == ["10", "20", "30", "40", "50", "60"]


@pytest.mark.parametrize(
    ("scores", "expected"),
    [
        pytest.param([0.31, 0.79], (0.3, 0.8), id="to the next tenths"),
        pytest.param([0.3, 0.8], (0.3, 0.8), id="tenths stay"),
        pytest.param([0.5], (0.5, 0.6), id="one score"),
        pytest.param([1.0], (1.0, 1.1), id="nothing but the best"),
        pytest.param([], (0.0, 1.0), id="nobody"),
    ],
)
def test_axes_begin_and_end_at_tenths(scores: list[float], expected: tuple[float, float]) -> None:
    assert extent(scores) == pytest.approx(expected)


def test_members_without_scores_are_left_out() -> None:
    report = report_of((0.8, 0.2), (0.2, 0.8), members=(0, 1, 7))
    assert len(scatters(report)[0].dots) == 2
    assert scatters(report)[0].x_axis == "task 1"


@pytest.mark.parametrize("kind", ARCHIVES)
def test_every_member_has_a_dot_on_page_and_picture(kind: str) -> None:
    report = demo_report(5, children=120, **ARCHIVES[kind])
    assert archive_maps(report) == ()
    page = Page(render(report))
    shown = sorted(int(own["data-who"]) for own in page.all("circle", "cell"))
    assert shown == sorted(member for archive in report.archives for member in archive.members)
    assert set(page.elites()) == set(shown)
    assert "mean of the other 4 tasks" in page.text()
    for view, axes in zip(report.archives, archives_figure(report).axes, strict=False):
        assert len(np.asarray(axes.collections[0].get_offsets())) == len(view.members)
        assert axes.get_title(loc="left") == f"quality: {view.task}   ({len(view.members)} models)"
    for png in pictures(report).values():
        assert imread(io.BytesIO(png))[..., :3].std() > 0.01
