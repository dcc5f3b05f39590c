"""Racing and re-evaluation with tiny real models, in this process: what workers ask, write, and see of each other."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from cycleqd.api import CycleQDRun
from cycleqd.identity import claim
from cycleqd.keys import RESULTS
from cycleqd.log import ResultLog
from cycleqd.records import Result, TaskEvaluation, read_result
from cycleqd.store import FolderStore
from cycleqd_runner.assess import assess
from cycleqd_runner.chat import ChatModel, Message, Sampling
from cycleqd_runner.report.build import view_run
from cycleqd_runner.roles.breed import breed
from cycleqd_runner.roles.evaluate import evaluate
from cycleqd_runner.roles.prepare import prepare
from cycleqd_runner.session import Session
from cycleqd_runner.tasks.contract import Item, Setting, Verdict
from tests.runner.models import save_adapter, save_llama
from tests.runner.tasks.support import NoSandbox

CHILDREN = range(2, 14)
ITEMS, RESERVE = 16, 8
SEARCH = {
    "children": len(CHILDREN),
    "strict": True,
    "lag": 1,
    "archive": {"bins": 3},
    "racing": {"enabled": True, "minItems": 4, "threshold": 0.4},
    "noise": {"reevaluateEvery": 2, "priorItems": 4},
}


class Dice:
    """Judges an answer by a hash of its words: another model scores otherwise, the same model the same."""

    async def judge(self, item: Item, model: ChatModel, setting: Setting) -> Verdict:
        messages = (Message("user", str(item.payload["prompt"])),)
        answer = await model.chat(messages, Sampling(max_tokens=3))
        luck = hashlib.sha256(f"{item.id} {answer.text}".encode()).digest()[0]
        return Verdict(float(luck % 3 == 0), None, messages, answer.text, answer.prompt_tokens, answer.answer_tokens)

    def items(self) -> Sequence[Item]:
        raise AssertionError("the run's own items are asked")


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    base = save_llama(folder / "base")
    for seed, name in enumerate(("a", "b"), start=1):
        save_adapter(base, folder / name, seed)
    lines = [{"id": f"i{i}", "prompt": f"word{i} word{i // 2} word{i // 3}", "stdout": ""} for i in range(32)]
    (folder / "items.jsonl").write_text("\n".join(map(json.dumps, lines)), encoding="utf-8")
    return folder


def opened(models: Path, folder: Path, **search: Any) -> Session:
    """Return a new worker of a run, whose answers are judged by :class:`Dice`."""
    splits = {"search": ITEMS, "validation": 1, "test": 1, "reserve": RESERVE}
    task = {"evaluator": {"type": "Shell", "data": str(models / "items.jsonl")}, "items": splits}
    spec = {
        "baseModel": {"uri": str(models / "base")},
        "experts": [{"name": name, "uri": str(models / name)} for name in ("a", "b")],
        "tasks": [{"name": f"t-{name}", "expert": name, **task} for name in ("a", "b")],
        "search": {**SEARCH, **search},
        "storage": {"uri": str(folder)},
        "engine": {"args": {"dtype": "Float32", "threads": 1}},
    }
    kind = {"apiVersion": "cycleqd.dev/v1alpha1", "kind": "CycleQDRun", "metadata": {"name": "tiny"}}
    store = FolderStore(folder)
    claim(store, CycleQDRun.model_validate({**kind, "spec": spec}))
    session = Session(store)
    session.__dict__["tasks"] = tuple(replace(task, evaluator=Dice()) for task in session.tasks)
    return session


def execute(models: Path, folder: Path, workers: int = 1, **search: Any) -> dict[tuple[int, int], Result]:
    """Do a run without finalize and return all results, by individual and evaluation."""
    first = opened(models, folder, **search)
    for expert in first.spec.experts:
        prepare(first, expert.name)
    sessions = [first, *(opened(models, folder, **search) for _ in range(workers - 1))]

    async def work() -> None:
        await evaluate(first, (0, 1), NoSandbox())
        blocks = [CHILDREN[start::workers] for start in range(workers)]
        await asyncio.gather(*(breed(s, block, NoSandbox()) for s, block in zip(sessions, blocks, strict=True)))

    asyncio.run(work())
    results = [read_result(first.store.get(key), key) for key in first.store.list(RESULTS)]
    return {(result.id, result.evaluation): result for result in results}


@pytest.fixture(scope="module")
def raced(models: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[tuple[int, int], Result]]:
    folder = tmp_path_factory.mktemp("runs") / "raced"
    return folder, execute(models, folder)


def answers(evaluation: TaskEvaluation) -> list[tuple[str, float | None, str, int]]:
    return [(one.item, one.score, one.prompt_sha256, one.answer_tokens) for one in evaluation.outcomes]


def test_whoever_is_not_stopped_has_the_scores_of_a_run_without_racing(
    models: Path, raced: tuple[Path, dict[tuple[int, int], Result]]
) -> None:
    folder, results = raced
    session = opened(models, folder)
    stopped = [result for result in results.values() if result.stop]
    complete = [result for result in results.values() if result.evaluation == 0 and not result.stop]
    assert stopped
    assert len(complete) > 3, "some of each, or this shows nothing"
    for result in (*stopped, *complete):
        whole = asyncio.run(assess(session, session.genome_of(result.id), "search", NoSandbox()))
        for own, full in zip(result.evaluations, whole.evaluations, strict=True):
            assert len(full.outcomes) == ITEMS
            asked = len(own.outcomes)
            assert asked == ITEMS if result.stop is None else asked in (4, 8)
            assert answers(own) == answers(full)[:asked]
        if result.stop:
            assert result.stop.asked == tuple(len(own.outcomes) for own in result.evaluations)
            assert result.stop.probability < result.stop.threshold == 0.4
        else:
            assert result.scores == tuple(evaluation.score for evaluation in whole.evaluations)
    assert len({result.scores for result in complete}) > 3, "individuals must differ, or this shows nothing"


def test_a_stopped_child_is_done_and_in_no_archive(raced: tuple[Path, dict[tuple[int, int], Result]]) -> None:
    folder, results = raced
    store = FolderStore(folder)
    log = ResultLog(store)
    log.refresh()
    stopped = {result.id for result in results.values() if result.stop}
    assert log.stopped == stopped
    assert log.done == {0, 1, *CHILDREN}
    spec = Session(store).spec
    population = log.population(spec)
    assert not stopped & set(population.ids.tolist())
    view = view_run(store, spec)
    assert {one.id for one in view.individuals if one.stop} == stopped
    assert all(one.scores is None for one in view.individuals if one.stop)
    assert view.cost.stopped == len(stopped)
    saved = sum(2 * ITEMS - sum(map(len, (e.outcomes for e in results[one, 0].evaluations))) for one in stopped)
    assert view.cost.items_saved == saved > 0
    assert view.cost.evaluations == len(view.individuals) == 2 + len(CHILDREN)
    assert view.cost.reevaluations == len(results) - view.cost.evaluations


def test_elites_are_evaluated_again_on_items_that_nobody_was_asked(
    raced: tuple[Path, dict[tuple[int, int], Result]],
) -> None:
    folder, results = raced
    again = [result for result in results.values() if result.evaluation]
    assert again
    splits = json.loads((folder / "splits.json").read_text())
    for result in again:
        first = results[result.id, 0]
        assert (result.evaluation, result.parents, result.genome_sha256) == (1, first.parents, first.genome_sha256)
        assert result.id >= 2, "experts set the limits and stay"
        assert result.with_child is not None
        assert (result.with_child - 1) % 2 == 0, "before every second child"
        assert result.id < result.with_child
        for task in result.evaluations:
            assert task.split == "reserve"
            assert [one.item for one in task.outcomes] == splits[task.task]["reserve"]
            assert not set(splits[task.task]["reserve"]) & set(splits[task.task]["search"])


def test_a_strict_run_is_the_same_whatever_the_number_of_workers(
    models: Path, tmp_path: Path, raced: tuple[Path, dict[tuple[int, int], Result]]
) -> None:
    _, one = raced
    two = execute(models, tmp_path / "two", workers=2)
    assert sorted(one) == sorted(two)
    for key, result in one.items():
        assert two[key].repeatable() == result.repeatable()


def test_whoever_takes_a_child_over_evaluates_no_second_elite(
    models: Path, raced: tuple[Path, dict[tuple[int, int], Result]]
) -> None:
    """A worker died between the re-evaluation and the child: the child is bred again, the rest stays."""
    folder, results = raced
    store = FolderStore(folder)
    again = next(result for result in results.values() if result.evaluation)
    child = again.with_child
    assert child is not None
    store.delete(f"{RESULTS}{child:07d}.json")
    asyncio.run(breed(opened(models, folder), [child], NoSandbox()))
    keys = sorted(store.list(RESULTS))
    assert len(keys) == len(results)
    repeated = read_result(store.get(f"{RESULTS}{child:07d}.json"), "")
    assert repeated.repeatable() == results[child, 0].repeatable()
