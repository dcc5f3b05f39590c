"""What every evaluator must do alike. ``conformance_subjects`` says who is tested; ``conformance`` how one joins."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from collections import Counter
from collections.abc import Callable, Coroutine, Iterator, Sequence
from pathlib import Path
from typing import Any, get_args

import pytest

from cycleqd.api.tasks import SplitSizes
from cycleqd.errors import UnsupportedHere
from cycleqd.records import BROKEN, ItemOutcome
from cycleqd.splits import make_splits
from cycleqd_runner.chat import ChatModel
from cycleqd_runner.sandbox import HostSandbox, Sandbox, open_sandbox
from cycleqd_runner.sandbox.hosts import LocalHost
from cycleqd_runner.tasks.contract import Item, Pool, Setting, Verdict
from cycleqd_runner.tasks.registry import FACTORIES
from cycleqd_runner.tasks.run import TRIES, evaluate
from tests.runner.tasks.conformance import (
    GARBAGE,
    LIMITS,
    DownSandbox,
    Player,
    Subject,
    broken,
    down,
    here,
    tokens,
    watched,
)
from tests.runner.tasks.conformance_subjects import SUBJECTS

Work = Callable[[Sandbox], Coroutine[Any, Any, Any]]
InWorker = Callable[[Work], Any]
every_evaluator = pytest.mark.parametrize("subject", SUBJECTS.values(), ids=SUBJECTS)


@pytest.fixture(scope="module")
def in_worker() -> Iterator[InWorker]:
    """Run work with the one sandbox of all tests, in their one event loop, or skip what it lacks."""
    with asyncio.Runner() as runner:
        opening = open_sandbox()

        def run(work: Work) -> Any:
            try:
                return runner.run(work(sandbox))
            except UnsupportedHere as error:
                pytest.skip(f"no sandbox: {error}")

        try:
            sandbox = runner.run(opening.__aenter__())
        except UnsupportedHere as error:
            pytest.skip(f"no sandbox: {error}")
        yield run
        runner.run(opening.__aexit__(None, None, None))


def facts(outcomes: Sequence[ItemOutcome]) -> list[ItemOutcome]:
    """Return outcomes without what no two runs share."""
    return [outcome.model_copy(update={"seconds": 0.0}) for outcome in outcomes]


def is_one_line(reason: str | None) -> bool:
    return bool(reason) and "\n" not in str(reason) and len(str(reason)) < 400


def test_no_evaluator_is_without_the_suite() -> None:
    assert {subject.type for subject in SUBJECTS.values()} - {""} == {*FACTORIES}


@every_evaluator
def test_items_are_the_same_in_the_same_order_each_time(subject: Subject) -> None:
    items, again = subject.evaluator.items(), subject.make().items()
    assert items == again
    assert [item.payload for item in items] == [item.payload for item in again]
    assert len({item.id for item in items}) == len(items) > 0
    for item in items:
        assert json.loads(json.dumps(item.payload)) == item.payload
        assert item.pool in get_args(Pool)


@every_evaluator
def test_splits_depend_on_the_seed_alone(subject: Subject) -> None:
    items = subject.evaluator.items()
    seen, unseen, either = ([item.id for item in items if item.pool == pool] for pool in ("seen", "unseen", "any"))
    part = max(1, len(items) // 4)
    sizes = SplitSizes(search=part, validation=part, test=part)
    drawn = [make_splits("task", seen, unseen, either, sizes, seed) for seed in (1, 1, *range(2, 20))]
    assert drawn[0] == drawn[1]
    assert any(drawn[0] != other for other in drawn[2:])
    ids = [item for split in drawn[0].values() for item in split]
    assert len({*ids}) == len(ids) == 3 * part


@every_evaluator
def test_gold_answers_score_1(subject: Subject, in_worker: InWorker) -> None:
    outcomes = in_worker(lambda sandbox: subject.play(sandbox, subject.gold))
    assert [(outcome.score, outcome.reason) for outcome in outcomes] == [(1, None)] * len(subject.items)
    for item, outcome in zip(subject.items, outcomes, strict=True):
        assert (outcome.item, outcome.group) == (item.id, item.group)
        assert outcome.prompt_sha256
        assert outcome.prompt_tokens > 0
        assert (outcome.answer_tokens > 0) == (subject.hostile is not None)


@every_evaluator
def test_empty_answers_and_garbage_score_0_with_a_reason_of_one_line(subject: Subject, in_worker: InWorker) -> None:
    def saying(text: str) -> Player:
        return lambda item: subject.says(item, text)

    async def work(sandbox: Sandbox) -> list[tuple[ItemOutcome, ...]]:
        return await asyncio.gather(*(subject.play(sandbox, saying(text)) for text in GARBAGE.values()))

    for kind, outcomes in zip(GARBAGE, in_worker(work), strict=True):
        assert [outcome.score for outcome in outcomes] == [0] * len(subject.items), kind
        assert all(is_one_line(outcome.reason) for outcome in outcomes), kind


@every_evaluator
def test_an_engine_that_is_down_is_no_score_after_some_tries(subject: Subject, in_worker: InWorker) -> None:
    tries: Counter[str] = Counter()

    def player(item: Item) -> ChatModel:
        tries[item.id] += 1
        return down(item)

    for outcome in in_worker(lambda sandbox: subject.play(sandbox, player)):
        assert outcome.score is None
        assert outcome.reason == f"not scored after {TRIES} tries: the engine is down"
    assert tries == Counter({item.id: TRIES for item in subject.items})


@every_evaluator
def test_an_engine_that_comes_back_costs_nothing_but_time(subject: Subject, in_worker: InWorker) -> None:
    failed: set[str] = set()

    def player(item: Item) -> ChatModel:
        if item.id in failed:
            return subject.gold(item)
        failed.add(item.id)
        return down(item)

    outcomes = in_worker(lambda sandbox: subject.play(sandbox, player))
    assert [outcome.score for outcome in outcomes] == [1] * len(failed) == [1] * len(subject.items)


@every_evaluator
def test_a_sandbox_that_is_down_is_no_score(subject: Subject) -> None:
    if not subject.sandbox:
        pytest.skip(f"{subject.type} runs nothing in the sandbox here")
    outcomes = asyncio.run(subject.play(DownSandbox(), subject.gold))
    assert [outcome.score for outcome in outcomes] == [None] * len(subject.items)
    assert {outcome.reason for outcome in outcomes} == {f"not scored after {TRIES} tries: the sandbox is down"}


@every_evaluator
def test_a_sandbox_that_is_killed_is_never_a_wrong_answer(subject: Subject, in_worker: InWorker) -> None:
    if not subject.sandbox:
        pytest.skip(f"{subject.type} runs nothing in the sandbox here")

    async def work(sandbox: Sandbox) -> tuple[Sequence[ItemOutcome], Sequence[ItemOutcome]]:
        if not (isinstance(sandbox, HostSandbox) and isinstance(sandbox.host, LocalHost)):
            pytest.skip("the sandbox's host is not this process's own")
        alive = [sandbox.host.pid]

        def kill() -> None:
            if alive:
                os.kill(alive.pop(), signal.SIGKILL)

        struck = await subject.play(sandbox, lambda item: watched(subject.gold(item), kill), repeats=2)
        return struck, await subject.play(sandbox, subject.gold)

    struck, afterwards = in_worker(work)
    assert {outcome.score for outcome in struck} <= {1, None}
    assert [outcome.score for outcome in afterwards] == [1] * len(subject.items)


@every_evaluator
def test_numerically_broken_answers_are_no_score(subject: Subject, in_worker: InWorker) -> None:
    (item, *_) = subject.items

    async def work(sandbox: Sandbox) -> ItemOutcome:
        if subject.machines:
            sandbox.require_machines()
        model = watched(subject.gold(item), after=broken)
        evaluation, _ = await evaluate(
            subject.evaluator, [item], model, sandbox, LIMITS, repeats=1, split="search", task_name="conformance"
        )
        return evaluation.outcomes[0]

    outcome = in_worker(work)
    assert (outcome.score, outcome.reason) == (None, BROKEN)


@every_evaluator
def test_the_same_again_gives_the_same_and_so_do_many_at_once(subject: Subject, in_worker: InWorker) -> None:
    right = {item.id for item in subject.items[::2]}

    def player(item: Item) -> ChatModel:
        return subject.gold(item) if item.id in right else subject.says(item, "")

    async def work(sandbox: Sandbox) -> list[tuple[ItemOutcome, ...]]:
        return [await subject.play(sandbox, player, repeats=repeats) for repeats in (8, 8, 1)]

    first, second, alone = in_worker(work)
    assert facts(first) == facts(second)
    assert [outcome.score for outcome in first] == [outcome.score for outcome in alone]
    assert {outcome.item for outcome in first if outcome.score == 1} == right


@every_evaluator
def test_tokens_are_those_of_all_turns(subject: Subject, in_worker: InWorker) -> None:
    counts: dict[str, Counter[str]] = {item.id: Counter() for item in subject.items}

    def player(item: Item) -> ChatModel:
        def count(result: Any) -> Any:
            counts[item.id].update(tokens(result))
            return result

        return watched(subject.gold(item), after=count)

    for outcome in in_worker(lambda sandbox: subject.play(sandbox, player)):
        assert outcome.prompt_tokens == counts[outcome.item]["prompt"]
        assert outcome.answer_tokens == counts[outcome.item]["answer"]


@every_evaluator
def test_first_questions_reach_the_engine_in_the_order_of_items(subject: Subject, in_worker: InWorker) -> None:
    asked: list[str] = []

    def player(item: Item) -> ChatModel:
        first = iter([item.id])
        return watched(subject.gold(item), lambda: asked.extend(first))

    repeats = 2 if subject.in_turn else 1
    in_worker(lambda sandbox: subject.play(sandbox, player, repeats=repeats))
    assert asked == [item.id for item in subject.items for _ in range(repeats)]


@every_evaluator
def test_hostile_answers_harm_nothing(
    subject: Subject, in_worker: InWorker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if subject.hostile is None:
        pytest.skip("what is answered are numbers, not texts")
    decoy = here(tmp_path)
    decoy.path.write_text("mine: a secret of the file")
    decoy.path.chmod(0o666)
    tmp_path.chmod(0o777)
    monkeypatch.setenv("CYCLEQD_DECOY", "a secret of the environment")
    environment = dict(os.environ)
    verdicts: list[Verdict] = []
    (item, *_) = subject.items
    answers = subject.hostile(decoy)

    async def work(sandbox: Sandbox) -> tuple[ItemOutcome, ...]:
        if subject.machines:
            sandbox.require_machines()
        setting = Setting(sandbox, LIMITS)
        attacks = (subject.evaluator.judge(item, subject.says(item, answer), setting) for answer in answers)
        verdicts.extend(await asyncio.gather(*attacks))
        return await subject.play(sandbox, subject.gold)

    afterwards = in_worker(work)
    assert [(answer, v.score) for answer, v in zip(answers, verdicts, strict=True)] == [(one, 0) for one in answers]
    assert "a secret of" not in str([(verdict.messages, verdict.reason) for verdict in verdicts])
    assert [path.name for path in tmp_path.iterdir()] == ["decoy"]
    assert decoy.path.read_text() == "mine: a secret of the file"
    assert dict(os.environ) == environment
    assert decoy.sleepers() == []
    assert [outcome.score for outcome in afterwards] == [1] * len(subject.items)
