"""Progress as curves: where they start, step and end."""

from __future__ import annotations

import re

import pytest

from cycleqd.report import Progress
from cycleqd_runner.report.curves import HEIGHT, MEAN, WIDTH, best_against_tokens, panels
from tests.runner.report.support import demo_report, empty_report


def point(children: int, value: float) -> Progress:
    """Return a point at which both archives stand alike."""
    return Progress(
        children=children,
        coverage=(value, value / 2),
        qd_score=(10 * value, 0.0),
        best=(value, 1.0),
        best_mean=(value + 1.0) / 2,
    )


def test_curves_step_at_the_points_and_end_at_the_last_child() -> None:
    report = demo_report(2).model_copy(update={"progress": (point(0, 0.0), point(50, 0.6), point(100, 0.6))})
    coverage, qd_score, best = panels(report)
    assert [curve.name for curve in coverage.curves] == ["sql", "shell"]
    assert coverage.curves[0].path == f"M0.0 {HEIGHT}H{WIDTH / 2}V0.0H{WIDTH}"
    assert (coverage.curves[0].last, qd_score.curves[0].last) == ("60 %", "6")
    assert [curve.name for curve in best.curves] == ["sql", "shell", MEAN]
    assert best.curves[1].path == f"M0.0 0.0H{WIDTH}"
    assert best.curves[2].kind == "mean"


def test_ticks_lie_where_the_curves_are() -> None:
    report = demo_report(2).model_copy(update={"progress": (point(0, 0.0), point(100, 0.6))})
    coverage = panels(report)[0]
    assert [(tick.at, tick.text) for tick in coverage.x_rows[0]][:2] == [(0.0, "0"), (WIDTH / 4, "25")]
    assert coverage.x_axis == ("children",)
    assert (coverage.y_ticks[0].at, coverage.y_ticks[0].text) == (HEIGHT, "0")
    assert (coverage.y_ticks[-1].at, coverage.y_ticks[-1].text) == (0.0, "60")


def test_what_children_had_cost_stands_below_their_number() -> None:
    points = tuple(
        point(count, 0.5).model_copy(update={"worker_seconds": 72.0 * count, "tokens": 10_000 * count})
        for count in (0, 100)
    )
    panel = panels(demo_report(2).model_copy(update={"progress": points}))[0]
    assert panel.x_axis == ("children", "worker hours", "million tokens")
    assert [[tick.text for tick in row] for row in panel.x_rows] == [
        ["0", "25", "50", "75", "100"], ["0", "0.50", "1.00", "1.50", "2.00"], ["0", "0.25", "0.50", "0.75", "1.00"],
    ]  # fmt: skip
    assert len({tuple(tick.at for tick in row) for row in panel.x_rows}) == 1


def test_short_runs_count_whole_children() -> None:
    report = demo_report(2).model_copy(update={"progress": (point(0, 0.0), point(12, 0.6))})
    assert [tick.text for tick in panels(report)[0].x_rows[0]] == ["0", "5", "10"]


def spent(children: int, best: float, tokens: int, training: int = 0) -> Progress:
    """Return a point at which the best mean is ``best``."""
    return point(children, 2 * best - 1.0).model_copy(update={"tokens": tokens, "training_tokens": training})


def test_runs_are_drawn_against_all_their_tokens() -> None:
    ours = [spent(0, 0.5, 1_000_000), spent(9, 0.8, 1_500_000, training=500_000)]
    papers = [spent(0, 0.5, 1_000_000), spent(45, 0.6, 4_000_000)]
    panel = best_against_tokens([("ours", ours), ("paper's", papers)])
    assert panel is not None
    assert [(curve.name, curve.kind) for curve in panel.curves] == [("ours", "line-0"), ("paper's", "line-1")]
    assert [curve.last for curve in panel.curves] == ["80 % with 2.00 million tokens", "60 % with 4.00 million tokens"]
    assert panel.curves[0].path == f"M{WIDTH / 4:.1f} {HEIGHT * 3 / 8:.1f}H{WIDTH / 2:.1f}V0.0H{WIDTH / 2:.1f}"
    assert panel.curves[1].path.endswith(f"H{WIDTH:.1f}")
    assert panel.x_axis == ("million tokens",)
    assert [tick.text for tick in panel.x_rows[0]] == ["0", "1", "2", "3", "4"]
    assert [tick.at for tick in panel.x_rows[0]] == pytest.approx([k * WIDTH / 4 for k in range(5)])


@pytest.mark.parametrize("unknown", [[], [point(9, 0.5)]], ids=["no progress", "an older version"])
def test_runs_whose_tokens_are_not_known_are_not_drawn(unknown: list[Progress]) -> None:
    assert best_against_tokens([("known", [spent(9, 0.5, 10)]), ("unknown", unknown)]) is None


@pytest.mark.parametrize("progress", [(point(0, 0.0),), (point(7, 0.3),), (point(0, 0.0), point(1, 0.0))])
def test_short_runs_have_curves_too(progress: tuple[Progress, ...]) -> None:
    for panel in panels(demo_report(2).model_copy(update={"progress": progress})):
        for curve in panel.curves:
            assert all(0 <= float(number) <= WIDTH for number in re.findall(r"[\d.]+", curve.path))


def test_many_tasks_can_be_told_apart() -> None:
    tasks = tuple(f"task-{k}" for k in range(8))
    wide = Progress(children=1, coverage=(0.1,) * 8, qd_score=(1.0,) * 8, best=(0.5,) * 8, best_mean=0.5)
    report = empty_report().model_copy(update={"tasks": tasks, "progress": (wide,)})
    assert len({curve.kind for curve in panels(report)[0].curves}) == 8


def test_no_progress_no_curves() -> None:
    assert panels(empty_report()) == ()
