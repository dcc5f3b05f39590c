"""Inspect: tasks as users write them, asked of scripted models; inspect's own ``eval()`` is the oracle."""

from __future__ import annotations

import asyncio
import json
import logging
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from cycleqd.api.tasks import InspectEvaluator
from cycleqd.errors import BadData, BadManifest, CycleQDError, MissingInput, UnsupportedHere
from cycleqd.manifest import validated
from cycleqd.placing import below, beside
from cycleqd_runner.chat import Answer, Finish, Message, Sampling
from cycleqd_runner.engines.batching import Closed
from cycleqd_runner.local_copies import read_data
from cycleqd_runner.tasks.contract import Evaluator, Setting, Verdict
from cycleqd_runner.tasks.registry import make_evaluator
from cycleqd_runner.tasks.run import evaluate
from tests.runner.tasks import inspect_oracle
from tests.runner.tasks.inspect_oracle import reply
from tests.runner.tasks.support import LIMITS, NoSandbox

pytest.importorskip("inspect_ai", reason="inspect-ai is not installed (cycleqd[benchmarks])")

FILES = Path(__file__).parent / "inspect_files"
RIDDLES = FILES / "riddles.py"

PLAYED: dict[str, tuple[str, dict[str, Any]]] = {
    "match": ("sums", {}),
    "match after a system message": ("sums", {"hint": "Count."}),
    "includes, from a file": ("capitals", {}),
    "choice": ("options", {}),
    "several turns": ("dialogue", {}),
    "several turns, cut by a limit": ("dialogue", {"message_limit": 3}),
    "parallel draws": ("votes", {}),
    "partial credit": ("close", {}),
    "judged by itself": ("self_judged", {}),
    "a boolean": ("always", {"value": True}),
    "a half": ("always", {"value": 0.5}),
    "a word": ("always", {"value": "P"}),
    "a number as text": ("always", {"value": "0.25"}),
}
"""Tasks of riddles.py that can be played to a score, with their arguments."""


class Replying:
    """Answers by the last message; remembers what it was asked, in order."""

    def __init__(self, finish: Finish = "stop", failing: Exception | None = None) -> None:
        self.asked: list[tuple[tuple[Message, ...], Sampling]] = []
        self._finish = finish
        self._failing = failing

    async def chat(self, messages: Sequence[Message], sampling: Sampling) -> Answer:
        self.asked.append((tuple(messages), sampling))
        await asyncio.sleep(0)
        if self._failing:
            raise self._failing
        return Answer(reply(messages[-1].content), prompt_tokens=7, answer_tokens=3, finish=self._finish)


def built(task: str, file: Path = RIDDLES, **arguments: Any) -> Evaluator:
    """Make the evaluator of a task in a file as the registry makes it."""
    fields = {name: arguments.pop(name) for name in ("max_tokens", "system_prompt") if name in arguments}
    args = {name: json.dumps(value) for name, value in arguments.items()}
    return make_evaluator(InspectEvaluator(type="Inspect", task=f"{file}@{task}", args=args, **fields), read_data)


def play(evaluator: Evaluator, model: Replying | None = None, repeat: int = 0) -> dict[str, Verdict]:
    """Play all items at once, as they are in a run: each in an asyncio task of its own."""

    async def everything() -> list[Verdict]:
        setting = Setting(NoSandbox(), LIMITS, repeat)
        return await asyncio.gather(
            *(evaluator.judge(item, model or Replying(), setting) for item in evaluator.items())
        )

    return dict(zip([item.id for item in evaluator.items()], asyncio.run(everything()), strict=True))


@pytest.fixture(scope="module")
def oracle(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, float]]:
    """What inspect says of all that is played."""
    folder = tmp_path_factory.mktemp("oracle")
    asked = json.dumps([[f"{RIDDLES}@{task}", arguments] for task, arguments in PLAYED.values()])
    subprocess.run([sys.executable, inspect_oracle.__file__, folder, asked], check=True, cwd=folder, timeout=240)
    said: list[dict[str, float]] = json.loads((folder / "scores.json").read_text())
    return said


@pytest.mark.parametrize("name", PLAYED)
def test_scores_are_those_of_inspect(name: str, oracle: list[dict[str, float]]) -> None:
    task, arguments = PLAYED[name]
    verdicts = play(built(task, **arguments))
    expected = oracle[list(PLAYED).index(name)]
    if task == "capitals":  # inspect numbers samples without ids; ours say what they hold, too
        assert [item.partition("-")[0] for item in verdicts] == list(expected)
        assert [verdict.score for verdict in verdicts.values()] == list(expected.values())
    else:
        assert {item: verdict.score for item, verdict in verdicts.items()} == expected


def test_the_played_tasks_can_be_won_and_lost(oracle: list[dict[str, float]]) -> None:
    assert {max(scores.values()) for scores in oracle} >= {1.0, 0.5}
    assert sum(min(scores.values()) < max(scores.values()) for scores in oracle) > len(PLAYED) // 2


def test_a_verdict_says_what_was_asked_and_how_it_went() -> None:
    verdicts = play(built("dialogue"))
    right, wrong = verdicts["1+3"], verdicts["1+4"]
    assert (right.score, right.reason) == (1.0, None)
    assert [message.role for message in right.messages] == ["system", "user", "assistant", "user", "assistant", "user"]
    assert right.messages[0] == Message("system", "Be brief.")
    assert (right.answer, right.prompt_tokens, right.answer_tokens) == ("4", 21, 9)
    assert wrong.score == 0.0
    assert wrong.reason


def test_what_a_scorer_asks_is_counted_and_is_not_the_question() -> None:
    verdict = play(built("self_judged"))["1+3"]
    assert verdict.messages == (Message("user", "What is 1 + 3?"),)
    assert (verdict.answer, verdict.prompt_tokens, verdict.score) == ("4", 14, 1.0)


def test_answers_never_come_from_inspects_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("INSPECT_CACHE_DIR", str(tmp_path))
    models = Replying(), Replying()
    for model in models:
        play(built("self_judged"), model)
    assert [len(model.asked) for model in models] == [8, 8]
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("fields", "tokens", "roles"),
    [
        pytest.param({}, 512, ["system", "user"], id="as the task has it"),
        pytest.param({"max_tokens": 5}, 5, ["system", "user"], id="shorter"),
        pytest.param({"system_prompt": "Be mute."}, 512, ["system", "user"], id="another system prompt"),
        pytest.param({"system_prompt": ""}, 512, ["user"], id="no system prompt"),
    ],
)
def test_the_manifest_has_the_last_word(fields: dict[str, Any], tokens: int, roles: list[str]) -> None:
    model = Replying()
    play(built("sums", hint="Count.", **fields), model)
    messages, sampling = model.asked[0]
    assert sampling == Sampling(max_tokens=tokens)
    assert [message.role for message in messages] == roles
    if roles[0] == "system":
        assert messages[0].content == fields.get("system_prompt", "Count.")


def test_draws_differ_by_item_repeat_and_turn_and_can_be_repeated() -> None:
    def draws(repeat: int) -> list[Sampling]:
        model = Replying()
        play(built("votes"), model, repeat)
        return [sampling for _, sampling in model.asked]

    first, second = draws(0), draws(1)
    assert (first[0].temperature, first[0].max_tokens, first[0].stop) == (0.7, 9, ("\n",))
    assert len({sampling.seed for sampling in first + second}) == 16
    assert {sampling.seed for sampling in draws(0)} == {sampling.seed for sampling in first}


def test_items_have_the_samples_own_ids_or_ids_of_place_and_content(tmp_path: Path) -> None:
    assert [item.id for item in built("sums").items()] == ["1+3", "1+4", "2+3", "2+4"]
    ids = [item.id for item in built("capitals").items()]
    assert [name[:2] for name in ids] == ["1-", "2-"]
    assert ids == [item.id for item in built("capitals").items()]
    copied = shutil.copytree(FILES, tmp_path / "copy")
    lines = (copied / "capitals.jsonl").read_text().replace("Tokyo", "Edo")
    (copied / "capitals.jsonl").write_text(lines)
    changed = [item.id for item in built("capitals", copied / "riddles.py").items()]
    assert changed[0] == ids[0]
    assert changed[1] != ids[1]


# No score


@pytest.mark.parametrize(
    ("task", "arguments", "item", "said"),
    [
        pytest.param("fails", {}, "1+3", "the task's code raised ValueError: the riddle has no end", id="solver"),
        pytest.param(
            "scorer_fails", {}, "1+3", "the task's code raised ZeroDivisionError: division by zero", id="scorer"
        ),
        pytest.param(
            "tools", {"late": True}, "1+3", "the task offers the model the tool lookup, and .* call none", id="tools"
        ),
        pytest.param("always", {"value": None}, "1+3", "the scorer gave no score", id="none"),
        pytest.param("always", {"value": "nan"}, "1+3", "the scorer could not tell: grader_failed", id="not a number"),
    ],
)
def test_what_cannot_be_judged_has_no_score_but_a_reason(
    task: str, arguments: dict[str, Any], item: str, said: str
) -> None:
    verdict = play(built(task, **arguments))[item]
    assert verdict.score is None
    assert verdict.reason is not None
    assert re.fullmatch(said, verdict.reason)


def test_other_samples_are_judged_where_the_scorer_raises_for_some() -> None:
    assert play(built("scorer_fails"))["1+4"].score is not None


@pytest.mark.parametrize("swallow", [False, True], ids=["raises, too", "goes on"])
def test_an_engine_that_fails_is_never_a_score_whatever_the_solver_makes_of_it(swallow: bool) -> None:
    with pytest.raises(Closed):
        play(built("fails", swallow=swallow), Replying(failing=Closed("gone")))


def test_broken_numbers_end_a_sample() -> None:
    model = Replying("broken")
    verdict = play(built("dialogue"), model)["1+3"]
    assert (verdict.score, verdict.reason) == (None, "numerically broken")
    assert len(model.asked) == 4


@pytest.mark.parametrize("value", [1.5, -1, "good", "2", [1, 0], {"a": 1}], ids=str)
def test_a_value_that_is_no_score_ends_the_run_in_one_sentence(value: object) -> None:
    with pytest.raises(BadData, match=r"@always, sample 1\+3: the scorer gave .*, expected C, I, P, N, true"):
        play(built("always", value=value))


# Refused before anything is asked

REFUSED: dict[str, tuple[str, dict[str, Any], type[CycleQDError], str]] = {
    "tools": ("tools", {}, UnsupportedHere, r"offers the model tools \(use_tools\)"),
    "sandbox": ("needing", {"what": "sandbox"}, UnsupportedHere, "needs inspect's own sandbox"),
    "sample's sandbox": ("needing", {"what": "sample sandbox"}, UnsupportedHere, "needs inspect's own sandbox"),
    "model": ("needing", {"what": "model"}, UnsupportedHere, "names a model of its own"),
    "working limit": ("needing", {"what": "working_limit"}, UnsupportedHere, "has a working_limit"),
    "setting": ("needing", {"what": "logprobs"}, UnsupportedHere, "sets logprobs, which the engines do not have"),
    "drawn setting": ("needing", {"what": "top_p"}, UnsupportedHere, "sets top_p, which the engines do not have"),
    "no scorer": ("needing", {"what": "no scorer"}, BadData, "has no scorer"),
    "no samples": ("needing", {"what": "no samples"}, BadData, "has no samples"),
    "same ids": ("needing", {"what": "twice"}, BadData, r"two samples of the id 1\+3"),
    "failing": ("needing", {"what": "raising"}, BadData, r"cannot be loaded \(ZeroDivisionError"),
    "argument": ("sums", {"hnt": "x"}, BadManifest, r"cannot be made of evaluator\.args \(got an unexpected .*'hnt'"),
    "name": ("sum", {}, BadData, r"riddles\.py has no inspect task sum \(did you mean sums"),
}


@pytest.mark.parametrize(("task", "arguments", "error", "said"), REFUSED.values(), ids=REFUSED)
def test_what_cannot_be_run_is_refused_in_one_sentence(
    task: str, arguments: dict[str, Any], error: type[CycleQDError], said: str
) -> None:
    with pytest.raises(error, match=said) as raised:
        built(task, **arguments)
    assert "\n" not in str(raised.value)
    assert str(raised.value).endswith(".")


def test_a_file_that_is_not_there_may_appear(tmp_path: Path) -> None:
    with pytest.raises(MissingInput, match=r"^There is no file .*gone\.py: correct evaluator\.task"):
        built("sums", tmp_path / "gone.py")


def test_a_task_that_no_package_registers_is_refused() -> None:
    with pytest.raises(BadData, match=r"^No installed package has the inspect task inspect_evals/gsm8k"):
        make_evaluator(InspectEvaluator(type="Inspect", task="inspect_evals/gsm8k"), read_data)


def test_without_the_package_one_sentence_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in [name for name in sys.modules if name.startswith("cycleqd_runner.tasks.inspect_tasks.")]:
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.setitem(sys.modules, "inspect_ai", None)
    with pytest.raises(UnsupportedHere, match=r"need inspect-ai, which cannot be used \(.*\): install cycleqd\[bench"):
        built("sums")


# Where the file lies


@pytest.mark.parametrize(
    ("task", "place", "placed"),
    [
        ("a/b.py@t", beside(Path("/m")), "/m/a/b.py@t"),
        ("a/b.py@t", below("s3://b/p"), "s3://b/p/a/b.py@t"),
        ("s3://b/x.py@t", beside(Path("/m")), "s3://b/x.py@t"),
        ("inspect_evals/gsm8k", beside(Path("/m")), "inspect_evals/gsm8k"),
    ],
    ids=["beside the manifest", "below the storage root", "elsewhere", "registered"],
)
def test_a_task_file_is_found_as_other_files_are(task: str, place: Callable[[str], str], placed: str) -> None:
    spec = validated(InspectEvaluator, {"type": "Inspect", "task": task}, place, "The block")
    assert spec.task == placed


def test_a_task_file_can_lie_in_s3() -> None:
    text = b"""
from inspect_ai import Task, task
from inspect_ai.dataset import Sample
from inspect_ai.scorer import match

@task
def remote():
    return Task(dataset=[Sample(id="only", input="What is 1 + 3?", target="4")], scorer=match())
"""
    asked = []

    def fetch(uri: str) -> bytes:
        asked.append(uri)
        return text

    evaluator = make_evaluator(InspectEvaluator(type="Inspect", task="s3://bucket/tasks/own.py@remote"), fetch)
    assert asked == ["s3://bucket/tasks/own.py"]
    assert play(evaluator)["only"].score == 1.0


# In a process that does other things, too


def test_many_samples_share_an_event_loop_and_leave_nothing_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    before = sys.excepthook, list(logging.getLogger().handlers), logging.getLogger().level, list(sys.path), Path.cwd()
    evaluator = built("dialogue")
    items, model = evaluator.items(), Replying()
    asked = evaluate(evaluator, items, model, NoSandbox(), LIMITS, repeats=50, split="search", task_name="t")
    evaluation, transcripts = asyncio.run(asked)
    scores = {outcome.item: outcome.score for outcome in evaluation.outcomes}
    assert scores == {"1+3": 1.0, "1+4": 0.0, "2+3": 0.0, "2+4": 0.0}
    assert [transcript.item for transcript in transcripts] == ["1+3"]
    first = [messages[1].content for messages, _ in model.asked[:200]]
    assert first == [f"What is {a} + {b}?" for a in (1, 2) for b in (3, 4) for _ in range(50)]
    now = sys.excepthook, list(logging.getLogger().handlers), logging.getLogger().level, list(sys.path), Path.cwd()
    assert now == before
    assert not list(tmp_path.iterdir())
    assert capfd.readouterr() == ("", "")
