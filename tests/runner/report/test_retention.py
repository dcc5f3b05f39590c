"""The table of benchmarks: shares of the base model's scores, and what is said where there is none."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping, Sequence

import pytest
from rich.console import Console

from cycleqd.records import BROKEN, ItemOutcome, TaskEvaluation
from cycleqd.report import Interval, Report, Retention
from cycleqd_runner.report.card import model_card
from cycleqd_runner.report.html import render
from cycleqd_runner.report.retention import retention
from cycleqd_runner.report.summary import left_out, retained
from cycleqd_runner.report.tables import retention_parts
from tests.runner.report.support import demo_report, run_spec
from tests.runner.report.test_html import Page

LOST = "not scored after 3 tries: the server is gone"


def benchmark(name: str, scores: Sequence[float | None], reason: str = LOST) -> TaskEvaluation:
    outcomes = tuple(
        ItemOutcome(item=f"{i}", score=score, reason=reason if score is None else None)
        for i, score in enumerate(scores)
    )
    return TaskEvaluation(task=name, split="benchmark", outcomes=outcomes)


TABLE = retention(
    {
        "base": [benchmark("gsm8k", [1, 0, 0, 1]), benchmark("bbh", [1, 1, 1, 1]), benchmark("hard", [0, 0])],
        "expert": [benchmark("gsm8k", [1, 0, 0, 0]), benchmark("bbh", [1, 1, 1, 0]), benchmark("hard", [1, 0])],
        "merged": [benchmark("gsm8k", [1, 1, 1, 0]), benchmark("bbh", [1, 1, 1, 1]), benchmark("hard", [0, 0])],
    }
)
GAPS = retention(
    {
        "base": [benchmark("gsm8k", [1, 0]), benchmark("bbh", [1, None]), benchmark("hard", [1, 1])],
        "expert": [benchmark("gsm8k", [1, None], BROKEN), benchmark("bbh", [1, 1]), benchmark("hard", [1, 1])],
        "merged": [benchmark("gsm8k", [1, 0]), benchmark("bbh", [1, 1]), benchmark("hard", [1, 0])],
    }
)


def means(intervals: Mapping[str, Interval | None]) -> dict[str, float | None]:
    return {name: None if one is None else one.mean for name, one in intervals.items()}


def report_with(table: Retention) -> Report:
    return demo_report(3).model_copy(update={"retention": table})


def page(report: Report) -> str:
    return Page(render(report)).text()


def terminal(report: Report) -> str:
    console = Console(width=160, file=io.StringIO(), record=True)
    console.print(*retention_parts(report))
    return console.export_text()


def test_scores_are_shares_of_the_base_models() -> None:
    assert TABLE.benchmarks == ("gsm8k", "bbh", "hard")
    assert means(TABLE.kept["base"]) == {"gsm8k": 1, "bbh": 1, "hard": None}
    assert means(TABLE.kept["expert"]) == {"gsm8k": 0.5, "bbh": 0.75, "hard": None}
    assert means(TABLE.kept["merged"]) == {"gsm8k": 1.5, "bbh": 1, "hard": None}
    assert means(TABLE.scores["merged"]) == {"gsm8k": 0.75, "bbh": 1, "hard": 0}


def test_every_share_has_its_interval() -> None:
    for model, own in TABLE.kept.items():
        for share in (*own.values(), TABLE.means[model]):
            if share and model == "base":
                assert (share.low, share.mean, share.high) == (1, 1, 1), "of itself it has all"
            elif share:
                assert 0 <= share.low < share.mean < share.high
    assert TABLE.means["merged"]
    assert TABLE.means["merged"].items == 8


def test_the_mean_leaves_out_what_the_base_scores_nothing_on() -> None:
    assert means(TABLE.means) == {"base": 1, "expert": 0.625, "merged": 1.25}
    assert TABLE.zero == ("hard",)
    nothing = retention({"base": [benchmark("hard", [0])], "merged": [benchmark("hard", [1])]})
    assert means(nothing.means) == {"base": None, "merged": None}


def test_what_is_not_scored_is_neither_0_nor_left_out_in_silence() -> None:
    assert means(GAPS.scores["expert"]) == {"gsm8k": None, "bbh": 1, "hard": 1}
    assert means(GAPS.kept["merged"]) == {"gsm8k": 1, "bbh": None, "hard": 0.5}, "nor is the base's gap divided by"
    assert means(GAPS.means) == {"base": 1, "expert": None, "merged": 0.75}, "no mean over fewer than the others have"
    assert GAPS.unscored == {
        "base": {"bbh": f"1 of 2 items: {LOST}"},
        "expert": {"gsm8k": f"1 of 2 items: {BROKEN}"},
    }


def test_it_can_be_read_back() -> None:
    for table in (TABLE, GAPS):
        assert Retention.model_validate_json(table.model_dump_json()) == table


@pytest.mark.parametrize("shown", [page, terminal])
def test_page_and_terminal_have_the_table_where_there_are_benchmarks(
    shown: Callable[[Report], str],
) -> None:
    assert "What else was kept" not in shown(demo_report(3))
    text = shown(report_with(TABLE))
    for told in ("What else was kept", "gsm8k", "62", "150", "The base model scores nothing on hard: there is nothing"):
        assert told in text
    text = shown(report_with(GAPS))
    for told in (
        "not scored",
        f"Not scored: base on bbh, 1 of 2 items: {LOST}.",
        f"expert on gsm8k, 1 of 2 items: {BROKEN}.",
    ):
        assert told in text


def test_the_summary_says_it_in_a_sentence() -> None:
    assert retained(demo_report(3)) == ""
    told = "Beside the tasks, it keeps 125\N{NO-BREAK SPACE}% of the base model's score on 2 benchmarks."
    assert retained(report_with(TABLE)) == told
    assert left_out(TABLE) == [
        "The base model scores nothing on hard: there is nothing to be a share of, and the mean leaves it out."
    ]


def test_the_models_card_has_it_with_what_qualifies_the_scores() -> None:
    card = model_card(report_with(TABLE), run_spec(3)).render()
    assert "| model | gsm8k | bbh | hard |" in card
    assert "| merged | 1.500 | 1.000 | – |" in card
    assert "- Model-written code ran without a sandbox" in card
    assert "other benchmarks" not in model_card(demo_report(3), run_spec(3)).render()
