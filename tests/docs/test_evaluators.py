"""docs/evaluators.md: its items are right, its fields are all, its evaluator works (as the conformance suite says)."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import TypeAdapter

from cycleqd.api.tasks import AgentBenchDbEvaluator, AgentBenchOsEvaluator, EvaluatorBase, Task
from cycleqd.placing import beside
from cycleqd_runner.local_copies import read_data
from cycleqd_runner.sandbox import Sandbox
from cycleqd_runner.tasks.contract import Setting, Verdict
from cycleqd_runner.tasks.items import PythonItem, Question, ShellItem, SqlItem
from cycleqd_runner.tasks.registry import FACTORIES, make_evaluator
from tests.docs.pages import ROOT, samples, spoken
from tests.runner.tasks import db_plays, lm_eval_tasks, os_problems
from tests.runner.tasks.conformance_subjects import lesson, lesson_text
from tests.runner.tasks.support import LIMITS, NoSandbox, Scripted, in_sandbox, judge_all

PAGE = ROOT / "docs" / "evaluators.md"
KINDS: dict[str, type[Question]] = {"Sql": SqlItem, "Shell": ShellItem, "PythonTests": PythonItem}
EPISODES = ("AgentBenchDB", "AgentBenchOS")
"""Whose items are of a benchmark's own form and are played in several turns."""
HARNESSES = ("Inspect", "LmEval")
"""Whose items are another program's."""


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
    assert {*FACTORIES} <= set(spoken(PAGE))


def test_the_task_is_one() -> None:
    sample = samples(PAGE, "yaml")[0]
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
    assert {*KINDS, *EPISODES, *HARNESSES, "Container"} == {*FACTORIES}  # the last one: test_container.py


def test_the_inspect_task_is_one(tmp_path: Path) -> None:
    pytest.importorskip("inspect_ai", reason="inspect-ai is not installed (cycleqd[benchmarks])")
    (sample,) = (sample for sample in samples(PAGE, "python") if sample.section == "Inspect")
    (tmp_path / "riddles.py").write_text(sample.text)
    (block,) = (text for text in spoken(PAGE, "Inspect") if text.startswith("evaluator:"))
    annotation: Any = Task.model_fields["evaluator"].annotation
    spec: EvaluatorBase = TypeAdapter(annotation).validate_python(
        yaml.safe_load(block)["evaluator"], context={"place": beside(tmp_path)}
    )
    evaluator = make_evaluator(spec, read_data)
    owl, kiwi = evaluator.items()
    answers = {"Which bird hunts at night?": "Owl.", "Which bird of New Zealand cannot fly?": "A penguin"}
    setting = Setting(NoSandbox(), LIMITS)
    verdicts = [asyncio.run(evaluator.judge(item, Scripted(answers), setting)) for item in (owl, kiwi)]
    assert [verdict.score for verdict in verdicts] == [1, 0]
    assert verdicts[0].messages[0].content == "Answer with one word."


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


def test_the_lm_eval_task_is_solved_by_who_knows_the_capitals(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    datasets = pytest.importorskip("datasets", reason="lm-eval is not installed (cycleqd[benchmarks])")
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    task, data = (next(one.text for one in samples(PAGE, kind) if one.section == "LmEval") for kind in ("yaml", "json"))
    (tmp_path / "capitals.yaml").write_text(task, encoding="utf-8")
    (tmp_path / "capitals.jsonl").write_text(data, encoding="utf-8")
    right = {"The capital of France is Paris", "The capital of Norway is Oslo"}
    model = lm_eval_tasks.Reader(lambda context, continuation: -1.0 if context + continuation in right else -2.0)
    assert lm_eval_tasks.scores(lm_eval_tasks.opened(tmp_path / "capitals.yaml"), model) == [1, 1]
