"""Models of full size on a small machine: what factorising an expert and exporting a child take, in time and memory.

A model of 400 million random parameters is done whole: what ``prepare`` does with an expert, then the export of a child
with a gain of its own for every direction, the dearest there is. Of Llama-3-8B one layer is measured, a matrix of each
size as a model of its own, and the whole is *extrapolated*: equal matrices take equal time, the embeddings as much
more than gate_proj as gate_proj takes more than q_proj, row for row; and at the peak they hold twice (prepare: both
models' pages) or once (export: the result) their own size more than gate_proj does, at most. The model and the layer
are done side by side, on one thread each, in three minutes on two cores.

Peak memory is that of a process that has imported torch and does nothing else; pages of mapped files count. A machine
with more cores or a GPU changes the seconds, not the bytes.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch

from benchmarks.report import Figure, at_most, publish
from benchmarks.synthetic.checkpoints import LLAMA_3_8B, MEDIUM, Shapes, save
from benchmarks.synthetic.memory import MIB, Cost, cost, cost_elsewhere, tell
from cycleqd.genome import Genome
from cycleqd_runner.basis import Basis
from cycleqd_runner.checkpoints import Checkpoint
from cycleqd_runner.export import export_checkpoint
from cycleqd_runner.factorise import factorise
from cycleqd_runner.layouts import expert_genomes, layout_of
from cycleqd_runner.materialise import Materialiser
from cycleqd_runner.model_card import ModelCard

THREADS = 1
"""Of each of the two processes that are measured at a time. The seconds are of processor time; more threads share
them."""
EQUALS = {"self_attn.q_proj": 2, "self_attn.k_proj": 2, "mlp.gate_proj": 3}
"""A matrix of each size of a layer, and how many there are of it: o, v and up_proj are like these. down_proj is
gate_proj turned. Measured once, it took 1.05 of its time to prepare and 0.85 to export, that with a peak of 467 MiB in
place of 274."""
EMBEDDINGS = 2
SLACK = 256 * MIB
BYTES = 2
GIB = 1024 * MIB


def prepare(work: Path) -> None:
    """Factorise the expert, as the role prepare does."""
    factorise("expert", Checkpoint(work / "expert"), Checkpoint(work / "base"), work / "basis")


def export(work: Path) -> None:
    """Write a child that scales every direction by its own gain, as ``cycleqd export`` does."""
    base = Checkpoint(work / "base")
    bases = [Basis(work / "basis", Checkpoint(work / "expert"))]
    layout = layout_of([basis.manifest for basis in bases])
    expert = expert_genomes(bases, layout)[0]
    gains = np.random.default_rng(0).uniform(0.7, 1.3, expert.values.shape).astype(np.float32)
    child = Genome(expert.values * gains, expert.coefficients)
    tensors = Materialiser(base, bases, layout).streamed(child)
    export_checkpoint(work / "child", base, tensors, ModelCard("child", "base", {}))


WORK = {"prepare": prepare, "export": export}


def measured(shapes: Shapes) -> dict[str, Cost]:
    """Return what each piece of work takes for a model of these shapes."""
    with tempfile.TemporaryDirectory(prefix="cycleqd-full-size-") as folder:
        for seed, model in enumerate(("base", "expert")):
            save(Path(folder) / model, shapes, MEDIUM.config(), seed)
        return {name: cost_elsewhere("benchmarks.full_size", name, folder) for name in WORK}


def extrapolated(layer: Mapping[str, Mapping[str, Cost]], work: str) -> Cost:
    """Return what a whole Llama-3-8B takes, from the matrices of a layer."""
    own = {name: costs[work] for name, costs in layer.items()}
    square, gate = own["self_attn.q_proj"], own["mlp.gate_proj"]
    rows = (LLAMA_3_8B.vocabulary - LLAMA_3_8B.mlp) / (LLAMA_3_8B.mlp - LLAMA_3_8B.hidden)
    embedding = gate.seconds + rows * (gate.seconds - square.seconds)
    seconds = LLAMA_3_8B.layers * sum(EQUALS[name] * found.seconds for name, found in own.items())
    held = {"prepare": 2, "export": 1}[work]
    more = held * BYTES * LLAMA_3_8B.hidden * (LLAMA_3_8B.vocabulary - LLAMA_3_8B.mlp)
    return Cost(seconds + EMBEDDINGS * embedding, gate.peak + more)


def main() -> int:
    """Measure, report and return the exit code."""
    torch.set_num_threads(THREADS)
    with ThreadPoolExecutor() as pool:
        beside = pool.submit(measured, MEDIUM.shapes)
        layer = {name: measured({"w.weight": LLAMA_3_8B.layer[f"{name}.weight"]}) for name in EQUALS}
        whole = beside.result()
    figures = []
    for name in WORK:
        bound = (3 * BYTES * MEDIUM.vocabulary * MEDIUM.hidden + SLACK) / MIB
        figures += [
            Figure(f"{name}, 400 M parameters, one thread", whole[name].seconds, "s"),
            at_most(
                f"{name}, 400 M parameters, peak memory above importing torch", whole[name].peak / MIB, "MiB", bound
            ),
        ]
    for name in WORK:
        bound = (3 * BYTES * LLAMA_3_8B.vocabulary * LLAMA_3_8B.hidden + SLACK) / GIB
        for matrix, costs in layer.items():
            own = LLAMA_3_8B.layer[f"{matrix}.weight"]
            title = f"{name}, {matrix} of Llama-3-8B ({own[0]} x {own[1]})"
            figures += [
                Figure(title, costs[name].seconds, "s"),
                Figure(f"{title}, peak memory", costs[name].peak / MIB, "MiB"),
            ]
        total = extrapolated(layer, name)
        figures += [
            Figure(f"{name}, all of Llama-3-8B (extrapolated from these)", total.seconds / 60, "min"),
            at_most(f"{name}, its peak memory (extrapolated)", total.peak / GIB, "GiB", bound),
        ]
    return publish(__file__, figures)


if __name__ == "__main__":
    if sys.argv[1:]:
        torch.set_num_threads(THREADS)
        tell(cost(lambda: WORK[sys.argv[1]](Path(sys.argv[2]))))
    else:
        sys.exit(main())
