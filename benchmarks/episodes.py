"""Whether a hundred episodes of many turns keep an engine's batch full, though every answer has to be judged.

Run ``python -m benchmarks.episodes [MODEL_FOLDER]``. Episodes are those of AgentBenchDB on SQLite, each with two
operations and an answer, judged in the real sandbox. The engines are real, the model is the quickstart's base, cut down
to its first layer, so that a step is nearer to one of a large model on a GPU. What it says is computed and
thrown away: a script says what is done instead, so that every episode has its turns, with answers as long as trained
experts'.

Beside it the same hundred conversations ask the same, turn by turn, with nothing to wait for between two turns: a
batch cannot be fuller. Compared are the mean rows of a step, over the steps while there are at least as many episodes
left as the engine ever had rows: after that there are fewer episodes than room.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import gc
import itertools
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from statistics import fmean
from typing import Any

from transformers import AutoModelForCausalLM, AutoTokenizer

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
LAYERS = 1
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
    forget: Callable[[], object] = lambda: None
    """Makes the engine forget what it keeps of earlier prompts."""

    def add(self, rows: int) -> None:
        """Take down one step."""
        self.rows.append(rows)
        self.episodes.append(self.left)

    def begin(self) -> None:
        """Start anew, with an engine that knows no prompt."""
        self.forget()
        self.rows, self.episodes, self.left = [], [], EPISODES

    def mean_rows(self) -> float:
        """Return the mean rows of a step before the tail."""
        most = max(self.rows)
        return fmean(rows for rows, left in zip(self.rows, self.episodes, strict=True) if left >= most)


Turn = tuple[Sequence[Message], Sampling]


class Playing:
    """Asks the engine, and says something else: two operations, then the answer."""

    def __init__(self, engine: ChatModel, steps: Steps) -> None:
        self._engine, self._steps = engine, steps
        self._lengths = itertools.cycle(LENGTHS)
        self._before: int | None = None
        """User turns before the first answer; all items have the same."""
        self.asked: defaultdict[str, list[Turn]] = defaultdict(list)
        """The turns of each episode, by its question."""

    async def chat(self, messages: Sequence[Message], sampling: Sampling) -> Answer:
        """Say what the turn needs."""
        turn = sum(message.role == "user" for message in messages)
        if self._before is None:
            self._before = turn
        sampling = replace(sampling, max_tokens=next(self._lengths))
        questions = [message.content for message in messages if message.role == "user"]
        self.asked[questions[self._before - 1]].append((messages, sampling))
        answer = await self._engine.chat(messages, sampling)
        return replace(answer, text=self._said(turn - self._before), finish="stop")

    def _said(self, turn: int) -> str:
        if turn < OPERATIONS:
            return f"Action: Operation\n```sql\nSELECT * FROM cities WHERE area > {turn * 5} LIMIT 3\n```"
        self._steps.left -= 1
        return 'Action: Answer\nFinal Answer: ["30"]'


async def play(engine: ChatModel, steps: Steps) -> Playing:
    """Play all episodes."""
    spec = AgentBenchDbEvaluator(type="AgentBenchDB", data="made here", server="SQLite")
    evaluator = AgentBenchDb(spec, [item for item in items() if item.category == "SELECT"][:EPISODES], Embedded())
    playing = Playing(engine, steps)
    async with open_sandbox() as sandbox:
        done, _ = await evaluate(
            evaluator, evaluator.items(), playing, sandbox, LIMITS, repeats=1, split="search", task_name="db"
        )
    assert fmean(outcome.score or 0.0 for outcome in done.outcomes) == 0.5, "half of the answers are right"
    return playing


async def ask(engine: ChatModel, steps: Steps, episodes: Iterable[Sequence[Turn]]) -> None:
    """Ask the same with nothing between two turns."""

    async def one(turns: Sequence[Turn]) -> None:
        for messages, sampling in turns:
            await engine.chat(messages, sampling)
        steps.left -= 1

    await asyncio.gather(*map(one, episodes))


def cut(folder: Path, target: Path) -> Path:
    """Save a model's first layer, and its tokenizer."""
    model = AutoModelForCausalLM.from_pretrained(folder, num_hidden_layers=LAYERS)
    model.save_pretrained(target)
    AutoTokenizer.from_pretrained(folder).save_pretrained(target)
    return target


@contextlib.contextmanager
def transformers(folder: Path, steps: Steps) -> Iterator[ChatModel]:
    """Open the Transformers engine and have its steps counted."""
    from cycleqd_runner.engines.transformers import TransformersEngine

    engine = TransformersEngine(folder, EngineArgs(max_batch_tokens=BATCH_TOKENS))
    decoder: Any = engine._decoder  # noqa: SLF001 - an engine has no reason to count
    choose = decoder._choose  # noqa: SLF001 - likewise

    def counted(rows: Sequence[object], logits: object) -> None:
        steps.add(len(rows))
        choose(rows, logits)

    decoder._choose = counted  # noqa: SLF001 - likewise
    try:
        yield engine
    finally:
        engine.close()


@contextlib.contextmanager
def vllm(folder: Path, steps: Steps) -> Iterator[ChatModel]:
    """Open the vLLM engine and have its steps counted."""
    from cycleqd_runner.engines.vllm import VllmEngine

    engine = VllmEngine(folder, EngineArgs(max_batch_tokens=BATCH_TOKENS))
    scheduler: Any = engine._llm.engine_core.engine_core.scheduler  # noqa: SLF001 - likewise
    schedule = scheduler.schedule

    @functools.wraps(schedule)
    def counted(*args: object, **kwargs: object) -> object:
        output = schedule(*args, **kwargs)
        steps.add(len(output.num_scheduled_tokens))
        return output

    scheduler.schedule = counted
    steps.forget = engine._llm.reset_prefix_cache  # noqa: SLF001 - engines do it at swaps
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
        steps.begin()  # opening it proved that it can be run
        begun = time.perf_counter()
        playing = asyncio.run(play(engine, steps))
        seconds, rows, most, count = time.perf_counter() - begun, steps.mean_rows(), max(steps.rows), len(steps.rows)
        steps.begin()
        begun = time.perf_counter()
        asyncio.run(ask(engine, steps, playing.asked.values()))
        alone, fullest = time.perf_counter() - begun, steps.mean_rows()
    gc.collect()
    return [
        at_least(f"{name}: rows of a step with judging / without", 100 * rows / fullest, "%", 90),
        Figure(f"{name}: rows of a step with judging, mean until the tail", rows, ""),
        Figure(f"{name}: the same without", fullest, ""),
        Figure(f"{name}: most rows of a step with judging", most, ""),
        Figure(f"{name}: steps with judging / without", count / len(steps.rows), "x"),
        Figure(f"{name}: time with judging / without", seconds / alone, "x"),
    ]


def main() -> int:
    """Measure and publish."""
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(load_manifest(MANIFEST).spec.base_model.uri)
    if not folder.exists():
        return absent(__file__, f"{folder} is not there; examples/quickstart/prepare_base.py makes it.")
    figures: list[Figure] = []
    with tempfile.TemporaryDirectory() as work:
        small = cut(folder, Path(work))
        for name in ENGINES:
            try:
                figures += measured(name, small)
            except UnsupportedHere as error:
                print(error, file=sys.stderr)
    return publish(__file__, figures, ("torch", "transformers", "vllm"))


if __name__ == "__main__":
    sys.exit(main())
