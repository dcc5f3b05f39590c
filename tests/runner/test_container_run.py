"""A whole run whose task and benchmark are judged by the program of docs/evaluators.md, killed while one judges."""

from __future__ import annotations

import asyncio
import json
import os
import shlex
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from statistics import mean

import pytest

from cycleqd import keys
from cycleqd.api.engine import EngineArgs, EngineSpec
from cycleqd.store import open_store
from cycleqd_runner.chat import Answer, Message, Sampling
from cycleqd_runner.engines import open_engine
from tests.docs.pages import ROOT, samples
from tests.runner.models import save_adapter, save_llama
from tests.runner.runs import (
    LONG_SECONDS,
    children_of,
    finish,
    report_of,
    results_of,
    start_run,
    wait_until,
    write_manifest,
)
from tests.runner.tasks.container import places
from tests.runner.test_run import tiny_spec

TASK, BENCHMARK = "registry.example/task:1", "registry.example/benchmark:1"
ITEMS = [{"id": f"i{i}", "question": f"word{i} word{3 * i}", "answer": f"word{i % 6}"} for i in range(12)]
LONGEST = 64
"""Tokens of an answer, as the program of the docs asks for it."""
pytestmark = pytest.mark.timeout(2 * LONG_SECONDS)


class Docker:
    """The stand-in for Docker: what it was asked to run, and what of it still runs."""

    def __init__(self, home: Path) -> None:
        self._home = home

    def runs(self, image: str) -> list[int]:
        """Return the process ids of an image's programs, in the order of their starts."""
        calls = [json.loads(line) for line in (self._home / "calls").read_text(encoding="utf-8").splitlines()]
        names = [call[1].removeprefix("--name=") for call in calls if call[0] == "run" and image in call]
        return [int((self._home / name).read_text(encoding="utf-8")) for name in names]


@pytest.fixture
def docker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Docker]:
    with places.docker(tmp_path, monkeypatch) as home:
        yield Docker(home)


@pytest.fixture
def hold(tmp_path: Path) -> Iterator[Path]:
    """A file that programs wait for to go; however the test ends, none waits for ever."""
    path = tmp_path / "hold"
    path.touch()
    yield path
    path.unlink(missing_ok=True)


@pytest.fixture
def judge(tmp_path: Path) -> list[str]:
    """The command of the program of docs/evaluators.md."""
    (text,) = (one.text for one in samples(ROOT / "docs" / "evaluators.md", "python") if one.section == "Container")
    (tmp_path / "judge.py").write_text(text, encoding="utf-8")
    return [sys.executable, "-I", "-S", str(tmp_path / "judge.py")]


def right_of(model: Path) -> list[bool]:
    """Return of each item whether a model's answer has what the program looks for."""
    engine = open_engine(EngineSpec(type="Transformers", args=EngineArgs(dtype="Float32")), model)

    async def answers() -> list[Answer]:
        said = (engine.chat((Message("user", item["question"]),), Sampling(max_tokens=LONGEST)) for item in ITEMS)
        return list(await asyncio.gather(*said))

    try:
        return [item["answer"] in told.text for item, told in zip(ITEMS, asyncio.run(answers()), strict=True)]
    finally:
        engine.close()


def test_a_run_that_is_killed_while_a_program_judges_goes_on(
    tmp_path: Path, docker: Docker, hold: Path, judge: list[str]
) -> None:
    base = save_llama(tmp_path / "base", max_position_embeddings=2 * LONGEST)
    experts = {name: save_adapter(base, tmp_path / name, seed) for seed, name in enumerate(("a", "b"), start=1)}
    (tmp_path / "judged.jsonl").write_text("".join(json.dumps(item) + "\n" for item in ITEMS), encoding="utf-8")
    spec = tiny_spec(tmp_path, experts, base, children=2)
    block = {"type": "Container", "data": "judged.jsonl"}
    spec["tasks"][0]["evaluator"] = {**block, "image": TASK, "command": judge}
    began = tmp_path / "began"
    held = f"touch {began}; while [ -e {hold} ]; do sleep 0.1; done; exec {shlex.join(judge)}"
    benchmark = {**block, "image": BENCHMARK, "command": ["/bin/sh", "-c", held]}
    spec["report"] = {"benchmarks": [{"name": "judged", "evaluator": benchmark}]}
    manifest = write_manifest(tmp_path / "tiny.yaml", spec)

    killed = start_run(manifest)
    wait_until(lambda: began.exists() or killed.poll() is not None, LONG_SECONDS)
    assert killed.poll() is None, finish(killed)
    for process in (*children_of(killed.pid), killed.pid):
        os.kill(process, signal.SIGKILL)
    finish(killed)
    (orphan,) = docker.runs(BENCHMARK)
    judged, results = docker.runs(TASK), results_of(manifest)
    hold.unlink()
    wait_until(lambda: not Path(f"/proc/{orphan}").exists())
    assert [*open_store(str(tmp_path / "run")).list(keys.BENCHMARKS)] == []

    resumed = start_run(manifest)
    printed = finish(resumed, LONG_SECONDS)
    assert resumed.returncode == 0, printed
    assert results_of(manifest) == results
    assert docker.runs(TASK) == judged, "what was judged before is not judged again"
    assert not any(Path(f"/proc/{program}").exists() for program in docker.runs(BENCHMARK))

    outcomes = [outcome for result in results.values() for outcome in result.evaluations[0].outcomes]
    assert {outcome.item for outcome in outcomes} <= {item["id"] for item in ITEMS}
    assert {outcome.score for outcome in outcomes} <= {0.0, 1.0}
    report = report_of(manifest)
    told = report["retention"]["scores"]
    assert {*told} == {"base", "a", "b", "merged"}
    for name, model in (("base", base), ("merged", tmp_path / "run" / "final" / "model")):
        right = right_of(model)
        assert told[name]["judged"]["mean"] == pytest.approx(mean(right))
        assert 0 < sum(right) < len(right), "a benchmark whose items all score the same proves nothing"
