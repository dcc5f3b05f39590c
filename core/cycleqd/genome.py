"""The genome: an individual as a few numbers per expert, instead of a checkpoint.

Every child that crossover and expert-basis mutation can make is exactly (design section 3)

    W = W0 + sum_k tau_k V_k diag(g_k) V_k^T     for each weight matrix,
    theta = theta0 + sum_k c_k tau_k             for every other tensor,

so a genome is the gains ``g`` and the coefficients ``c``. For LoRA experts and child-basis mutation the gains of a
matrix become a small core ``M`` between the stacked, orthonormalised factors: ``W = W0 + Q_u M Q_v^T``. Both forms are
one flat vector, so crossover and merging are the same arithmetic. What the numbers mean is the :class:`Layout`'s
knowledge; turning them into weights is the runner's (``cycleqd_runner.materialise``).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate
from typing import Literal

import numpy as np
import numpy.typing as npt
import safetensors
import safetensors.numpy

from cycleqd.errors import BadData

Vector = npt.NDArray[np.float32]
Form = Literal["Gains", "Core"]


@dataclass(frozen=True)
class Matrix:
    """A weight matrix that at least one expert changes.

    Attributes:
        name: parameter name in the checkpoint.
        ranks: (n_experts,) singular directions of each expert's task vector; 0 where the expert leaves it alone.
    """

    name: str
    ranks: tuple[int, ...]


@dataclass(frozen=True)
class Layout:
    """Which number of a genome belongs to which expert, matrix and direction.

    Attributes:
        experts: names, in the order of their ids.
        matrices: in checkpoint order.
        others: names of the tensors that are not factorised (vectors, norms), in checkpoint order.
        form: ``Gains`` (one number per direction, ordered by expert, matrix, direction) or ``Core``
            (one ``(R, R)`` block per matrix, ``R`` the sum of its ranks, row-major).
    """

    experts: tuple[str, ...]
    matrices: tuple[Matrix, ...]
    others: tuple[str, ...] = ()
    form: Form = "Gains"

    @cached_property
    def _gain_starts(self) -> list[list[int]]:
        """(n_experts, n_matrices + 1) offsets of each expert's gains."""
        starts: list[list[int]] = []
        base = 0
        for k in range(len(self.experts)):
            row = list(accumulate((m.ranks[k] for m in self.matrices), initial=base))
            starts.append(row)
            base = row[-1]
        return starts

    @cached_property
    def _core_starts(self) -> list[int]:
        """(n_matrices + 1,) offsets of each matrix's core."""
        return list(accumulate((sum(m.ranks) ** 2 for m in self.matrices), initial=0))

    @cached_property
    def size(self) -> int:
        """Length of :attr:`Genome.values`."""
        if self.form == "Core":
            return self._core_starts[-1]
        return self._gain_starts[-1][-1] if self.experts else 0

    def gains_of(self, expert: int, matrix: int | None = None) -> slice:
        """Return where the gains of ``expert`` (of one ``matrix``, or of all) lie in :attr:`Genome.values`."""
        row = self._gain_starts[expert]
        return slice(row[0], row[-1]) if matrix is None else slice(row[matrix], row[matrix + 1])

    def core_of(self, matrix: int) -> slice:
        """Return where the core of ``matrix`` lies in :attr:`Genome.values`."""
        return slice(self._core_starts[matrix], self._core_starts[matrix + 1])

    @property
    def digest(self) -> str:
        """SHA-256 of the layout; genomes of different layouts never mix."""
        return hashlib.sha256(repr((self.experts, self.matrices, self.others, self.form)).encode()).hexdigest()


@dataclass(frozen=True, eq=False)
class Genome:
    """One individual.

    Attributes:
        values: (layout.size,) float32, gains or cores.
        coefficients: (n_experts, len(layout.others)) float32 weights of the task vectors of all other tensors.
    """

    values: Vector
    coefficients: Vector

    def save(self, layout: Layout, notes: str = "") -> bytes:
        """Serialise to safetensors; the layout's digest and ``notes`` travel as metadata.

        They are one entry: safetensors writes several in random order, and equal genomes shall be equal objects.
        """
        tensors = {"values": self.values, "coefficients": self.coefficients}
        metadata = json.dumps({"layout": layout.digest, "notes": notes})
        return safetensors.numpy.save(tensors, metadata={"cycleqd": metadata})

    @staticmethod
    def load(data: bytes, layout: Layout) -> Genome:
        """Read back what :meth:`save` wrote.

        Raises:
            BadData: not a genome, or one of another layout.
        """
        try:
            tensors = safetensors.numpy.load(data)
            genome = Genome(tensors["values"], tensors["coefficients"])
            written_for = _metadata(data)["layout"]
        except (safetensors.SafetensorError, KeyError, ValueError) as error:
            raise BadData(f"A genome object is damaged ({error}): delete it and the run breeds it again.") from error
        expected = (layout.size,), (len(layout.experts), len(layout.others))
        got = genome.values.shape, genome.coefficients.shape
        if got != expected:
            raise BadData(f"A genome has shapes {got} where this run's layout has {expected}: it is of another run.")
        if written_for != layout.digest:
            raise BadData(
                f"A genome was written for layout {written_for[:12]}, this run's is {layout.digest[:12]}: "
                "it is of another run."
            )
        return genome

    @staticmethod
    def notes(data: bytes) -> str:
        """Return the notes that :meth:`save` wrote to ``data``."""
        return _metadata(data)["notes"]

    @property
    def digest(self) -> str:
        """SHA-256 of the numbers, equal for bit-for-bit equal genomes."""
        return hashlib.sha256(self.values.tobytes() + self.coefficients.tobytes()).hexdigest()


def _metadata(data: bytes) -> dict[str, str]:
    """Return what :meth:`Genome.save` noted. ``safetensors.numpy.load`` leaves it out; it lies in the file's header.

    The format begins with the header's length (8 bytes, little-endian), then the header as JSON.
    """
    header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
    return dict(json.loads(header["__metadata__"]["cycleqd"]))


def expert_genome(layout: Layout, expert: int) -> Genome:
    """Return the genome of an expert in ``Gains`` form: its own gains and coefficients 1, all others 0."""
    values = np.zeros(layout.size, np.float32)
    values[layout.gains_of(expert)] = 1.0
    coefficients = np.zeros((len(layout.experts), len(layout.others)), np.float32)
    coefficients[expert] = 1.0
    return Genome(values, coefficients)


def combine(genomes: Sequence[Genome], weights: Sequence[float]) -> Genome:
    """Return ``sum_i weights_i genomes_i``: every linear merge of models is this sum on their genomes.

    Args:
        genomes: at least one, of the same layout.
        weights: (len(genomes),) any real numbers; they sum to 1 in a merge that interpolates.
    """
    values = np.zeros_like(genomes[0].values)
    coefficients = np.zeros_like(genomes[0].coefficients)
    for genome, weight in zip(genomes, weights, strict=True):
        values += np.float32(weight) * genome.values
        coefficients += np.float32(weight) * genome.coefficients
    return Genome(values, coefficients)
