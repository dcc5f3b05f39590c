"""What is drawn where the temperature is above 0: whose seed each answer gets, and that all evaluators ask as told."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from typing import Any

import pytest
from pydantic import TypeAdapter

from cycleqd.api.tasks import Evaluator as EvaluatorSpec
from cycleqd.errors import Unscored
from cycleqd.rng import answer_seed
from cycleqd_runner.chat import ChatModel, Message, Sampling
from cycleqd_runner.tasks.contract import Item, Setting, Verdict
from cycleqd_runner.tasks.registry import make_evaluator
from cycleqd_runner.tasks.run import evaluate
from tests.runner.tasks.support import LIMITS, NoSandbox, Scripted

TABLE = {"table_name": "t", "table_info": {"columns": [{"name": "a", "type": "TEXT"}], "rows": [["1"]]}}
DB_ITEM = {"description": "What is a?", "label": ["1"], "type": ["other"], "table": TABLE}
OS_ITEM = {"description": "What is a?", "evaluation": {"match": "1"}}
BLOCKS: dict[str, tuple[dict[str, Any], str]] = {
    "Sql": ({}, ""),
    "Shell": ({}, ""),
    "PythonTests": ({}, ""),
    "AgentBenchDB": ({"data": "db.jsonl", "server": "SQLite"}, json.dumps(DB_ITEM)),
    "AgentBenchOS": ({"data": "os.json"}, json.dumps([OS_ITEM])),
}
"""By type: what its block in the manifest must have, and its items file."""


class Chatty:
    """Asks two questions an item, at this temperature; ``failures`` is how often the judge fails after the first."""

    def __init__(self, temperature: float, failures: int = 0) -> None:
        self.temperature, self.failures = temperature, failures

    def items(self) -> Sequence[Item]:
        return [Item(name, "any", {}) for name in "ab"]

    async def judge(self, item: Item, model: ChatModel, setting: Setting) -> Verdict:
        messages: tuple[Message, ...] = (Message("user", f"{item.id} {setting.repeat}"),)
        first = await model.chat(messages, Sampling(5, self.temperature))
        if self.failures:
            self.failures -= 1
            raise Unscored("the sandbox is down")
        messages = (*messages, Message("assistant", first.text), Message("user", f"again {item.id} {setting.repeat}"))
        answer = await model.chat(messages, Sampling(5, self.temperature))
        return Verdict(1.0, None, messages, answer.text, 0, 0)


def seeds(evaluator: Chatty, order: Sequence[int] = (0, 1), seed: int = 7) -> dict[str, list[int]]:
    """Return the seeds that came with each question, by its words."""
    model, items = Scripted("x"), evaluator.items()
    asked = evaluate(
        evaluator,
        [items[i] for i in order],
        model,
        NoSandbox(),
        LIMITS,
        repeats=2,
        split="search",
        task_name="chat",
        seed=seed,
        first_wait_seconds=0.001,
    )
    asyncio.run(asked)
    found: dict[str, list[int]] = {}
    for messages, sampling in model.asked:
        found.setdefault(messages[-1].content, []).append(sampling.seed)
    return found


def test_each_item_repeat_and_turn_has_its_own_seed() -> None:
    found = seeds(Chatty(0.5))
    assert found == {
        f"{'again ' if turn else ''}{item} {repeat}": [answer_seed(7, "chat", item, repeat, turn)]
        for item in "ab"
        for repeat in (0, 1)
        for turn in (0, 1)
    }
    assert len({tuple(one) for one in found.values()}) == 8


def test_seeds_do_not_depend_on_what_else_is_asked_and_do_on_the_runs_seed() -> None:
    found = seeds(Chatty(0.5))
    assert seeds(Chatty(0.5), order=(1, 0)) == found
    assert seeds(Chatty(0.5), order=(1,)) == {words: own for words, own in found.items() if "b" in words}
    other = seeds(Chatty(0.5), seed=8)
    assert other.keys() == found.keys()
    assert all(other[words] != own for words, own in found.items())


def test_what_is_asked_again_after_a_failure_is_drawn_as_the_first_time() -> None:
    calm, failed = seeds(Chatty(0.5), order=(0,)), seeds(Chatty(0.5, failures=1), order=(0,))
    assert failed == {**calm, "a 0": calm["a 0"] * 2}


def test_greedy_questions_are_left_as_they_are() -> None:
    assert set(map(tuple, seeds(Chatty(0.0)).values())) == {(0,)}


@pytest.mark.parametrize("kind", BLOCKS)
@pytest.mark.parametrize("setting", [{}, {"temperature": 0.7, "topP": 0.9}], ids=["default", "drawn"])
def test_every_evaluator_asks_with_the_temperature_of_the_manifest(kind: str, setting: dict[str, float]) -> None:
    block, data = BLOCKS[kind]
    annotation: Any = EvaluatorSpec
    spec = TypeAdapter(annotation).validate_python({"type": kind, **block, **setting})
    evaluator = make_evaluator(spec, lambda _: data.encode())
    model = Scripted("")
    asyncio.run(evaluator.judge(evaluator.items()[0], model, Setting(NoSandbox(), LIMITS)))
    ((_, sampling),) = model.asked
    assert (sampling.temperature, sampling.top_p) == ((0.7, 0.9) if setting else (0.0, 1.0))
