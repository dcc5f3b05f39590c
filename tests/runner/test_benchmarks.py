"""Benchmarks of the report: every model is asked once, whatever ends finalize in between, and no search pays for it."""

from __future__ import annotations

import asyncio
import json
import os
import re
import subprocess
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from cycleqd import keys
from cycleqd.api.run import Benchmark
from cycleqd.errors import EXIT_TERMINATED, BadData, CycleQDError, Unscored
from cycleqd.genome import Genome
from cycleqd.records import BROKEN, FinalEvaluation, TaskEvaluation
from cycleqd.store import ObjectStore, open_store
from cycleqd_runner.chat import ChatModel, Message, Sampling
from cycleqd_runner.roles.final_evaluations import FinalEvaluations
from cycleqd_runner.sandbox import open_sandbox
from cycleqd_runner.session import Session
from cycleqd_runner.tasks.benchmark import OpenBenchmark, open_benchmark
from cycleqd_runner.tasks.contract import Item, Setting, Verdict
from tests.runner.models import save_adapter, save_llama
from tests.runner.runs import (
    COMMAND,
    LONG_SECONDS,
    children_of,
    finish,
    report_of,
    start_run,
    wait_until,
    write_manifest,
)
from tests.runner.test_broken import broken, open_session, write_run
from tests.runner.test_run import tiny_spec

MANY = 150
"""Items of the long benchmark: it takes seconds, so that a test can end its worker in the middle."""
NAMES = ("few", "many")
pytestmark = pytest.mark.timeout(3 * LONG_SECONDS)


class Finished(NamedTuple):
    """A run whose finalize was killed, then told to stop, and then left in peace.

    Attributes:
        manifest: of the run.
        stopped: exit code of the worker that was told to stop.
        asked: how often each model was asked each benchmark to the end, by what the workers told.
    """

    manifest: Path
    stopped: int
    asked: Counter[tuple[str, str]]

    @property
    def store(self) -> ObjectStore:
        """Of the run."""
        return open_store(str(self.manifest.parent / "run"))


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Finished:
    folder = tmp_path_factory.mktemp("benchmarks")
    base = save_llama(folder / "base")
    experts = {name: save_adapter(base, folder / name, seed) for seed, name in enumerate(("a", "b"), start=1)}
    spec = tiny_spec(folder, experts, base)
    evaluator = spec["tasks"][0]["evaluator"]
    lines = [{"id": f"m{i}", "prompt": f"say {i}", "stdout": "" if i % 3 else "hello\n"} for i in range(MANY)]
    (folder / "many.jsonl").write_text("\n".join(map(json.dumps, lines)), encoding="utf-8")
    few, many = dict(evaluator), {**evaluator, "data": str(folder / "many.jsonl")}
    spec["report"] = {
        "benchmarks": [{"name": "few", "evaluator": few, "items": 7}, {"name": "many", "evaluator": many}]
    }
    manifest = write_manifest(folder / "tiny.yaml", spec)
    store, told = open_store(str(folder / "run")), []

    def written() -> int:
        return len(list(store.list(keys.BENCHMARKS)))

    run = start_run(manifest)
    wait_until(lambda: written() >= 1 or run.poll() is not None, LONG_SECONDS)
    for process in (*children_of(run.pid), run.pid):
        subprocess.run(["kill", "-KILL", str(process)], check=False)
    finish(run)
    before = written()
    assert 1 <= before < 2 * len(NAMES), "it was killed in the middle"

    worker = [*COMMAND, "worker", "finalize", "--run", store.uri]
    with subprocess.Popen(worker, stderr=subprocess.PIPE, text=True, cwd=folder) as second:
        wait_until(lambda: written() > before or second.poll() is not None, LONG_SECONDS)
        second.terminate()
        told.append(second.communicate(timeout=LONG_SECONDS)[1])
    assert not store.exists(keys.REPORT), "it was stopped in the middle"
    last = subprocess.run(worker, stderr=subprocess.PIPE, text=True, cwd=folder, check=False, timeout=LONG_SECONDS)
    assert last.returncode == 0, last.stderr
    logs = [path.read_text(encoding="utf-8") for path in folder.rglob("worker-*.log")]
    asked = re.findall(r"^Scored (\S+) on benchmark (\S+) in", "\n".join([*logs, *told, last.stderr]), re.MULTILINE)
    return Finished(manifest, second.returncode, Counter(asked))


def test_a_worker_that_is_told_to_stop_says_so_to_its_job(finished: Finished) -> None:
    assert finished.stopped == EXIT_TERMINATED, "for which Kubernetes makes a new pod"


def test_nothing_that_was_written_down_is_asked_again(finished: Finished) -> None:
    written = [*finished.store.list(keys.BENCHMARKS)]
    models = {Path(key).name for key in written}  # three or four: the merged model may be an expert
    assert len(written) == len(NAMES) * len(models)
    assert len(models) in (3, 4)
    assert set(finished.asked.values()) == {1}
    assert len(finished.asked) == len(written)
    assert models <= {Path(key).name for key in finished.store.list(keys.FINAL_EVALUATIONS + "test/")}


def test_the_report_has_all_models_normalised_to_the_base(finished: Finished) -> None:
    kept = report_of(finished.manifest)["retention"]
    assert kept["benchmarks"] == [*NAMES]
    assert [*kept["scores"]] == ["base", "a", "b", "merged"]
    assert kept["unscored"] == {}
    for name, items in zip(NAMES, (7, MANY), strict=True):
        base = kept["scores"]["base"][name]
        for model, own in kept["scores"].items():
            assert own[name]["items"] == items
            share = kept["kept"][model][name]
            assert share is None if not base["mean"] else share["mean"] == own[name]["mean"] / base["mean"]
    recorded = [
        FinalEvaluation.model_validate_json(finished.store.get(key)) for key in finished.store.list(keys.BENCHMARKS)
    ]
    means = {(one.name, own.task): own.score for one in recorded for own in one.evaluations}
    assert {(model, name): kept["scores"][model][name]["mean"] for model, name in means} == means


def test_their_tokens_are_counted_apart_from_what_chose_the_model(finished: Finished) -> None:
    cost, store = report_of(finished.manifest)["cost"], finished.store

    def tokens(prefix: str) -> tuple[int, int, int]:
        found = [FinalEvaluation.model_validate_json(store.get(key)) for key in store.list(prefix)]
        outcomes = [outcome for one in found for own in one.evaluations for outcome in own.outcomes]
        read, said = (sum(getattr(outcome, f"{kind}_tokens") for outcome in outcomes) for kind in ("prompt", "answer"))
        return read, said, len(found)

    for kind, prefix in (("benchmark", keys.BENCHMARKS), ("final", keys.FINAL_EVALUATIONS)):
        counted = tuple(cost[f"{kind}_{what}"] for what in ("prompt_tokens", "answer_tokens", "evaluations"))
        assert counted == tokens(prefix)
        assert all(counted)
    assert cost["seconds"]["benchmarks"] > 0


@pytest.mark.parametrize("command", ["status", "report"])
def test_commands_show_the_table(finished: Finished, command: str) -> None:
    wide = {**os.environ, "COLUMNS": "160"}
    printed = subprocess.check_output([*COMMAND, command, str(finished.manifest)], text=True, env=wide)
    assert "What else was kept" in printed
    assert all(name in printed for name in NAMES)
    assert "What else was kept" in finished.store.get(keys.REPORT_PAGE).decode()


@pytest.fixture(scope="module")
def session(tmp_path_factory: pytest.TempPathFactory) -> Session:
    return open_session(write_run(tmp_path_factory.mktemp("session")))


@dataclass
class Faulty:
    """An evaluator that really asks, and then fails as it is told to; it counts what it asks."""

    error: CycleQDError | None = None
    asked: int = 0

    def items(self) -> Sequence[Item]:
        return [Item(f"i{number}", "any", {"number": number}) for number in range(3)]

    async def judge(self, item: Item, model: ChatModel, setting: Setting) -> Verdict:
        self.asked += 1
        answer = await model.chat([Message("user", item.id)], Sampling(max_tokens=2))
        if self.error:
            raise self.error
        return Verdict(1.0, None, (), answer.text, answer.prompt_tokens, answer.answer_tokens)


def ask(session: Session, evaluator: Faulty, genome: Genome, *names: str) -> list[TaskEvaluation]:
    """Ask a model benchmarks of these names as a new finalize would."""
    spec = {"evaluator": {"type": "Sql"}}
    benchmarks = [
        OpenBenchmark(
            Benchmark.model_validate({"name": name, **spec}), evaluator, tuple(evaluator.items()), 0, "d" * 64
        )
        for name in names
    ]

    async def scored() -> list[TaskEvaluation]:
        async with open_sandbox(session.spec.sandbox) as sandbox:
            return await FinalEvaluations(session, sandbox).on_benchmarks(benchmarks, "base", genome)

    return asyncio.run(scored())


@pytest.fixture
def fresh(session: Session) -> Session:
    for key in [*session.store.list(keys.BENCHMARKS)]:
        session.store.delete(key)
    return session


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        pytest.param(
            Unscored("the server is gone"), "not scored after 3 tries: the server is gone", id="infrastructure"
        ),
        pytest.param(BadData("Item i1 is wrong."), "Item i1 is wrong.", id="the benchmark itself"),
    ],
)
def test_what_fails_is_not_scored_and_asked_again_by_the_next_finalize(
    fresh: Session, error: CycleQDError, reason: str
) -> None:
    evaluator = Faulty(error)
    (evaluation,) = ask(fresh, evaluator, fresh.nothing, "b")
    assert [outcome.reason for outcome in evaluation.unscored] == [reason] * 3
    evaluator.error, before = None, evaluator.asked
    assert [own.score for own in ask(fresh, evaluator, fresh.nothing, "b")] == [1.0]
    assert evaluator.asked == before + 3
    ask(fresh, evaluator, fresh.nothing, "b")
    assert evaluator.asked == before + 3, "now it is written down"


def test_a_broken_model_is_not_scored_and_not_asked_again(fresh: Session) -> None:
    evaluator, genome = Faulty(), broken(fresh.experts[0], float("nan"))
    for _ in range(2):
        (evaluation,) = ask(fresh, evaluator, genome, "b")
        assert {outcome.reason for outcome in evaluation.broken} == {BROKEN}
        assert evaluator.asked == 3, "the same weights would break again"


def test_the_same_items_under_two_names_are_asked_once(fresh: Session) -> None:
    evaluator = Faulty()
    assert [own.task for own in ask(fresh, evaluator, fresh.nothing, "first", "second")] == ["first", "second"]
    assert evaluator.asked == 3


def sql(items: int | None = None, **evaluator: Any) -> Benchmark:
    return Benchmark.model_validate({"name": "b", "items": items, "evaluator": {"type": "Sql", **evaluator}})


def with_seed(seed: int) -> Callable[[], OpenBenchmark]:
    return lambda: open_benchmark(sql(40), seed)


@pytest.mark.parametrize(
    ("other", "same"),
    [
        pytest.param(with_seed(0), True, id="itself"),
        pytest.param(with_seed(1), False, id="drawn by another seed"),
        pytest.param(lambda: open_benchmark(sql(41), 0), False, id="one item more"),
        pytest.param(lambda: open_benchmark(sql(40, maxTokens=7), 0), False, id="another evaluator"),
    ],
)
def test_what_is_asked_has_a_digest(other: Callable[[], OpenBenchmark], same: bool) -> None:
    assert (open_benchmark(sql(40), 0).digest == other().digest) == same


def test_other_items_of_the_same_names_are_another_benchmark(tmp_path: Path) -> None:
    file, digests = tmp_path / "items.jsonl", set()
    for gold in ("SELECT 1", "SELECT 2"):
        file.write_text(json.dumps({"id": "same", "prompt": "p", "setup": "", "gold": gold}), encoding="utf-8")
        digests.add(open_benchmark(sql(data=str(file)), 0).digest)
    assert len(digests) == 2
