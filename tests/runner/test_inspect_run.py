"""Tasks of inspect-ai with real engines: alone, and in whole runs, as tasks and as benchmarks of the report."""

from __future__ import annotations

import asyncio
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from cycleqd.api.engine import EngineArgs, EngineSpec
from cycleqd.api.tasks import InspectEvaluator
from cycleqd_runner.chat import Answer, Message, Sampling
from cycleqd_runner.engines import Engine, open_engine
from cycleqd_runner.engines.transformers import TransformersEngine
from cycleqd_runner.local_copies import read_data
from cycleqd_runner.tasks.contract import Setting, Verdict
from cycleqd_runner.tasks.registry import make_evaluator
from tests.runner.engines.support import save_chat_model
from tests.runner.models import save_adapter, save_llama
from tests.runner.runs import COMMAND, finish, report_of, results_of, start_run, write_manifest
from tests.runner.tasks.support import LIMITS, NoSandbox
from tests.runner.test_run import tiny_spec

pytest.importorskip("inspect_ai", reason="inspect-ai is not installed (cycleqd[benchmarks])")

TASKS = """
from inspect_ai import Task, task
from inspect_ai.dataset import Sample
from inspect_ai.model import ChatMessageUser
from inspect_ai.scorer import Score, accuracy, scorer
from inspect_ai.solver import solver


@solver
def twice():
    async def solve(state, generate):
        state = await generate(state)
        state.messages.append(ChatMessageUser(content="word5"))
        return await generate(state)

    return solve


@scorer(metrics=[accuracy()])
def parity():
    async def score(state, target):
        return Score(value=sum(state.output.completion.encode()) % 2 == 0)

    return score


@task
def words(count: int = 12):
    samples = [Sample(id=f"w{i}", input=f"word{i} word{2 * i}") for i in range(count)]
    return Task(dataset=samples, solver=twice(), scorer=parity())
"""


@pytest.fixture
def tasks(tmp_path: Path) -> Path:
    """A file with tasks that random models sometimes get right."""
    file = tmp_path / "words.py"
    file.write_text(TASKS)
    return file


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    """A random chat model."""
    folder = save_chat_model(tmp_path / "model")
    opened = open_engine(EngineSpec(type="Transformers", args=EngineArgs(dtype="Float32")), folder)
    yield opened
    opened.close()


def test_an_engine_answers_a_task_in_batches_and_as_it_answers_alone(tasks: Path, engine: Engine) -> None:
    block = InspectEvaluator(type="Inspect", task=f"{tasks}@words", args={"count": "40"}, max_tokens=6)
    evaluator = make_evaluator(block, read_data)

    async def everything() -> list[Verdict]:
        return await asyncio.gather(
            *(evaluator.judge(item, engine, Setting(NoSandbox(), LIMITS)) for item in evaluator.items())
        )

    verdicts = asyncio.run(everything())
    assert {verdict.score for verdict in verdicts} == {0.0, 1.0}
    assert isinstance(engine, TransformersEngine)
    assert engine.batcher.largest == 40

    async def alone(messages: tuple[Message, ...]) -> Answer:
        return await engine.chat(messages, Sampling(max_tokens=6))

    asked = [asyncio.run(alone(verdict.messages)) for verdict in verdicts[:5]]
    assert [answer.text for answer in asked] == [verdict.answer for verdict in verdicts[:5]]
    assert all(len(verdict.messages) == 3 for verdict in verdicts)
    assert all(verdict.answer_tokens > answer.answer_tokens for verdict, answer in zip(verdicts, asked, strict=False))


def test_a_run_takes_inspect_tasks_as_tasks_and_as_benchmarks(tmp_path: Path, tasks: Path) -> None:
    base = save_llama(tmp_path / "base")
    experts = {name: save_adapter(base, tmp_path / name, seed) for seed, name in enumerate(("a", "b"), start=1)}
    spec = tiny_spec(tmp_path, experts, base, children=2)
    block = {"type": "Inspect", "task": f"{tasks.name}@words", "maxTokens": 4}
    spec["tasks"][0]["evaluator"] = block
    spec["report"] = {"benchmarks": [{"name": "words", "evaluator": {**block, "args": {"count": "9"}}, "items": 5}]}
    manifest = write_manifest(tmp_path / "tiny.yaml", spec)

    checked = subprocess.run(
        [*COMMAND, "validate", str(manifest), "--quick"], capture_output=True, text=True, check=True, cwd=tmp_path
    )
    assert "12 Inspect items are enough" in " ".join(checked.stdout.split())
    process = start_run(manifest)
    printed = finish(process)
    assert process.returncode == 0, printed

    for result in results_of(manifest).values():
        own = result.evaluations[0].outcomes
        assert {outcome.item for outcome in own} <= {f"w{i}" for i in range(12)}
        assert {outcome.score for outcome in own} <= {0.0, 1.0}
    kept = report_of(manifest)["retention"]
    assert {scores["words"]["items"] for scores in kept["scores"].values()} == {5}
