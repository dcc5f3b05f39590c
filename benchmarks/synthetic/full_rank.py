"""Swaps of full-rank children into a live model: what stays in memory from child to child, and what that saves.

Three made-up experts of a small Llama, all of whose tensors differ. A child has a gain of its own for every direction,
the dearest there is. No question is asked, so the model needs no tokenizer.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers import AutoConfig, AutoModelForCausalLM

from benchmarks.report import Figure
from benchmarks.synthetic.checkpoints import Llama, save
from cycleqd.genome import Genome
from cycleqd_runner.basis import Basis
from cycleqd_runner.checkpoints import Checkpoint
from cycleqd_runner.engines.weights import LiveWeights
from cycleqd_runner.factorise import factorise
from cycleqd_runner.individual import Individual, Sources
from cycleqd_runner.layouts import layout_of

SMALL = Llama(vocabulary=4096, hidden=512, keys=512, mlp=1536, layers=2)
"""11 million parameters: making, factorising and swapping takes some fifteen seconds of a core."""
EXPERTS = 3
CHILDREN = 5


def _sources(work: Path) -> Sources:
    """Make base and experts, and factorise them."""
    base = Checkpoint(save(work / "base", SMALL.shapes, SMALL.config(), 0))
    experts = [Checkpoint(save(work / f"expert{k}", SMALL.shapes, SMALL.config(), k + 1)) for k in range(EXPERTS)]
    for k, expert in enumerate(experts):
        factorise(f"expert{k}", expert, base, work / f"basis{k}")
    bases = [Basis(work / f"basis{k}", expert) for k, expert in enumerate(experts)]
    folders = tuple(expert.folder for expert in experts), tuple(basis.folder for basis in bases)
    return Sources(base.folder, *folders, layout_of([basis.manifest for basis in bases]))


def figures(work: Path) -> list[Figure]:
    """Measure swaps, the first and later ones by turns with some for which nothing is kept.

    Args:
        work: an empty folder.
    """
    sources = _sources(work)
    model: Any = AutoModelForCausalLM
    live = LiveWeights(model.from_config(AutoConfig.from_pretrained(sources.base), dtype=torch.bfloat16))
    rng, layout = np.random.default_rng(0), sources.layout
    shape = len(layout.experts), len(layout.others)
    children = [
        Genome(rng.uniform(0.2, 0.7, layout.size).astype(np.float32), np.full(shape, 0.3, np.float32))
        for _ in range(CHILDREN)
    ]
    streamed = sources.open()

    def seconds(weights: Callable[[], Iterable[tuple[str, Tensor]]]) -> float:
        start = time.perf_counter()
        live.load(weights())
        return time.perf_counter() - start

    first = seconds(partial(Individual, sources, children[0]))
    later, read = [], []
    for child in children[1:]:
        later.append(seconds(partial(Individual, sources, child)))
        read.append(seconds(partial(streamed.tensors, child, changed_only=True)))
    kept = sources.materialiser.resident_bytes / sources.materialiser.base.nbytes
    return [
        Figure("full-rank child, 3 experts, 11 M parameters: first swap", first, "s"),
        Figure("full-rank child: later swaps", median(later), "s"),
        Figure("full-rank child: swap for which nothing is kept", median(read), "s"),
        Figure("full-rank child: nothing kept / later swaps", median(read) / median(later), "x"),
        Figure("full-rank child: bytes kept / bytes of the model", kept, "x"),
    ]
