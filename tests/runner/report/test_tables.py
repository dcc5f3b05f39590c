"""The table of the terminal says what the report says."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from cycleqd.report import Difference, Report
from cycleqd_runner.report.tables import difference_text, interval_text, score_table
from tests.runner.report.support import demo_report, empty_report, interval


def shown(report: Report) -> str:
    console = Console(width=160, file=io.StringIO(), record=True)
    console.print(score_table(report))
    return console.export_text()


def test_every_model_has_a_line_with_all_its_scores() -> None:
    report = demo_report(3)
    lines = [line.strip(" │") for line in shown(report).splitlines() if "│" in line]
    for name, own in report.scores.items():
        (line,) = (line for line in lines if line.split(" ")[0] == name)
        for estimate in (*own.values(), report.means[name]):
            assert interval_text(estimate) in line


def test_verdicts_and_choice_stand_below() -> None:
    text = shown(demo_report(3))
    assert "points against sql-expert" in text
    assert "points against average" in text
    assert "chosen on validation: greedy-1" in text


def test_names_are_no_markup() -> None:
    report = demo_report(2).model_copy(update={"run": "[red]run[/red]", "tasks": ("[b]sql", "shell")})
    scores = {"[i]base": {"[b]sql": interval(0.5), "shell": interval(0.5)}}
    text = shown(report.model_copy(update={"scores": scores, "means": {"[i]base": interval(0.5)}}))
    for name in ("[red]run[/red]", "[b]sql", "[i]base"):
        assert name in text


def test_an_empty_report_has_an_empty_table() -> None:
    assert "nothing" in shown(empty_report())


@pytest.mark.parametrize(
    ("mean", "half", "expected"), [(0.62, 0.095, "62 [52, 72]"), (0.0, 0.04, "0 [0, 4]"), (1.0, 0.0, "100 [100, 100]")]
)
def test_interval_text(mean: float, half: float, expected: str) -> None:
    assert interval_text(interval(mean, half)) == expected


def test_difference_text() -> None:
    difference = Difference(against="average", mean=0.042, low=-0.01, high=0.073)
    assert difference_text(difference) == "+4.2 [-1.0, +7.3] points against average"
