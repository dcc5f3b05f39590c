"""From a genome to weights, tensor by tensor.

Every tensor is computed in float32 (float64 on request) from the base, the experts' factors and the genome, and
rounded once to the base's dtype, so that mutations are never lost to bf16 over generations. At any time one child
needs, besides the finished model, at most three tensors of the size of the largest: the float32 sum counts as two of
bf16, the expert's and the base's own are the others, and the result takes the place of one of the four. Reading and
searching are others' work; ``export`` and the engines receive.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt
import torch

from cycleqd.errors import BadData
from cycleqd.genome import Genome, Layout, Vector
from cycleqd_runner.basis import Basis
from cycleqd_runner.checkpoints import Checkpoint
from cycleqd_runner.layouts import joint_basis

_ROWS = 256
"""Rows of a task vector that are converted at a time: few beside a tensor, enough for an efficient product."""


class Materialiser:
    """Makes the weights of individuals of one run.

    Attributes:
        base: the base model.
        layout: what the numbers of a genome mean.
    """

    def __init__(
        self,
        base: Checkpoint,
        bases: Sequence[Basis],
        layout: Layout,
        *,
        arithmetic: torch.dtype = torch.float32,
        device: torch.device | str = "cpu",
        cache: bool = False,
    ) -> None:
        """Bring together what a run's individuals are made of.

        Args:
            base: the base model.
            bases: of all experts, in the layout's order.
            layout: of these bases.
            arithmetic: float32, or float64 where an oracle is to be met.
            device: where tensors are computed and yielded.
            cache: keep the factors and base weights of the matrices that only low-rank experts change in memory, in
                ``arithmetic``: a child of LoRA experts is then one product a matrix, and nothing is read.

        Raises:
            BadData: the bases are not the layout's experts.
        """
        if tuple(basis.expert for basis in bases) != layout.experts:
            got = ", ".join(basis.expert for basis in bases)
            raise BadData(f"The genomes are of the experts {', '.join(layout.experts)} but the bases of {got}.")
        self.base = base
        self.layout = layout
        self._bases = tuple(bases)
        self._arithmetic = arithmetic
        self._device = torch.device(device)
        self._positions = {matrix.name: i for i, matrix in enumerate(layout.matrices)}
        self._others = {name: i for i, name in enumerate(layout.others)}
        self._cached_base: dict[str, torch.Tensor] | None = {} if cache else None
        self._cached_pairs: dict[str, tuple[torch.Tensor, torch.Tensor]] | None = {} if cache else None

    def tensors(
        self, genome: Genome, *, dtype: torch.dtype | None = None, changed_only: bool = False
    ) -> Iterator[tuple[str, torch.Tensor]]:
        """Yield the name and weights of every tensor, in checkpoint order.

        Args:
            genome: of this layout.
            dtype: of floating tensors; None for the base's own.
            changed_only: yield only those that an individual of this run can change, as for a model that holds another
                individual of the same run.

        Raises:
            BadData: a genome of another layout.
        """
        shapes = genome.values.shape, genome.coefficients.shape
        expected = (self.layout.size,), (len(self.layout.experts), len(self.layout.others))
        if shapes != expected:
            raise BadData(
                f"The genome has shapes {shapes} where this run's layout has {expected}: it is of another run."
            )
        for name in self.base.names:
            stored = self.base.dtype(name)
            target = dtype if dtype is not None and stored.is_floating_point else stored
            if name in self._positions:
                yield name, self._matrix(self._positions[name], genome, target)
            elif name in self._others:
                yield name, self._other(self._others[name], genome, target)
            elif not changed_only:
                yield name, self.base.tensor(name).to(self._device, target)

    def pair(self, matrix: int, genome: Genome) -> tuple[torch.Tensor, torch.Tensor]:
        """Return ``left`` (m, R) and ``right`` (n, R) with ``W = W0 + left @ right.T``, in the arithmetic dtype.

        Args:
            matrix: its position in the layout.
            genome: of this layout; only its low-rank experts take part.
        """
        name = self.layout.matrices[matrix].name
        left, right = self._factors(name)
        if self.layout.form == "Core":
            core = self._numbers(genome.values[self.layout.core_of(matrix)])
            return left @ core.view(left.shape[1], -1), right
        gains = [genome.values[self.layout.gains_of(k, matrix)] for k in self._experts_of(name, "Lora")]
        return left * self._numbers(np.concatenate([*gains, np.zeros(0, np.float32)])), right

    def factors(self, matrix: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Return ``L`` (m, R) and ``R`` (n, R) with ``W = W0 + L diag(g) R^T`` (``Core``: ``L M R^T``) for any genome.

        ``g`` are the matrix' gains, expert by expert. A full-rank expert's directions V make ``L = tau V`` and
        ``R = V``, or of a wide matrix ``L = V`` and ``R = tau^T V``.
        """
        name = self.layout.matrices[matrix].name
        if self.layout.form == "Core" or self.is_low_rank(matrix):
            return self._factors(name)
        pairs = [self._pair_of(k, name) for k in range(len(self._bases))]
        return torch.cat([left for left, _ in pairs], 1), torch.cat([right for _, right in pairs], 1)

    def _pair_of(self, expert: int, name: str) -> tuple[torch.Tensor, torch.Tensor]:
        basis, entry = self._bases[expert], self._bases[expert].matrix(name)
        if entry.kind == "Lora" or not entry.rank:
            left, right = basis.factors(name)
            return left.to(self._device, self._arithmetic), right.to(self._device, self._arithmetic)
        columns = basis.directions(name, self._arithmetic, self._device)
        own, old = (source.tensor(name).to(self._device, self._arithmetic) for source in (basis, self.base))
        tau = own.sub_(old)
        return (tau @ columns, columns) if tau.shape[0] >= tau.shape[1] else (columns, tau.T @ columns)

    def is_low_rank(self, matrix: int) -> bool:
        """Return whether every individual changes this matrix by a low-rank update."""
        return not self._experts_of(self.layout.matrices[matrix].name, "Full")

    def _matrix(self, matrix: int, genome: Genome, target: torch.dtype) -> torch.Tensor:
        name = self.layout.matrices[matrix].name
        values = genome.values
        if self.layout.form == "Core":
            active = [-1] if values[self.layout.core_of(matrix)].any() else []
        else:
            active = [k for k in range(len(self._bases)) if values[self.layout.gains_of(k, matrix)].any()]
        full = [k for k in self._experts_of(name, "Full") if k in active]
        if not active:
            return self._base(name).to(target)
        if active == full and len(full) == 1 and self._is_expert(full[0], matrix, values):
            return self._bases[full[0]].tensor(name).to(self._device, self.base.dtype(name)).to(target)
        start = self._base(name)
        if set(active) - set(full):
            left, right = self.pair(matrix, genome)
            total = torch.addmm(start.to(self._arithmetic), left, right.T)
        else:
            total = start.to(self._arithmetic, copy=True)
        del start
        for k in full:
            self._add_full(total, k, name, values[self.layout.gains_of(k, matrix)])
        return total.to(target)

    def _is_expert(self, expert: int, matrix: int, values: Vector) -> bool:
        """Return whether gains of a lone expert give its own matrix back, which is then copied bit for bit."""
        entry = self._bases[expert].matrix(self.layout.matrices[matrix].name)
        return entry.is_exact and bool((values[self.layout.gains_of(expert, matrix)] == 1.0).all())

    def _add_full(self, total: torch.Tensor, expert: int, name: str, gains: Vector) -> None:
        """Add ``tau V diag(g) V^T`` (transposed if the matrix is wide) to ``total`` (m, n), block by block.

        The mean gain of a complete basis multiplies tau as it is, so that the rounding of V only meets the deviations.
        """
        entry = self._bases[expert].matrix(name)
        centre = float(gains.mean(dtype=np.float64)) if entry.is_exact else 0.0
        deviations = gains.astype(np.float64) - centre
        projector = None
        if deviations.any():
            columns = self._bases[expert].directions(name, self._arithmetic, self._device)
            projector = (columns * self._numbers(deviations)) @ columns.T
            del columns
        own = self._bases[expert].tensor(name).to(self._device, self.base.dtype(name))
        old = self.base.tensor(name).to(self._device)
        if own.shape[0] < own.shape[1]:
            own, old, total = own.T, old.T, total.T
        for first in range(0, own.shape[0], _ROWS):
            block = slice(first, first + _ROWS)
            tau = own[block].to(self._arithmetic, copy=True).sub_(old[block])
            if projector is not None:
                total[block].addmm_(tau, projector)
            if centre:
                total[block].add_(tau, alpha=centre)

    def _other(self, position: int, genome: Genome, target: torch.dtype) -> torch.Tensor:
        name = self.layout.others[position]
        weights = genome.coefficients[:, position]
        changed = [k for k in range(len(self._bases)) if weights[k] and self._changes(k, name)]
        if len(changed) == 1 and weights[changed[0]] == 1.0:
            return self._bases[changed[0]].tensor(name).to(self._device, self.base.dtype(name)).to(target)
        start = self.base.tensor(name).to(self._device)
        total = start.to(self._arithmetic, copy=True)
        for k in changed:
            own = self._bases[k].tensor(name).to(self._device, start.dtype)
            total.add_(own.to(self._arithmetic) - start.to(self._arithmetic), alpha=float(weights[k]))
        return total.to(target)

    def _changes(self, expert: int, name: str) -> bool:
        return any(other.is_changed for other in self._bases[expert].manifest.others if other.name == name)

    def _experts_of(self, name: str, kind: str) -> list[int]:
        entries = (basis.matrix(name) for basis in self._bases)
        return [k for k, entry in enumerate(entries) if entry.rank and entry.kind == kind]

    def _base(self, name: str) -> torch.Tensor:
        if self._cached_base is None or not self.is_low_rank(self._positions[name]):
            return self.base.tensor(name).to(self._device)
        if name not in self._cached_base:
            self._cached_base[name] = self.base.tensor(name).to(self._device, self._arithmetic)
        return self._cached_base[name]

    def _factors(self, name: str) -> tuple[torch.Tensor, torch.Tensor]:
        if self._cached_pairs is not None and name in self._cached_pairs:
            return self._cached_pairs[name]
        if self.layout.form == "Core":
            joint = joint_basis(self._bases, name)
            found = joint.left, joint.right
        else:
            pairs = [self._bases[k].factors(name) for k in self._experts_of(name, "Lora")]
            shape = self.base.shape(name)
            found = tuple(torch.cat([torch.zeros(shape[i], 0), *(p[i] for p in pairs)], 1) for i in (0, 1))  # type: ignore[assignment]
        left, right = (factor.to(self._device, self._arithmetic) for factor in found)
        if self._cached_pairs is not None:
            self._cached_pairs[name] = left, right
        return left, right

    def _numbers(self, values: npt.NDArray[np.floating]) -> torch.Tensor:
        return torch.tensor(values, dtype=self._arithmetic, device=self._device)
