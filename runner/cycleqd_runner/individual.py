"""An individual of a run as an engine takes it: it makes its weights by itself, in whatever process the model lives."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path

import torch
from torch import Tensor

from cycleqd.errors import BadManifest, UnsupportedHere
from cycleqd.genome import Genome, Layout
from cycleqd_runner.basis import Basis
from cycleqd_runner.checkpoints import Checkpoint
from cycleqd_runner.compatibility import open_expert
from cycleqd_runner.export import adapter_tensors
from cycleqd_runner.materialise import Materialiser
from cycleqd_runner.memory import memories
from cycleqd_runner.residence import Residence


@dataclass(frozen=True)
class Sources:
    """Where the weights of a run's individuals come from.

    Attributes:
        base: folder of the base model.
        experts: folders of the experts as they were given, in the order of their ids.
        bases: folders of their factors, in the same order.
        layout: what the numbers of a genome mean.
    """

    base: Path
    experts: tuple[Path, ...]
    bases: tuple[Path, ...]
    layout: Layout

    @property
    def materialiser(self) -> Materialiser:
        """Makes child after child, on the GPU where there is one; one a process, which keeps what it needs again."""
        return _materialiser(self)

    def open(self, *, is_resident: bool = False) -> Materialiser:
        """Return what makes weights, on the GPU where there is one.

        Args:
            is_resident: whether it keeps what the next child needs again; a single model, to be written, needs nothing.
        """
        bases = [Basis(basis, open_expert(expert)) for expert, basis in zip(self.experts, self.bases, strict=True)]
        device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        residence = Residence(*memories(device)) if is_resident else Residence()
        return Materialiser(Checkpoint(self.base), bases, self.layout, device=device, residence=residence)


@lru_cache(maxsize=2)  # a comparison has runs of both forms of genomes
def _materialiser(sources: Sources) -> Materialiser:
    return sources.open(is_resident=True)


@dataclass(frozen=True)
class Individual:
    """An individual of a run. Iterated over, it gives the tensors that individuals of the run change, by name."""

    sources: Sources
    genome: Genome

    def __iter__(self) -> Iterator[tuple[str, Tensor]]:
        """Make the tensors, one at a time, in checkpoint order."""
        return self.sources.materialiser.tensors(self.genome, changed_only=True)

    @cached_property
    def names(self) -> frozenset[str]:
        """What the iteration gives."""
        layout = self.sources.layout
        return frozenset(matrix.name for matrix in layout.matrices) | frozenset(layout.others)

    @property
    def adapter_rank(self) -> int:
        """Largest rank of a matrix's change.

        Raises:
            BadManifest: individuals of this run are no LoRA adapters.
        """
        try:
            return max(len(tensor) for name, tensor in self.adapter().items() if ".lora_A." in name)
        except UnsupportedHere as error:
            raise BadManifest(
                f"engine.args.concurrentChildren is for runs whose children are LoRA adapters, and {error} Set it to 1."
            ) from error

    def adapter(self) -> dict[str, Tensor]:
        """Return the individual as a LoRA adapter (:func:`~cycleqd_runner.export.adapter_tensors`)."""
        return adapter_tensors(self.sources.materialiser, self.genome)
