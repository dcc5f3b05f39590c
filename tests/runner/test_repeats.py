"""Repeats of a strict run with tiny real models: drawn by themselves, the same for any number of workers, all kept."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from statistics import fmean
from typing import Any

import pytest

from cycleqd.api import CycleQDRun
from cycleqd.identity import claim
from cycleqd.keys import RESULTS
from cycleqd.records import Result, read_result
from cycleqd.store import FolderStore
from cycleqd_runner.chat import ChatModel, Message
from cycleqd_runner.roles.breed import breed
from cycleqd_runner.roles.evaluate import evaluate
from cycleqd_runner.roles.prepare import prepare
from cycleqd_runner.session import Session
from cycleqd_runner.tasks.contract import Item, Setting, Verdict
from cycleqd_runner.tasks.opening import RunTask
from cycleqd_runner.tasks.prompts import sampling_of
from cycleqd_runner.transcripts import read_transcripts
from tests.cli.support import cycleqd, lines_of
from tests.runner.models import save_adapter, save_llama
from tests.runner.tasks.support import NoSandbox

CHILDREN = range(2, 6)
ITEMS, REPEATS = 5, 3


class Dice:
    """Asks as the manifest says, and judges an answer by a hash of its words."""

    def __init__(self, task: RunTask) -> None:
        self.sampling = sampling_of(task.spec.evaluator, 3)

    async def judge(self, item: Item, model: ChatModel, setting: Setting) -> Verdict:
        messages = (Message("user", str(item.payload["prompt"])),)
        answer = await model.chat(messages, self.sampling)
        luck = hashlib.sha256(f"{item.id} {answer.text}".encode()).digest()[0]
        return Verdict(luck % 4 / 3, None, messages, answer.text, answer.prompt_tokens, answer.answer_tokens)

    def items(self) -> Sequence[Item]:
        raise AssertionError("the run's own items are asked")


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    base = save_llama(folder / "base")
    for seed, name in enumerate(("a", "b"), start=1):
        save_adapter(base, folder / name, seed)
    lines = [{"id": f"i{i}", "prompt": f"word{i} word{i // 2} word{i // 3}", "stdout": ""} for i in range(ITEMS + 2)]
    (folder / "items.jsonl").write_text("\n".join(map(json.dumps, lines)), encoding="utf-8")
    return folder


def opened(models: Path, folder: Path, temperature: float) -> Session:
    """Return a new worker of a run, whose answers are judged by :class:`Dice`."""
    evaluator = {"type": "Shell", "data": str(models / "items.jsonl"), "temperature": temperature}
    task = {"evaluator": evaluator, "items": {"search": ITEMS, "validation": 1, "test": 1}, "repeats": REPEATS}
    spec = {
        "baseModel": {"uri": str(models / "base")},
        "experts": [{"name": name, "uri": str(models / name)} for name in ("a", "b")],
        "tasks": [{"name": f"t-{name}", "expert": name, **task} for name in ("a", "b")],
        "search": {"children": len(CHILDREN), "strict": True, "lag": 1, "seed": 5},
        "storage": {"uri": str(folder)},
        "engine": {"args": {"dtype": "Float32", "threads": 1}},
        "transcripts": "All",
    }
    kind = {"apiVersion": "cycleqd.dev/v1alpha1", "kind": "CycleQDRun", "metadata": {"name": "tiny"}}
    store = FolderStore(folder)
    claim(store, CycleQDRun.model_validate({**kind, "spec": spec}))
    session = Session(store)
    session.__dict__["tasks"] = tuple(replace(task, evaluator=Dice(task)) for task in session.tasks)
    return session


def execute(models: Path, folder: Path, temperature: float, workers: int = 1) -> dict[int, Result]:
    """Do a run without finalize and return its results."""
    sessions = [opened(models, folder, temperature) for _ in range(workers)]
    for expert in ("a", "b"):
        prepare(sessions[0], expert)

    async def work() -> None:
        await evaluate(sessions[0], (0, 1), NoSandbox())
        blocks = [CHILDREN[start::workers] for start in range(workers)]
        await asyncio.gather(*(breed(s, block, NoSandbox()) for s, block in zip(sessions, blocks, strict=True)))

    asyncio.run(work())
    store = sessions[0].store
    return {result.id: result for result in (read_result(store.get(key), key) for key in store.list(RESULTS))}


@pytest.fixture(scope="module")
def warm(models: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[int, Result]]:
    folder = tmp_path_factory.mktemp("runs") / "warm"
    return folder, execute(models, folder, temperature=1.0)


def said(folder: Path, individual: int) -> dict[tuple[str, str], list[dict[str, Any]]]:
    """Return an individual's conversations by task and item, without what differs from time to time."""
    found: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for one in read_transcripts(FolderStore(folder), individual):
        found.setdefault((one.task, one.item), []).append(one.model_dump(exclude={"seconds"}))
    return found


def test_every_repeat_is_drawn_and_kept_and_makes_up_the_score(warm: tuple[Path, dict[int, Result]]) -> None:
    folder, results = warm
    assert sorted(results) == [0, 1, *CHILDREN]
    varied = 0
    for individual, result in results.items():
        found = said(folder, individual)
        assert len(found) == 2 * ITEMS
        for evaluation in result.evaluations:
            for outcome in evaluation.outcomes:
                repeats = found[evaluation.task, outcome.item]
                assert [one["repeat"] for one in repeats] == list(range(REPEATS))
                assert outcome.score == pytest.approx(fmean(one["score"] for one in repeats))
                assert outcome.answer_tokens == sum(one["answer_tokens"] for one in repeats)
                varied += len({one["answer"] for one in repeats}) == REPEATS
    assert varied > 0.8 * len(results) * 2 * ITEMS, "of 64 words three differ nearly always"


def test_a_strict_run_draws_the_same_whatever_the_number_of_workers(
    models: Path, tmp_path: Path, warm: tuple[Path, dict[int, Result]]
) -> None:
    folder, one = warm
    two = execute(models, tmp_path / "two", temperature=1.0, workers=2)
    assert sorted(one) == sorted(two)
    for individual, result in one.items():
        assert two[individual].repeatable() == result.repeatable()
        assert said(tmp_path / "two", individual) == said(folder, individual)


def test_greedy_repeats_say_the_same(models: Path, tmp_path: Path) -> None:
    for individual in execute(models, tmp_path / "cold", temperature=0.0):
        for repeats in said(tmp_path / "cold", individual).values():
            assert len({one["answer"] for one in repeats}) == 1


def test_the_command_shows_what_the_run_has_kept(warm: tuple[Path, dict[int, Result]]) -> None:
    folder, _ = warm
    told = cycleqd("transcripts", folder, "--individual", "3", "--task", "t-b", "--json")
    assert told.exit_code == 0, told.stderr
    kept = [{name: line[name] for name in line if name != "seconds"} for line in lines_of(told)]
    expected = [one for (task, _), repeats in said(folder, 3).items() for one in repeats if task == "t-b"]
    assert kept == [json.loads(json.dumps({**one, "individual": 3, "evaluation": 0})) for one in expected]
    counts = {}
    for option in ("--successes", "--failed"):
        counts[option] = cycleqd("transcripts", folder, option).stdout.count("tokens read")
    assert min(counts.values()) > 0
    assert sum(counts.values()) == (2 + len(CHILDREN)) * 2 * ITEMS * REPEATS
