"""The Transformers engine against ``generate`` on the same prompts: seconds for the items of one child.

Both answer 3 x 8 short questions greedily, with answers of one fixed length after which every answer is cut (both do
the same work, whatever the model says) and with the lengths that trained experts have (most end early; ``generate`` has
to go on until the longest one ends), on one thread. Runs alternate, so that both meet the same machine; the ratio of
the medians is the figure. Usage: ``python -m benchmarks.engine [MODEL_FOLDER [ROUNDS]]``.
"""

# ruff: noqa: SLF001 - tokenizing, batching and the event loop are left out of the comparison, so it reaches inside

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from benchmarks.report import Figure, absent, publish
from cycleqd.api.engine import EngineArgs
from cycleqd_runner.chat import Message, Sampling
from cycleqd_runner.engines.batching import Request
from cycleqd_runner.engines.transformers import TransformersEngine

QUICKSTART_BASE = Path("models/smollm2-135m-instruct")
"""Made by examples/quickstart/prepare_base.py."""
ITEMS = 8
"""Of each skill: a sixth of the quickstart's, so that CPUs without AMX are done in two minutes, too."""
LENGTHS = (6, 8, 9, 10, 12, 12, 14, 15, 16, 18, 20, 22, 24, 28, 34, 45)
"""Answer lengths in tokens, given to the items in turn; an SQL statement, a command or a short function."""


def conversations() -> list[tuple[Message, ...]]:
    """Return the questions of three skills: a common beginning for each skill, then the item's own words."""
    skills: dict[str, Callable[[int], str]] = {
        "You write one SQLite statement and nothing else.": lambda i: (
            f"Table items(id, name, price, stock). Names of items that cost more than {i} and have stock below {i * 3}."
        ),
        "You write one bash command and nothing else.": lambda i: (
            f"Delete the files in data/{i} that end in .log and are larger than {i + 5} kB, then count what is left."
        ),
        "You write one Python function and nothing else.": lambda i: (
            f"Write f(a, b) that returns a plus {i} times b, but None where a is negative or b is {i + 2}."
        ),
    }
    return [
        (Message("system", system), Message("user", question(i)))
        for system, question in skills.items()
        for i in range(ITEMS)
    ]


def timed(function: Callable[[], Any]) -> float:
    begin = time.perf_counter()
    function()
    return time.perf_counter() - begin


def without_ends(engine: TransformersEngine) -> None:
    """Let answers run to their limit: what an untrained model says ends nowhere in particular."""
    engine._decoder._ends = frozenset()


def main(folder: Path, rounds: int) -> int:
    if not folder.exists():
        return absent(__file__, f"{folder} is not there; examples/quickstart/prepare_base.py makes the quickstart's.")
    engine = TransformersEngine(folder, EngineArgs(max_batch_tokens=65536))
    without_ends(engine)
    model: Any = AutoModelForCausalLM.from_pretrained(folder, dtype=engine._model.dtype)
    tokenizer = AutoTokenizer.from_pretrained(folder, padding_side="left")
    asked = conversations()
    prompts = [engine.conversations.complete(conversation, "")[0] for conversation in asked]
    order = sorted(range(len(prompts)), key=lambda i: prompts[i])
    padded = tokenizer.pad({"input_ids": [list(p) for p in prompts]}, return_tensors="pt")

    def ours(lengths: list[int]) -> None:
        engine._decoder.answer([Request(prompts[i], Sampling(lengths[i])) for i in order])

    @torch.inference_mode()
    def theirs(lengths: list[int]) -> None:
        longest = max(lengths)
        model.generate(**padded, max_new_tokens=longest, min_new_tokens=longest, do_sample=False)

    figures = []
    equal, ends = [24] * len(prompts), [LENGTHS[i % len(LENGTHS)] for i in range(len(prompts))]
    torch.set_num_threads(1)
    for name, lengths in (("equal answers", equal), ("answers as they end", ends)):
        seconds: dict[str, list[float]] = {"engine": [], "generate": []}
        for _ in range(rounds):
            seconds["engine"].append(timed(partial(ours, lengths)))
            seconds["generate"].append(timed(partial(theirs, lengths)))
        middle = {who: statistics.median(values) for who, values in seconds.items()}
        label = f"{name}, 1 thread"
        figures += [
            Figure(f"engine, {label}", middle["engine"], "s"),
            Figure(f"engine, {label}, answer tokens", sum(lengths) / middle["engine"], "tokens/s"),
            Figure(f"generate, {label}", middle["generate"], "s"),
            Figure(f"generate / engine, {label}", middle["generate"] / middle["engine"], "x"),
        ]
    engine.close()
    return publish(__file__, figures)


if __name__ == "__main__":
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else QUICKSTART_BASE
    sys.exit(main(folder, int(sys.argv[2]) if len(sys.argv) > 2 else 2))
