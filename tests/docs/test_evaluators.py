"""docs/evaluators.md: its items are right, its fields are all, its evaluator works (as the conformance suite says)."""

from __future__ import annotations

from typing import Any

import pytest
import yaml
from pydantic import TypeAdapter

from cycleqd.api.tasks import AgentBenchDbEvaluator, AgentBenchOsEvaluator, EvaluatorBase, Task
from cycleqd_runner.sandbox import Sandbox
from cycleqd_runner.tasks.contract import Setting, Verdict
from cycleqd_runner.tasks.items import PythonItem, Question, ShellItem, SqlItem
from cycleqd_runner.tasks.registry import FACTORIES, LATER, make_evaluator
from tests.docs.pages import ROOT, samples, spoken
from tests.runner.tasks import db_plays, os_problems
from tests.runner.tasks.conformance_subjects import lesson, lesson_text
from tests.runner.tasks.support import LIMITS, in_sandbox, judge_all

PAGE = ROOT / "docs" / "evaluators.md"
KINDS: dict[str, type[Question]] = {"Sql": SqlItem, "Shell": ShellItem, "PythonTests": PythonItem}
EPISODES = ("AgentBenchDB", "AgentBenchOS")
"""Whose items are of a benchmark's own form and are played in several turns."""


@pytest.mark.parametrize("kind", KINDS)
def test_the_gold_answers_of_the_items_score_1(kind: str) -> None:
    lines = "".join(sample.text for sample in samples(PAGE, "json") if sample.section == kind)
    annotation: Any = Task.model_fields["evaluator"].annotation
    block: EvaluatorBase = TypeAdapter(annotation).validate_python({"type": kind, "data": PAGE.as_uri()})
    evaluator = make_evaluator(block, lambda _: lines.encode())
    items = evaluator.items()
    assert len(items) == len(lines.splitlines())
    verdicts = judge_all(evaluator, items, lambda item: str(item.payload["gold"]))
    assert [verdict.reason for verdict in verdicts] == [None] * len(items)


@pytest.mark.parametrize("kind", KINDS)
def test_every_field_of_an_item_is_described(kind: str) -> None:
    said = {*spoken(PAGE, kind), *spoken(PAGE, "Where items come from")}
    assert set(KINDS[kind].model_fields) <= said


def test_every_evaluator_is_named() -> None:
    assert {*FACTORIES, *LATER} <= set(spoken(PAGE))


def test_the_task_is_one() -> None:
    (sample,) = samples(PAGE, "yaml")
    tasks = TypeAdapter(list[Task]).validate_python(yaml.safe_load(sample.text)["tasks"])
    assert tasks[0].evaluator.type == "Sql"


def test_the_evaluator_to_learn_from_has_thirty_lines() -> None:
    lines = lesson_text().splitlines()
    assert len([line for line in lines if line]) <= 30
    assert max(map(len, lines)) <= 120


def test_the_evaluator_to_learn_from_knows_a_formula_from_a_guess() -> None:
    squares, *_, cubes = items = lesson().items()
    assert [item.group for item in (squares, cubes)] == ["squares", "cubes"]
    answers = {squares.id: "5 * 6 * 11 // 6", cubes.id: "(104 * 105 / 2) ** 2", items[1].id: "42"}
    verdicts = judge_all(lesson(), [squares, cubes, items[1]], lambda item: answers[item.id])
    # The second is a float and prints as one.
    assert [(v.score, v.reason) for v in verdicts] == [(1, None), *[(0, "it has another value, or none")] * 2]


def test_nobody_is_without_a_test_of_its_items() -> None:
    assert {*KINDS, *EPISODES} == {*FACTORIES}


def test_the_agentbench_db_items_are_solved_by_their_labels() -> None:
    texts = [sample.text for sample in samples(PAGE, "json") if sample.section == "AgentBenchDB"]
    block = AgentBenchDbEvaluator(type="AgentBenchDB", data=PAGE.as_uri(), server="SQLite")
    evaluator = make_evaluator(block, lambda _: "".join(texts).encode())

    async def work(sandbox: Sandbox) -> list[Verdict]:
        setting = Setting(sandbox, LIMITS)
        return [await evaluator.judge(item, db_plays.gold(item), setting) for item in evaluator.items()]

    assert [verdict.score for verdict in in_sandbox(work)] == [1, 1]


def test_the_agentbench_os_items_are_solved_by_their_examples() -> None:
    texts = [sample.text for sample in samples(PAGE, "json") if sample.section == "AgentBenchOS"]
    block = AgentBenchOsEvaluator(type="AgentBenchOS", data=PAGE.as_uri())
    evaluator = make_evaluator(block, lambda _: "".join(texts).encode())

    async def work(sandbox: Sandbox) -> list[Verdict]:
        sandbox.require_machines()
        setting = Setting(sandbox, LIMITS)
        return [await evaluator.judge(item, os_problems.gold(item), setting) for item in evaluator.items()]

    assert [verdict.score for verdict in in_sandbox(work)] == [1, 1]
