"""How full the engine's batch stays while a hundred episodes of many turns are played at once.

Run ``python -m benchmarks.episodes [MODEL_FOLDER]``. Episodes are those of AgentBenchDB on SQLite, each with two
operations and an answer, judged in the real sandbox; the engines are real, the model the quickstart's base. What that
says is computed and thrown away: a script says what is done instead, so that every episode has its turns, with answers
as long as trained experts'. At each step of an engine the rows that it computes are compared to those that it could: as
many as it ever had at one time, or as many as there are episodes left, if those are fewer.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import gc
import itertools
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from statistics import fmean
from typing import Any

from benchmarks.judging_db import items
from benchmarks.quickstart import MANIFEST
from benchmarks.report import Figure, absent, at_least, publish
from cycleqd.api.engine import EngineArgs
from cycleqd.api.tasks import AgentBenchDbEvaluator, SandboxLimits
from cycleqd.errors import UnsupportedHere
from cycleqd.manifest import load_manifest
from cycleqd_runner.chat import Answer, ChatModel, Message, Sampling
from cycleqd_runner.sandbox import open_sandbox
from cycleqd_runner.tasks.agentbench_db.embedded import Embedded
from cycleqd_runner.tasks.agentbench_db.evaluator import AgentBenchDb
from cycleqd_runner.tasks.run import evaluate

EPISODES = 100
OPERATIONS = 2
BATCH_TOKENS = 16_384
"""The manifest's default: some twenty rows of these episodes."""
LENGTHS = (6, 8, 9, 10, 12, 12, 14, 15, 16, 18, 20, 22, 24, 28, 34, 45)
"""Longest answers in tokens, given to turns in turn; see :mod:`benchmarks.engine`."""
LIMITS = SandboxLimits(timeout_seconds=60)


@dataclass
class Steps:
    """What an engine did, step by step: rows computed, and episodes that were not over."""

    rows: list[int] = field(default_factory=list)
    episodes: list[int] = field(default_factory=list)
    left: int = EPISODES

    def add(self, rows: int) -> None:
        """Take down one step."""
        self.rows.append(rows)
        self.episodes.append(self.left)

    @property
    def most(self) -> int:
        """Most rows at one time: what the batch has room for."""
        return max(self.rows)

    def fullness(self) -> float:
        """Return the mean of rows / rows that could have been, over the steps before the tail."""
        return fmean(rows / self.most for rows, left in zip(self.rows, self.episodes, strict=True) if left >= self.most)

    def whole(self) -> float:
        """Return the same over all steps; in the tail there are no more rows than episodes."""
        return fmean(rows / min(self.most, max(left, 1)) for rows, left in zip(self.rows, self.episodes, strict=True))


class Playing:
    """Asks the engine, and says something else: two operations, then the answer."""

    def __init__(self, engine: ChatModel, steps: Steps) -> None:
        self._engine, self._steps = engine, steps
        self._lengths = itertools.cycle(LENGTHS)
        self._before: int | None = None
        """User turns before the first answer; all items have the same."""

    async def chat(self, messages: Sequence[Message], sampling: Sampling) -> Answer:
        """Say what the turn needs."""
        answer = await self._engine.chat(messages, replace(sampling, max_tokens=next(self._lengths)))
        turn = sum(message.role == "user" for message in messages)
        if self._before is None:
            self._before = turn
        return replace(answer, text=self._said(turn - self._before), finish="stop")

    def _said(self, turn: int) -> str:
        if turn < OPERATIONS:
            return f"Action: Operation\n```sql\nSELECT * FROM cities WHERE area > {turn * 5} LIMIT 3\n```"
        self._steps.left -= 1
        return 'Action: Answer\nFinal Answer: ["30"]'


def play(engine: ChatModel, steps: Steps) -> tuple[float, float]:
    """Play all episodes; return seconds and the mean score."""
    spec = AgentBenchDbEvaluator(type="AgentBenchDB", data="made here", server="SQLite")
    evaluator = AgentBenchDb(spec, [item for item in items() if item.category == "SELECT"][:EPISODES], Embedded())
    playing = Playing(engine, steps)

    async def main() -> float:
        async with open_sandbox() as sandbox:
            done, _ = await evaluate(
                evaluator, evaluator.items(), playing, sandbox, LIMITS, repeats=1, split="search", task_name="db"
            )
        return fmean(outcome.score or 0.0 for outcome in done.outcomes)

    begun = time.perf_counter()
    score = asyncio.run(main())
    return time.perf_counter() - begun, score


@contextlib.contextmanager
def transformers(folder: Path, steps: Steps) -> Iterator[ChatModel]:
    """Open the Transformers engine and have its steps counted."""
    from cycleqd_runner.engines.transformers import TransformersEngine

    engine = TransformersEngine(folder, EngineArgs(max_batch_tokens=BATCH_TOKENS))
    decoder: Any = engine._decoder  # noqa: SLF001 - an engine has no reason to count
    choose = decoder._choose  # noqa: SLF001

    def counted(rows: Sequence[object], logits: object) -> None:
        steps.add(len(rows))
        choose(rows, logits)

    decoder._choose = counted  # noqa: SLF001
    try:
        yield engine
    finally:
        engine.close()


@contextlib.contextmanager
def vllm(folder: Path, steps: Steps) -> Iterator[ChatModel]:
    """Open the vLLM engine and have its steps counted."""
    from cycleqd_runner.engines.vllm import VllmEngine

    engine = VllmEngine(folder, EngineArgs(max_batch_tokens=BATCH_TOKENS))
    scheduler: Any = engine._llm.engine_core.engine_core.scheduler  # noqa: SLF001
    schedule = scheduler.schedule

    @functools.wraps(schedule)
    def counted(*args: object, **kwargs: object) -> object:
        output = schedule(*args, **kwargs)
        steps.add(len(output.num_scheduled_tokens))
        return output

    scheduler.schedule = counted
    try:
        yield engine
    finally:
        engine.close()


ENGINES: dict[str, Callable[[Path, Steps], contextlib.AbstractContextManager[ChatModel]]] = {
    "VLLM": vllm,
    "Transformers": transformers,
}


def measured(name: str, folder: Path) -> list[Figure]:
    """Return the figures of one engine. Raises UnsupportedHere."""
    steps = Steps()
    with ENGINES[name](folder, steps) as engine:
        steps.rows.clear()  # of proving that it can be run
        steps.episodes.clear()
        seconds, score = play(engine, steps)
    gc.collect()
    return [
        at_least(
            f"{name}: rows of the batch / rows it has room for, {EPISODES} episodes at once, until the tail",
            100 * steps.fullness(),
            "%",
            90,
        ),
        Figure(f"{name}: the same with the tail", 100 * steps.whole(), "%"),
        Figure(f"{name}: most rows at one time", steps.most, ""),
        Figure(f"{name}: steps", len(steps.rows), ""),
        Figure(f"{name}: an episode", seconds / EPISODES, "s"),
        Figure(f"{name}: mean score, where half of the answers are right", score, ""),
    ]


def main() -> int:
    """Measure and publish."""
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(load_manifest(MANIFEST).spec.base_model.uri)
    if not folder.exists():
        return absent(__file__, f"{folder} is not there; examples/quickstart/prepare_base.py makes it.")
    figures: list[Figure] = []
    for name in ENGINES:
        try:
            figures += measured(name, folder)
        except UnsupportedHere as error:
            print(error, file=sys.stderr)
    figures.append(
        Figure("processes that were waiting for a core meanwhile, last minute's mean", os.getloadavg()[0], "")
    )
    return publish(__file__, figures, ("torch", "transformers", "vllm"))


if __name__ == "__main__":
    sys.exit(main())
