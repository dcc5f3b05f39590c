from __future__ import annotations

import asyncio
import re
from collections.abc import Sequence

import pytest

from cycleqd.api.run import Transcripts
from cycleqd.api.tasks import SandboxLimits
from cycleqd.errors import BadData, Unscored
from cycleqd.records import TaskEvaluation, Transcript
from cycleqd_runner.chat import ChatModel, Message, Sampling
from cycleqd_runner.tasks.contract import Item, Setting, Verdict
from cycleqd_runner.tasks.run import TRIES, evaluate, prompt_sha256
from tests.runner.tasks.support import NoSandbox, Scripted


class Toy:
    """Scores an item with what its payload says; ``failures`` is how often the infrastructure fails first."""

    def __init__(self, scores: dict[str, list[float | None]], failures: dict[str, int] | None = None) -> None:
        self.scores = {name: list(values) for name, values in scores.items()}
        self.failures = dict(failures or {})
        self.tries: list[str] = []

    def items(self) -> Sequence[Item]:
        return [Item(name, "any", {"prompt": name}, f"kind of {name}") for name in self.scores]

    async def judge(self, item: Item, model: ChatModel, setting: Setting) -> Verdict:
        self.tries.append(item.id)
        if item.id == "broken":
            raise BadData("the item is broken")
        if self.failures.get(item.id, 0):
            self.failures[item.id] -= 1
            raise Unscored("the sandbox\nis down")
        score = self.scores[item.id].pop(0)
        await asyncio.sleep(0.001 * (9 - len(self.tries)))  # later items finish first
        reason = None if score == 1 else "why"
        return Verdict(score, reason, (Message("user", item.id),), f"said {item.id}", 10, 2)


class Careless(Toy):
    """Asks, and never looks how the answer ended."""

    async def judge(self, item: Item, model: ChatModel, setting: Setting) -> Verdict:
        await model.chat((Message("user", item.id),), Sampling(1))
        return await super().judge(item, model, setting)


def run(
    toy: Toy, repeats: int = 1, model: Scripted | None = None, keep: Transcripts = "Successes"
) -> tuple[TaskEvaluation, list[Transcript]]:
    return asyncio.run(
        evaluate(
            toy,
            toy.items(),
            model or Scripted(""),
            NoSandbox(),
            SandboxLimits(),
            repeats=repeats,
            split="search",
            task_name="toy",
            keep=keep,
            first_wait_seconds=0.001,
        )
    )


def test_outcomes_come_in_item_order_and_requests_too() -> None:
    toy = Toy({"c": [1.0], "a": [0.0], "b": [1.0]})
    evaluation, transcripts = run(toy)
    assert (evaluation.task, evaluation.split) == ("toy", "search")
    assert evaluation.score == pytest.approx(2 / 3)
    assert [(o.item, o.score, o.reason) for o in evaluation.outcomes] == [
        ("c", 1, None),
        ("a", 0, "why"),
        ("b", 1, None),
    ]
    assert toy.tries == ["c", "a", "b"]
    assert [(o.prompt_tokens, o.answer_tokens) for o in evaluation.outcomes] == [(10, 2)] * 3
    assert all(o.seconds > 0 for o in evaluation.outcomes)
    assert [(t.item, t.answer, t.score) for t in transcripts] == [("c", "said c", 1), ("b", "said b", 1)]
    assert transcripts[0].messages == ({"role": "user", "content": "c"},)


def test_repeats_are_averaged_and_give_one_transcript() -> None:
    evaluation, transcripts = run(Toy({"a": [0.0, 1.0, 1.0, 0.0], "b": [0.0] * 4}), repeats=4)
    assert [o.score for o in evaluation.outcomes] == [0.5, 0.0]
    assert [o.prompt_tokens for o in evaluation.outcomes] == [40, 40]
    assert [t.item for t in transcripts] == ["a"]


def test_all_conversations_are_kept_where_that_is_asked_for() -> None:
    _, transcripts = run(Toy({"a": [0.0, 1.0, 1.0], "b": [None, 0.5, 0.0]}), repeats=3, keep="All")
    assert [(t.item, t.repeat, t.score, t.reason) for t in transcripts] == [
        ("a", 0, 0.0, "why"),
        ("a", 1, 1.0, None),
        ("a", 2, 1.0, None),
        ("b", 0, None, "why"),
        ("b", 1, 0.5, "why"),
        ("b", 2, 0.0, "why"),
    ]
    assert {(t.task, t.group, t.prompt_tokens, t.answer_tokens) for t in transcripts if t.item == "b"} == {
        ("toy", "kind of b", 10, 2)
    }
    assert all(t.seconds > 0 for t in transcripts)


def test_what_could_not_be_judged_is_kept_as_far_as_it_came() -> None:
    toy = Careless({"a": [1.0], "b": [1.0]}, {"b": TRIES})
    _, transcripts = run(toy, model=Scripted("hm"), keep="All")
    assert [(t.item, t.score, t.answer) for t in transcripts] == [("a", 1.0, "said a"), ("b", None, "hm")]
    assert transcripts[1].messages == ({"role": "user", "content": "b"},)
    assert transcripts[1].reason == "not scored after 3 tries: the sandbox is down"
    assert (transcripts[1].prompt_tokens, transcripts[1].answer_tokens) == (7, 3)


@pytest.mark.parametrize("failures", [1, TRIES - 1])
def test_what_the_infrastructure_failed_is_tried_again(failures: int) -> None:
    toy = Toy({"a": [1.0], "b": [1.0]}, {"b": failures})
    evaluation, _ = run(toy)
    assert evaluation.score == 1.0
    assert toy.tries.count("b") == failures + 1


def test_what_fails_every_time_has_no_score_and_says_why() -> None:
    toy = Toy({"a": [1.0], "b": [1.0]}, {"b": TRIES})
    evaluation, transcripts = run(toy)
    assert toy.tries.count("b") == TRIES
    assert evaluation.outcomes[1].score is None
    assert evaluation.outcomes[1].reason == "not scored after 3 tries: the sandbox is down"
    assert [t.item for t in transcripts] == ["a"]
    with pytest.raises(Unscored):
        _ = evaluation.score


def test_one_repeat_without_a_score_leaves_the_item_without() -> None:
    evaluation, _ = run(Toy({"a": [1.0, None]}), repeats=2)
    assert (evaluation.outcomes[0].score, evaluation.outcomes[0].reason) == (None, "why")


@pytest.mark.parametrize(("finish", "is_broken"), [("broken", True), ("length", False)])
def test_a_broken_answer_has_no_score_whatever_the_evaluator_says(finish: str, is_broken: bool) -> None:
    evaluation, transcripts = run(Careless({"a": [1.0], "b": [0.0]}), model=Scripted("", finish))
    assert [outcome.is_broken for outcome in evaluation.outcomes] == [is_broken] * 2
    assert len(transcripts) == (0 if is_broken else 1)


def test_a_broken_item_ends_the_evaluation() -> None:
    with pytest.raises(BadData, match="the item is broken"):
        run(Toy({"a": [1.0], "broken": [], "b": [1.0]}))


def test_prompts_are_hashed_by_role_and_text() -> None:
    first = (Message("system", "a"), Message("user", "b"))
    assert re.fullmatch("[0-9a-f]{64}", prompt_sha256(first))
    others = {
        prompt_sha256(m) for m in ((Message("system", "ab"),), first[1:], (Message("user", "a"), first[1]), first)
    }
    assert len(others) == 4
    evaluation, _ = run(Toy({"a": [1.0]}))
    assert evaluation.outcomes[0].prompt_sha256 == prompt_sha256((Message("user", "a"),))
