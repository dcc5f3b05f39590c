"""A tiny chat model with experts of each kind, opened as guidance finds it in a worker."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from cycleqd.api.engine import EngineArgs
from cycleqd.genome import Form, Genome, Layout
from cycleqd_runner.basis import Basis
from cycleqd_runner.checkpoints import Checkpoint
from cycleqd_runner.compatibility import open_expert
from cycleqd_runner.engines.transformers import TransformersEngine
from cycleqd_runner.factorise import factorise
from cycleqd_runner.guide.targets import Target
from cycleqd_runner.layouts import expert_genomes, layout_of
from cycleqd_runner.materialise import Materialiser
from tests.runner.engines.support import save_chat_model
from tests.runner.models import fine_tune, save_adapter

RANK = 4
"""Directions kept of a full-rank expert's matrices."""


@dataclass(frozen=True)
class Scene:
    """Everything that guidance works with."""

    engine: TransformersEngine
    materialiser: Materialiser
    bases: Sequence[Basis]

    @property
    def layout(self) -> Layout:
        """Of the genomes."""
        return self.materialiser.layout

    def genome(self, seed: int = 0) -> Genome:
        """Return a random genome."""
        rng = np.random.default_rng(seed)
        shape = len(self.layout.experts), len(self.layout.others)
        return Genome(rng.random(self.layout.size, np.float32), np.zeros(shape, np.float32))

    def expert_cores(self) -> list[Genome]:
        """Return the experts' genomes in ``Core`` form."""
        return expert_genomes(self.bases, self.layout)

    def hold(self, genome: Genome) -> None:
        """Bring a genome's weights into the engine."""
        self.engine.load(self.materialiser.tensors(genome))

    def hold_base(self) -> None:
        """Bring the base's weights into the engine."""
        zeros = np.zeros(self.layout.size, np.float32)
        self.hold(Genome(zeros, np.zeros((len(self.layout.experts), len(self.layout.others)), np.float32)))


def lora(base: Path, folder: Path, seed: int) -> Path:
    """Save a LoRA expert that adapts the embedding, too."""
    return save_adapter(base, folder, seed, target_modules=["q_proj", "down_proj", "embed_tokens"])


def full(base: Path, folder: Path, seed: int) -> Path:
    """Save a full-rank expert."""
    return fine_tune(base, folder, seed)


def open_scene(
    work: Path,
    save: Callable[[Path, Path, int], Path],
    form: Form = "Gains",
    rank: int | None = RANK,
) -> Scene:
    """Return a scene of two experts, made by ``save``; those of full rank keep ``rank`` directions a matrix."""
    folder = save_chat_model(work / "base", initializer_range=0.2)
    base = Checkpoint(folder)
    bases = []
    for k in range(2):
        expert = open_expert(save(folder, work / f"expert{k}", k))
        factorise(f"expert{k}", expert, base, work / f"basis{k}", rank=rank)
        bases.append(Basis(work / f"basis{k}", expert))
    materialiser = Materialiser(base, bases, layout_of([basis.manifest for basis in bases], form))
    return Scene(TransformersEngine(folder, EngineArgs(dtype="Float32")), materialiser, bases)


def targets(lengths: Sequence[tuple[int, int]], seed: int = 0) -> tuple[Target, ...]:
    """Return random targets of (tokens, start), all of task 0; they begin alike, as prompts of one task do."""
    rng = np.random.default_rng(seed)
    opening = rng.integers(0, 256, 3).tolist()
    return tuple(
        Target(0, (*opening, *rng.integers(0, 256, total - len(opening)).tolist()), start) for total, start in lengths
    )
