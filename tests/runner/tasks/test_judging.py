"""What the executable evaluators do alike: how they ask, and that generated items tell right from nearly right."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Callable

import pytest

from cycleqd.api.tasks import EvaluatorBase, PythonTestsEvaluator, ShellEvaluator, SqlEvaluator
from cycleqd_runner.tasks.contract import Evaluator, Setting
from cycleqd_runner.tasks.registry import make_evaluator
from tests.runner.tasks.support import LIMITS, NoSandbox, Scripted, judge_all

SPECS = [
    pytest.param(SqlEvaluator(type="Sql"), id="Sql"),
    pytest.param(ShellEvaluator(type="Shell"), id="Shell"),
    pytest.param(PythonTestsEvaluator(type="PythonTests"), id="PythonTests"),
]

PROMPTS = {"Sql": "Answer with SQL.", "Shell": "Answer with a bash command.", "PythonTests": "Answer with Python."}
"""What the quickstart's experts were trained with."""


def no_fetch(uri: str) -> bytes:
    raise AssertionError(uri)


@functools.cache
def built(spec: EvaluatorBase) -> Evaluator:
    return make_evaluator(spec, no_fetch)


@pytest.mark.parametrize("spec", SPECS)
def test_gold_answers_score_one(spec: EvaluatorBase) -> None:
    evaluator = built(spec)
    items = evaluator.items()[::10]  # every kind of item; all of them pass, but take a minute
    verdicts = judge_all(evaluator, items, lambda item: str(item.payload["gold"]))
    wrong = [(item.id, v.reason) for item, v in zip(items, verdicts, strict=True) if v.score != 1.0]
    assert not wrong
    assert {v.reason for v in verdicts} == {None}


@pytest.mark.parametrize("spec", SPECS)
def test_the_gold_answer_of_another_item_rarely_scores(spec: EvaluatorBase) -> None:
    evaluator = built(spec)
    items = [item for item in evaluator.items() if item.pool == "seen"][:90]
    other = {item.id: str(items[n - 9].payload["gold"]) for n, item in enumerate(items)}
    verdicts = judge_all(evaluator, items, lambda item: other[item.id])
    assert sum(v.score or 0.0 for v in verdicts) <= 2


MUTATIONS: dict[str, Callable[[str], str]] = {
    "Sql": lambda gold: gold.split(" WHERE ")[0].split(" ORDER BY ")[0].replace("AVG", "SUM").replace("MAX", "MIN"),
    "Shell": lambda gold: gold.split(" | ")[0].replace(" -n ", " -n 1"),
    "PythonTests": lambda gold: gold.split(" if ")[0].rstrip(")]") + "  # cut",
}


@pytest.mark.parametrize("spec", SPECS)
def test_answers_that_leave_out_a_part_score_zero(spec: EvaluatorBase) -> None:
    evaluator = built(spec)
    mutate = MUTATIONS[spec.type]  # type: ignore[attr-defined]
    items = [item for item in evaluator.items() if mutate(str(item.payload["gold"])) != item.payload["gold"]][:80]
    verdicts = judge_all(evaluator, items, lambda item: mutate(str(item.payload["gold"])))
    assert sum(v.score or 0.0 for v in verdicts) <= 0.1 * len(items)


@pytest.mark.parametrize("spec", SPECS)
def test_items_are_asked_with_a_short_system_prompt_and_few_tokens(spec: EvaluatorBase) -> None:
    evaluator = built(spec)
    model = Scripted("", finish="stop")
    verdict = asyncio.run(evaluator.judge(evaluator.items()[0], model, Setting(NoSandbox(), LIMITS)))
    ((messages, sampling),) = model.asked
    assert [message.role for message in messages] == ["system", "user"]
    assert messages[0].content == PROMPTS[spec.type]  # type: ignore[attr-defined]
    assert verdict.messages == messages
    assert (verdict.prompt_tokens, verdict.answer_tokens) == (7, 3)
    assert sampling.temperature == 0.0
    assert sampling.max_tokens == 48
    assert sampling.stop


@pytest.mark.parametrize("spec", SPECS)
def test_the_manifest_overrides_prompt_and_length(spec: EvaluatorBase) -> None:
    for prompt, roles in (("Be brief.", ["system", "user"]), ("", ["user"])):
        evaluator = built(spec.model_copy(update={"system_prompt": prompt, "max_tokens": 9}))
        model = Scripted("")
        asyncio.run(evaluator.judge(evaluator.items()[0], model, Setting(NoSandbox(), LIMITS)))
        ((messages, sampling),) = model.asked
        assert [message.role for message in messages] == roles
        assert messages[0].content == (prompt or messages[-1].content)
        assert sampling.max_tokens == 9
