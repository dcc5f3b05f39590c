"""What experts were trained on: the quickstart's is generated as it was for them, and files of one's own are read."""

from __future__ import annotations

import inspect
import json
import runpy
from pathlib import Path

import pytest

from cycleqd.errors import BadData, MissingInput
from cycleqd.records import Transcript
from cycleqd_runner.contest.entries import load_contest
from cycleqd_runner.contest.spec import LoraOnTrainingData
from cycleqd_runner.contest.training_data import GENERATORS, read_examples, training_data
from cycleqd_runner.local_copies import read_data
from cycleqd_runner.tasks.opening import RunTask
from cycleqd_runner.tasks.registry import make_evaluator

QUICKSTART = Path(__file__).parents[3] / "examples" / "quickstart"
ASKED = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "1 + 1?"}]


def quickstart_tasks() -> list[RunTask]:
    tasks = load_contest(QUICKSTART / "compare.yaml").manifest.spec.tasks
    return [RunTask(task, make_evaluator(task.evaluator, read_data), {}) for task in tasks]


@pytest.mark.parametrize("task", quickstart_tasks(), ids=lambda task: task.spec.name)
def test_it_is_what_the_quickstarts_experts_were_trained_on(task: RunTask) -> None:
    script = runpy.run_path(str(QUICKSTART / "train_experts.py"))
    recipe = {name: one.default for name, one in inspect.signature(script["main"]).parameters.items()}
    system, generate = script["SKILLS"][task.spec.name]
    questions = generate(recipe["seed"], "train", recipe["steps"] * recipe["batch"])
    (method,) = (
        one for one in load_contest(QUICKSTART / "compare.yaml").spec.methods if isinstance(one, LoraOnTrainingData)
    )
    found = training_data(task, method.data.get(task.spec.name), method.generated)
    assert [one.answer for one in found] == [question.gold for question in questions]
    assert [one.messages for one in found] == [
        ({"role": "system", "content": system}, {"role": "user", "content": question.prompt}) for question in questions
    ]
    assert {one.task for one in found} == {task.spec.name}
    asked = {item.payload["prompt"] for item in task.evaluator.items()}
    assert not asked & {one.messages[-1]["content"] for one in found}, "no run asks what anybody was trained on"


def test_every_evaluator_that_generates_items_generates_training_items() -> None:
    for kind, generate in GENERATORS.items():
        few, more = (generate(3, "train", count) for count in (2, 5))
        assert list(few) == list(more)[:2], kind
        assert all(question.gold for question in more), "an item without an answer teaches nothing"


def test_files_of_ones_own_are_read_like_transcripts_of_a_run(tmp_path: Path) -> None:
    said = Transcript(task="other", item="i7", messages=tuple(ASKED), answer="2", score=1.0)
    lines = [said.model_dump_json(), "", json.dumps({"messages": ASKED[1:], "answer": "two", "source": "book"})]
    (tmp_path / "sums.jsonl").write_text("\n".join(lines), encoding="utf-8")
    task = quickstart_tasks()[0]
    first, second = training_data(task, str(tmp_path / "sums.jsonl"), 3)
    assert (first.task, first.messages, first.answer) == (task.spec.name, tuple(ASKED), "2")
    assert (second.item, second.messages, second.answer) == ("3", tuple(ASKED[1:]), "two")
    with pytest.raises(MissingInput, match=r"gone\.jsonl"):
        training_data(task, str(tmp_path / "gone.jsonl"), 3)


GOOD = json.dumps({"messages": ASKED, "answer": "2"})


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        pytest.param("", r"sums\.jsonl has no examples", id="empty"),
        pytest.param(f"{GOOD}\n{{", r"sums\.jsonl, line 2: the line: Invalid JSON", id="not JSON"),
        pytest.param('{"messages": []}', r"line 1: messages: Tuple should have at least 1 item", id="no messages"),
        pytest.param(json.dumps({"messages": ASKED}), r"line 1: answer: Field required; expected", id="no answer"),
        pytest.param(json.dumps({"messages": ASKED, "answer": ""}), r"answer: .*at least 1 character", id="silence"),
        pytest.param(
            json.dumps({"messages": [{"role": "robot", "content": "x"}], "answer": "2"}),
            r"line 1: messages\.0\.role: Input should be 'system', 'user' or 'assistant'",
            id="role",
        ),
    ],
)
def test_a_broken_file_is_told_in_one_sentence(text: str, sentence: str) -> None:
    with pytest.raises(BadData, match=sentence) as told:
        read_examples(text.encode(), "sums.jsonl", "sums")
    assert "\n" not in str(told.value)
