"""Kinds of items: their scores, the mean over them, and where they are shown. And what must be said about scores."""

from __future__ import annotations

import io

from rich.console import Console

from cycleqd.api.run import ReportSpec
from cycleqd.api.tasks import AgentBenchDbEvaluator
from cycleqd.records import ItemOutcome, TaskEvaluation
from cycleqd.report import MACRO, MICRO, remarks
from cycleqd_runner.report.groups import by_group
from cycleqd_runner.report.html import render
from cycleqd_runner.report.tables import group_tables
from tests.runner.report.support import demo_report, run_spec
from tests.runner.report.test_html import Page

KINDS = {"SELECT": [1, 1, 1, 0], "UPDATE": [0, 0], "INSERT": [1]}


def evaluation(kinds: dict[str, list[int]]) -> TaskEvaluation:
    outcomes = [
        ItemOutcome(item=f"{kind}{n}", score=score, group=kind)
        for kind, scores in kinds.items()
        for n, score in enumerate(scores)
    ]
    return TaskEvaluation(task="db", split="test", outcomes=tuple(outcomes))


def test_micro_and_macro() -> None:
    evaluated = evaluation(KINDS)
    groups = by_group(["other", "db"], {"base": (evaluation({"": [1]}), evaluated)})
    assert [*groups] == ["db"]
    shown = groups["db"]["base"]
    assert {kind: (one.mean, one.items) for kind, one in shown.items()} == {
        "INSERT": (1, 1),
        "SELECT": (0.75, 4),
        "UPDATE": (0, 2),
        MICRO: (4 / 7, 7),
        MACRO: (1.75 / 3, 7),
    }
    assert [*shown] == ["INSERT", "SELECT", "UPDATE", MICRO, MACRO]
    assert evaluated.score == shown[MICRO].mean


def test_page_and_terminal_show_them() -> None:
    groups = by_group(["db"], {"base": (evaluation(KINDS),), "merged": (evaluation(KINDS),)})
    report = demo_report(2).model_copy(update={"groups": groups})
    console = Console(width=160, file=io.StringIO(), record=True)
    console.print(*group_tables(report))
    for text in (console.export_text(), Page(render(report)).text()):
        assert "db by kind of item" in text
        assert MICRO in text
        assert MACRO in text
        assert "UPDATE" in text
    assert "kind of item" not in Page(render(demo_report(2))).text()


def test_a_protocol_that_is_not_the_papers_is_told() -> None:
    spec = run_spec(2, 10)
    assert remarks(spec) == ()
    for server, told in (("MySQL", 0), ("SQLite", 1)):
        evaluator = AgentBenchDbEvaluator.model_validate(
            {"type": "AgentBenchDB", "data": "items.jsonl", "server": server}
        )
        task = spec.tasks[0].model_copy(update={"evaluator": evaluator})
        said = remarks(spec.model_copy(update={"tasks": (task, *spec.tasks[1:])}))
        assert len(said) == told
        assert all(
            one.startswith(f"Task {task.name}: AgentBenchDB ran on SQLite, which is not the paper's") for one in said
        )


def test_what_is_said_about_benchmarks_is_told_too() -> None:
    benchmark = {"name": "dev", "evaluator": {"type": "AgentBenchDB", "data": "items.jsonl", "server": "SQLite"}}
    spec = run_spec(2, 10).model_copy(update={"report": ReportSpec.model_validate({"benchmarks": [benchmark]})})
    (said,) = remarks(spec)
    assert said.startswith("Benchmark dev: AgentBenchDB ran on SQLite, which is not the paper's")
