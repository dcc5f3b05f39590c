"""The evaluator with a real program, in both places where one can run."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from cycleqd.api.run import Benchmark
from cycleqd.api.tasks import ContainerEvaluator, SandboxLimits
from cycleqd.errors import BadData, Unscored
from cycleqd.records import BROKEN, TaskEvaluation, Transcript
from cycleqd_runner.chat import Answer, ChatModel, Message, Sampling
from cycleqd_runner.tasks.benchmark import open_benchmark
from cycleqd_runner.tasks.container import container_evaluator, conversations
from cycleqd_runner.tasks.contract import Evaluator, Setting
from cycleqd_runner.tasks.registry import make_evaluator
from cycleqd_runner.tasks.run import evaluate
from tests.runner.tasks.container import places
from tests.runner.tasks.container.places import COMMAND, IMAGE
from tests.runner.tasks.support import NoSandbox, Scripted


@pytest.fixture(params=["beside", "docker"])
def anywhere(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    with getattr(places, request.param)(tmp_path, monkeypatch):
        yield request.param


@pytest.fixture
def attendant(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[places.Attendant]:
    with places.beside(tmp_path, monkeypatch) as attendant:
        yield attendant


class Runs(NamedTuple):
    """What the program wrote down about its runs."""

    file: Path

    def all(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.file.read_text(encoding="utf-8").splitlines()]

    def first(self) -> dict[str, Any]:
        deadline = time.monotonic() + 20
        while not (self.file.exists() and self.file.read_text(encoding="utf-8").endswith("\n")):
            assert time.monotonic() < deadline, "the program was not started"
            time.sleep(0.02)
        return self.all()[0]


@pytest.fixture
def runs(tmp_path: Path) -> Runs:
    return Runs(tmp_path / "runs")


def opened(runs: Runs, items: Sequence[dict[str, Any]], **fields: Any) -> Evaluator:
    lines = "".join(json.dumps({"runs": str(runs.file), **item}) + "\n" for item in items)
    given = {"type": "Container", "image": IMAGE, "command": COMMAND, "data": "judged.jsonl", **fields}
    return make_evaluator(ContainerEvaluator.model_validate(given), lambda _: lines.encode())


async def asking(
    evaluator: Evaluator, model: ChatModel, repeats: int = 1, seconds: int = 20
) -> tuple[TaskEvaluation, list[Transcript]]:
    return await evaluate(
        evaluator,
        evaluator.items(),
        model,
        NoSandbox(),
        SandboxLimits(timeout_seconds=seconds),
        repeats=repeats,
        split="search",
        task_name="judged",
        first_wait_seconds=0.01,
    )


def outcomes(evaluator: Evaluator, model: ChatModel, repeats: int = 1, seconds: int = 20) -> list[tuple[Any, Any]]:
    evaluation, _ = asyncio.run(asking(evaluator, model, repeats, seconds))
    return [(outcome.score, outcome.reason) for outcome in evaluation.outcomes]


def test_one_run_judges_all_items_of_an_evaluation(anywhere: str, runs: Runs) -> None:
    evaluator = opened(runs, [{"id": "a"}, {"id": "b"}, {"id": "c", "gold": "no"}])
    model = Scripted("yes")
    evaluation, transcripts = asyncio.run(asking(evaluator, model))
    assert [(outcome.score, outcome.reason) for outcome in evaluation.outcomes] == [
        (1, None),
        (1, None),
        (0, "said yes"),
    ]
    assert [run["ids"] for run in runs.all()] == [["a", "b", "c"]]
    assert [transcript.messages for transcript in transcripts] == [
        ({"role": "user", "content": "a"},),
        ({"role": "user", "content": "b"},),
    ]
    assert {sampling for _, sampling in model.asked} == {Sampling(512, seed=1)}
    assert not Path(runs.all()[0]["folder"]).exists(), "nothing is left"


def test_each_repeat_is_a_run(anywhere: str, runs: Runs) -> None:
    evaluator = opened(runs, [{"id": "a"}, {"id": "b"}])
    model = Scripted("yes")
    assert outcomes(evaluator, model, repeats=3) == [(1, None)] * 2
    assert sorted(run["repeat"] for run in runs.all()) == ["0", "1", "2"]
    seeds = [sampling.seed for messages, sampling in model.asked if messages[0].content == "a"]
    assert len(set(seeds)) == 3


def test_models_that_are_asked_at_the_same_time_are_not_mixed_up(anywhere: str, runs: Runs) -> None:
    evaluator = opened(runs, [{"id": "a"}, {"id": "b", "named": False}])

    async def both() -> list[tuple[TaskEvaluation, list[Transcript]]]:
        return list(await asyncio.gather(asking(evaluator, Scripted("yes")), asking(evaluator, Scripted("no"))))

    (right, _), (wrong, _) = asyncio.run(both())
    assert (right.score, wrong.score) == (1, 0)
    assert len(runs.all()) == 2


def test_the_items_of_a_later_round_are_another_run(anywhere: str, runs: Runs) -> None:
    """As racing asks: with the same evaluator, one part of the items after another."""
    evaluator = opened(runs, [{"id": str(number)} for number in range(3)])

    async def rounds() -> None:
        for items in (evaluator.items()[:1], evaluator.items()[1:]):
            await evaluate(
                evaluator,
                items,
                Scripted("yes"),
                NoSandbox(),
                SandboxLimits(),
                repeats=1,
                split="search",
                task_name="t",
            )

    asyncio.run(rounds())
    assert [run["ids"] for run in runs.all()] == [["0"], ["1", "2"]]


class Counting:
    """Answers yes, with as many tokens as the question has characters."""

    async def chat(self, messages: Sequence[Message], sampling: Sampling) -> Answer:
        return Answer("yes", len(messages[-1].content), 1, "stop")


@pytest.mark.parametrize(
    ("items", "tokens"),
    [
        pytest.param(
            [{"id": "a", "questions": ["12345", "123"]}, {"id": "b", "questions": []}], [(8, 2), (0, 0)], id="by item"
        ),
        pytest.param(
            [
                {"id": "a", "questions": ["12345", "123"], "named": False},
                {"id": "b", "questions": ["1234"]},
                {"id": "c", "questions": []},
            ],
            [(3, 1), (4 + 3, 1 + 1), (2, 0)],
            id="nobody's are divided",
        ),
    ],
)
def test_tokens_are_counted(
    attendant: places.Attendant, runs: Runs, items: list[dict[str, Any]], tokens: list[tuple[int, int]]
) -> None:
    evaluation, _ = asyncio.run(asking(opened(runs, items), Counting()))
    assert [(outcome.prompt_tokens, outcome.answer_tokens) for outcome in evaluation.outcomes] == tokens


def test_the_program_may_say_what_was_asked(attendant: places.Attendant, runs: Runs) -> None:
    said = {"messages": [{"role": "user", "content": "Really?"}], "answer": "Yes!"}
    items = [{"id": "a", "named": False, "also": said}, {"id": "b", "named": False}]
    _, transcripts = asyncio.run(asking(opened(runs, items), Scripted("yes")))
    (transcript,) = transcripts
    assert (transcript.item, transcript.messages, transcript.answer) == ("a", tuple(said["messages"]), "Yes!")


@pytest.mark.parametrize(
    ("do", "reason", "n_runs"),
    [
        ("fail", "not scored after 3 tries: the program ended with exit code 3: no such luck", 3),
        ("die", "not scored after 3 tries: the program ended with exit code 137", 3),
        ("hang", "not scored after 3 tries: the program needed more than 3 s for itself", 3),
        ("silent", "the program left no readable file results.jsonl (No such file or directory)", 1),
        ("link", "the program left no readable file results.jsonl (Too many levels of symbolic links)", 1),
        ("pipe", "results.jsonl is not a plain file", 1),
        ("fail at first", None, 2),
        ("hang at first", None, 2),
    ],
)
def test_a_program_that_fails_gives_no_score(
    anywhere: str, runs: Runs, do: str, reason: str | None, n_runs: int
) -> None:
    got = outcomes(opened(runs, [{"id": "a", "do": do}]), Scripted("yes"), seconds=3 if "hang" in do else 20)
    assert got == [(None, reason) if reason else (1, None)]
    assert len(runs.all()) == n_runs
    assert not any(Path(f"/proc/{run['pid']}").exists() for run in runs.all()), "no program is left"
    assert not any(Path(run["folder"]).exists() for run in runs.all())


def test_the_time_of_the_model_is_not_the_programs(attendant: places.Attendant, runs: Runs) -> None:
    class Slow(Scripted):
        async def chat(self, messages: Sequence[Message], sampling: Sampling) -> Answer:
            await asyncio.sleep(4)
            return await super().chat(messages, sampling)

    assert outcomes(opened(runs, [{"id": "a"}]), Slow("yes"), seconds=3) == [(1, None)]
    assert len(runs.all()) == 1


def test_a_program_that_asks_for_ever_is_ended(
    attendant: places.Attendant, runs: Runs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(conversations, "MOST_REQUESTS", 20)
    model = Scripted("yes")
    ((score, reason),) = outcomes(opened(runs, [{"id": "a", "do": "loop"}]), model)
    assert score is None
    assert "HTTP Error 429" in reason
    assert len(model.asked) == 3 * 20


@pytest.mark.parametrize(
    ("named", "reasons"), [(True, [None, BROKEN]), (False, [BROKEN, BROKEN])], ids=["the item's", "nobody's"]
)
def test_numbers_that_break_leave_without_a_score(
    attendant: places.Attendant, runs: Runs, named: bool, reasons: list[str | None]
) -> None:
    class Breaking(Scripted):
        async def chat(self, messages: Sequence[Message], sampling: Sampling) -> Answer:
            self.finish = "broken" if messages[-1].content == "b" else "stop"
            return await super().chat(messages, sampling)

    got = outcomes(opened(runs, [{"id": "a"}, {"id": "b", "named": named}]), Breaking("yes"))
    assert got == [(1 if reason is None else None, reason) for reason in reasons]


def test_an_item_that_the_program_could_not_judge_is_asked_again(attendant: places.Attendant, runs: Runs) -> None:
    lines = [{"id": "a", "score": 1}, {"id": "b", "score": None, "reason": "the judge\nsleeps"}]
    raw = "".join(json.dumps(line) + "\n" for line in lines)
    got = outcomes(opened(runs, [{"id": "a", "do": "raw", "raw": raw}, {"id": "b", "do": "silent"}]), Scripted(""))
    assert got == [(1, None), (None, "the program left no readable file results.jsonl (No such file or directory)")]
    assert [run["ids"] for run in runs.all()] == [["a", "b"], ["b"]]


@pytest.mark.parametrize(
    ("prompt", "roles"), [(None, ["user"]), ("", ["user"]), ("Be brief.", ["system", "user"])], ids=repr
)
def test_the_manifest_has_the_last_word_about_prompt_and_length(
    attendant: places.Attendant, runs: Runs, prompt: str | None, roles: list[str]
) -> None:
    model = Scripted("yes")
    outcomes(opened(runs, [{"id": "a"}], systemPrompt=prompt, maxTokens=9), model)
    ((messages, sampling),) = model.asked
    assert ([message.role for message in messages], sampling.max_tokens) == (roles, 9)


def test_whoever_stops_waiting_ends_the_program(anywhere: str, runs: Runs) -> None:
    evaluator = opened(runs, [{"id": "a", "do": "hang"}, {"id": "b"}])

    async def stopped() -> tuple[dict[str, Any], float]:
        asked = asyncio.ensure_future(asking(evaluator, Scripted("yes")))
        run = await asyncio.to_thread(runs.first)
        start = time.monotonic()
        asked.cancel()
        await asyncio.wait({asked})
        return run, time.monotonic() - start

    run, seconds = asyncio.run(stopped())
    assert not Path(run["folder"]).exists()
    assert seconds < 5
    deadline = time.monotonic() + 5
    while Path(f"/proc/{run['pid']}").exists():
        assert time.monotonic() < deadline, "the program goes on"
        time.sleep(0.02)


def test_what_a_dead_container_was_asked_is_asked_again(attendant: places.Attendant, runs: Runs) -> None:
    evaluator = opened(runs, [{"id": "a", "do": "hang at first"}])

    async def through_death() -> tuple[TaskEvaluation, list[Transcript]]:
        asked = asyncio.ensure_future(asking(evaluator, Scripted("yes")))
        run = await asyncio.to_thread(runs.first)
        attendant.die(run["pid"])
        await asyncio.sleep(0.3)
        attendant.start()
        return await asked

    evaluation, _ = asyncio.run(through_death())
    assert evaluation.score == 1
    assert len(runs.all()) == 2


def test_a_request_waits_for_a_container_that_starts_again(attendant: places.Attendant, runs: Runs) -> None:
    attendant.end()

    async def late() -> tuple[TaskEvaluation, list[Transcript]]:
        asked = asyncio.ensure_future(asking(opened(runs, [{"id": "a"}]), Scripted("yes"), seconds=2))
        await asyncio.sleep(2.5)
        attendant.start()
        return await asked

    assert asyncio.run(late())[0].score == 1


def test_a_benchmark_of_the_report_asks_as_a_task_does(anywhere: str, runs: Runs, tmp_path: Path) -> None:
    lines = "".join(json.dumps({"id": number, "runs": str(runs.file)}) + "\n" for number in range(5))
    (tmp_path / "judged.jsonl").write_text(lines, encoding="utf-8")
    judged = {"type": "Container", "image": IMAGE, "command": COMMAND, "data": str(tmp_path / "judged.jsonl")}
    spec = Benchmark.model_validate({"name": "judged", "evaluator": judged, "items": 3})
    evaluation = asyncio.run(open_benchmark(spec, 0).score(Scripted("yes"), NoSandbox()))
    assert (len(evaluation.outcomes), evaluation.score) == (3, 1)
    assert len(runs.all()) == 1


@pytest.mark.parametrize(
    ("lines", "sentence"),
    [
        ('{"prompt": "x"}', "line 1: id: field required"),
        ('{"id": "a"}\n{"id": "a"}', "line 2: the id 'a' was used before"),
        ('{"id": 7}\n{"id": "7"}', "line 2: the id '7' was used before"),
        ("", "has no items"),
    ],
    ids=["no id", "twice", "a number is its text", "empty"],
)
def test_items_need_ids(lines: str, sentence: str) -> None:
    spec = ContainerEvaluator(type="Container", image=IMAGE, data="judged.jsonl")
    with pytest.raises(BadData, match=sentence):
        container_evaluator(spec, lines.encode())


def test_items_reach_the_program_as_they_are() -> None:
    line = {"id": 7, "pool": "unseen", "nested": {"é": [1, None]}}
    spec = ContainerEvaluator(type="Container", image=IMAGE, data="judged.jsonl")
    (item,) = container_evaluator(spec, json.dumps(line).encode()).items()
    assert (item.id, item.pool) == ("7", "unseen")
    assert item.payload == {**line, "id": "7"}


def test_judging_one_item_needs_nobody_else(attendant: places.Attendant, runs: Runs) -> None:
    evaluator = opened(runs, [{"id": "a", "do": "fail"}])
    (item,) = evaluator.items()
    with pytest.raises(Unscored, match="exit code 3"):
        asyncio.run(evaluator.judge(item, Scripted("yes"), Setting(NoSandbox(), SandboxLimits())))
