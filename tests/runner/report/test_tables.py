"""The table of the terminal says what the report says."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from cycleqd.records import Guidance
from cycleqd.report import Difference, Report
from cycleqd_runner.report.card import lineage
from cycleqd_runner.report.html import render
from cycleqd_runner.report.people import People
from cycleqd_runner.report.tables import difference_text, interval_text, score_table
from tests.runner.report.support import demo_report, empty_report, interval
from tests.runner.report.test_html import Page


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
    assert "guidance" not in text


@pytest.mark.parametrize(
    ("taken", "told"),
    [
        (Guidance(seconds=21.4, peak_bytes=966_000_000), "guidance: 21.4 s and 0.9 GiB a child at most"),
        (Guidance(seconds=90, peak_bytes=50 * 2**20), "guidance: 1.5 min and 50 MiB a child at most"),
        (
            Guidance(seconds=3, peak_bytes=17 * 2**30, on_gpu=True),
            "guidance: 3.0 s and 17.0 GiB of GPU memory a child at most",
        ),
        (Guidance(seconds=3), "guidance: 3.0 s a child at most"),
    ],
    ids=["CPU", "small", "GPU", "a system that does not tell"],
)
def test_what_guidance_took_stands_below(taken: Guidance, told: str) -> None:
    report = demo_report(3)
    guided = report.model_copy(update={"cost": report.cost.model_copy(update={"guidance": taken})})
    assert told in shown(guided)
    assert told.removeprefix("guidance: ") in Page(render(guided)).text()


def test_what_polishing_took_stands_beside_it() -> None:
    report = demo_report(3)
    cost = report.cost.model_copy(update={"guidance": Guidance(seconds=3), "polishing": Guidance(seconds=8)})
    told = "guidance: 3.0 s a child at most, 8.0 s a polished candidate at most"
    assert told in shown(report.model_copy(update={"cost": cost}))


def test_who_taught_a_child_is_told_in_its_lineage() -> None:
    report = demo_report(3)
    last = report.individuals[-1].model_copy(update={"teachers": (0, 7)})
    taught = report.model_copy(update={"individuals": (*report.individuals[:-1], last)})
    (line,) = (line for line in lineage(taught, {last.id: 1.0}) if line.startswith(f"child {last.id} = "))
    assert line.endswith(", taught by sql-expert and child 7")
    assert People.of(taught).describe(last.id).endswith("taught by sql-expert and child 7")
    assert "taught" not in "".join(lineage(report, {last.id: 1.0}))


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
