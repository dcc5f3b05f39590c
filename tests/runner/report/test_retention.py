"""The table of benchmarks: shares of the base model's scores, and what is said where it has none."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from cycleqd.records import ItemOutcome, TaskEvaluation
from cycleqd_runner.report.html import render
from cycleqd_runner.report.retention import retention
from tests.runner.report.support import demo_report
from tests.runner.report.test_html import Page


def benchmark(name: str, scores: Sequence[float]) -> TaskEvaluation:
    outcomes = tuple(ItemOutcome(item=f"{i}", score=score) for i, score in enumerate(scores))
    return TaskEvaluation(task=name, split="benchmark", outcomes=outcomes)


TABLE = retention(
    {
        "base": [benchmark("gsm8k", [1, 0, 0, 1]), benchmark("bbh", [1, 1, 1, 1]), benchmark("hard", [0, 0])],
        "expert": [benchmark("gsm8k", [1, 0, 0, 0]), benchmark("bbh", [1, 1, 1, 0]), benchmark("hard", [1, 0])],
        "merged": [benchmark("gsm8k", [1, 1, 1, 0]), benchmark("bbh", [1, 1, 1, 1]), benchmark("hard", [0, 0])],
    }
)


def test_scores_are_shares_of_the_base_models() -> None:
    assert TABLE.benchmarks == ("gsm8k", "bbh", "hard")
    assert TABLE.kept["base"] == {"gsm8k": 1, "bbh": 1, "hard": None}
    assert TABLE.kept["expert"] == {"gsm8k": 0.5, "bbh": 0.75, "hard": None}
    assert TABLE.kept["merged"] == {"gsm8k": 1.5, "bbh": 1, "hard": None}
    assert TABLE.scores["merged"]["gsm8k"].mean == pytest.approx(0.75)


def test_the_mean_leaves_out_what_the_base_scores_nothing_on() -> None:
    assert TABLE.means == {"base": 1, "expert": 0.625, "merged": 1.25}
    nothing = retention({"base": [benchmark("hard", [0])], "merged": [benchmark("hard", [1])]})
    assert nothing.means == {"base": None, "merged": None}


def test_the_page_has_the_table_where_there_are_benchmarks() -> None:
    report = demo_report(3)
    assert "What else was kept" not in Page(render(report)).text()
    text = Page(render(report.model_copy(update={"retention": TABLE}))).text()
    assert "What else was kept" in text
    assert "gsm8k, %" in text
    assert "62.5" in text
    assert "150.0" in text
