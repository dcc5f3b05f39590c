"""From a genome to weights, tensor by tensor.

Every tensor is computed in float32 (float64 on request) from the base, the experts' factors and the genome, and
rounded once to the base's dtype, so that mutations are never lost to bf16 over generations. A tensor without gains of
its own is a :class:`WeightedSum` of the models' files; a matrix with them is computed a slab at a time, so that besides
the result memory holds one matrix, the experts' projectors (square, of its smaller side) and a few MiB. Reading and
searching are others' work; ``export`` and the engines receive.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt
import torch

from cycleqd.errors import BadData
from cycleqd.genome import Genome, Layout
from cycleqd_runner.basis import Basis
from cycleqd_runner.checkpoints import Checkpoint
from cycleqd_runner.layouts import joint_basis
from cycleqd_runner.residence import Held, Part, Residence
from cycleqd_runner.safetensors_file import Stored
from cycleqd_runner.weighted_sum import WeightedSum, merged

_SLAB, _DEVICE_SLAB = 1 << 20, 1 << 24
"""Numbers of a matrix computed at a time, on the CPU and elsewhere: few beside a tensor, enough for a product."""


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
        residence: Residence | None = None,
    ) -> None:
        """Bring together what a run's individuals are made of.

        Args:
            base: the base model.
            bases: of all experts, in the layout's order.
            layout: of these bases.
            arithmetic: float32, or float64 where an oracle is to be met.
            device: where tensors are computed and yielded.
            residence: keeps what the next child needs again; None: everything is read each time.

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
        self._changed = [{other.name for other in basis.manifest.others if other.is_changed} for basis in bases]
        self._residence = residence or Residence()

    @property
    def resident_bytes(self) -> int:
        """Bytes that are kept for the next child."""
        return self._residence.nbytes

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
        for name, own in self._weights(genome, changed_only=changed_only):
            stored = self.base.dtype(name)
            target = dtype if dtype is not None and stored.is_floating_point else stored
            if isinstance(own, WeightedSum):
                yield name, own.tensor(target, self._device)
            else:
                yield name, self._matrix(own, genome, target)

    def streamed(self, genome: Genome) -> Iterator[tuple[str, torch.Tensor | WeightedSum]]:
        """Yield what :meth:`tensors` yields, in the stored dtypes, but sums that files can be made of as such.

        Raises:
            BadData: a genome of another layout.
        """
        for name, own in self._weights(genome):
            yield name, own if isinstance(own, WeightedSum) else self._matrix(own, genome, self.base.dtype(name))

    def _weights(self, genome: Genome, *, changed_only: bool = False) -> Iterator[tuple[str, WeightedSum | int]]:
        """Yield each tensor as a sum, or, where there is none, its position among the matrices."""
        shapes = genome.values.shape, genome.coefficients.shape
        expected = (self.layout.size,), (len(self.layout.experts), len(self.layout.others))
        if shapes != expected:
            raise BadData(
                f"The genome has shapes {shapes} where this run's layout has {expected}: it is of another run."
            )
        for name in self.base.names:
            matrix, other = self._positions.get(name), self._others.get(name)
            if matrix is None and other is None and changed_only:
                continue
            shares: dict[int, float] | None = {}
            if matrix is not None:
                shares = self._uniform_gains(matrix, genome)
            elif other is not None:
                weights = genome.coefficients[:, other].tolist()
                shares = {k: share for k, share in enumerate(weights) if share and name in self._changed[k]}
            if shares is not None:
                parts = [(self._residence.part(self._bases[k].stored(name)), share) for k, share in shares.items()]
                yield name, merged(self._residence.part(self.base.stored(name)), parts, self._arithmetic)
            elif matrix is not None:
                yield name, matrix

    def _uniform_gains(self, matrix: int, genome: Genome) -> dict[int, float] | None:
        """Return one gain for each expert that takes part in a matrix; None where directions differ or are missing."""
        if self.layout.form == "Core":
            return None if genome.values[self.layout.core_of(matrix)].any() else {}
        shares = {}
        for k, basis in enumerate(self._bases):
            gains = genome.values[self.layout.gains_of(k, matrix)]
            if not gains.any():
                continue
            entry = basis.matrix(self.layout.matrices[matrix].name)
            if entry.kind != "Full" or not entry.is_exact or (gains != gains[0]).any():
                return None
            shares[k] = float(gains[0])
        return shares

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
        columns = self._columns(expert, name)
        own, old = (source.tensor(name).to(self._device, self._arithmetic) for source in (basis, self.base))
        tau = own.sub_(old)
        return (tau @ columns, columns) if tau.shape[0] >= tau.shape[1] else (columns, tau.T @ columns)

    def is_low_rank(self, matrix: int) -> bool:
        """Return whether every individual changes this matrix by a low-rank update."""
        return not self._experts_of(self.layout.matrices[matrix].name, "Full")

    def _matrix(self, matrix: int, genome: Genome, target: torch.dtype) -> torch.Tensor:
        """Return ``W0 + left right^T + sum_k tau_k P_k`` (if wide ``P_k tau_k``), slab by slab of the longer side."""
        name = self.layout.matrices[matrix].name
        full = [(k, *self._projector(k, matrix, genome)) for k in self._active(matrix, genome, "Full")]
        has_low = self.layout.form == "Core" or self._active(matrix, genome, "Lora")
        left, right = self.pair(matrix, genome) if has_low else (None, None)
        height, width = shape = self.base.shape(name)
        is_wide = bool(full) and height < width
        result = torch.empty(shape, dtype=target, device=self._device)
        slab = _SLAB if self._device.type == "cpu" else _DEVICE_SLAB
        step = max(1, slab // (height if is_wide else width))
        base = self._part(self.base.stored(name), columns=is_wide)
        owns = [self._part(self._bases[k].stored(name), columns=is_wide) for k, _, _ in full]
        for first in range(0, max(shape) if full else height, step):
            block = slice(first, first + step)
            total = self._near(base.slab(block, columns=is_wide)).to(self._arithmetic, copy=True)
            old = total.clone() if full else total
            if left is not None and right is not None:
                total.addmm_(left, right[block].T) if is_wide else total.addmm_(left[block], right.T)
            for own, (_, centre, projector) in zip(owns, full, strict=True):
                numbers = self._near(own.slab(block, columns=is_wide)).to(base.dtype)
                tau = numbers.to(self._arithmetic, copy=True).sub_(old)
                if projector is not None:
                    total.addmm_(projector, tau) if is_wide else total.addmm_(tau, projector)
                total.add_(tau, alpha=centre)
            (result[:, block] if is_wide else result[block]).copy_(total)
        return result

    def _projector(self, expert: int, matrix: int, genome: Genome) -> tuple[float, torch.Tensor | None]:
        """Return ``c`` and ``P`` with ``V diag(g) V^T = c I + P``; of a complete basis ``c`` is the mean gain.

        The rounding of V then only meets the deviations from the mean, and equal gains need no P.
        """
        name, gains = self.layout.matrices[matrix].name, genome.values[self.layout.gains_of(expert, matrix)]
        centre = float(gains.mean(dtype=np.float64)) if self._bases[expert].matrix(name).is_exact else 0.0
        deviations = gains.astype(np.float64) - centre
        if not deviations.any():
            return centre, None
        columns = self._columns(expert, name)
        return centre, (columns * self._numbers(deviations)) @ columns.T

    def _active(self, matrix: int, genome: Genome, kind: str) -> list[int]:
        """Return the experts of a kind that take part in a matrix (``Gains``)."""
        experts = self._experts_of(self.layout.matrices[matrix].name, kind)
        return [k for k in experts if genome.values[self.layout.gains_of(k, matrix)].any()]

    def _experts_of(self, name: str, kind: str) -> list[int]:
        entries = (basis.matrix(name) for basis in self._bases)
        return [k for k, entry in enumerate(entries) if entry.rank and entry.kind == kind]

    def _part(self, stored: Stored, *, columns: bool) -> Part:
        """Return a matrix of which slabs are taken: where it lies, or, for columns, where they are computed with."""
        part = self._residence.part(stored)
        if columns and self._device.type != "cpu":  # columns would be gathered by the CPU, number by number
            return Held(self._near(part.slab(slice(None))))
        return part

    def _near(self, tensor: torch.Tensor) -> torch.Tensor:
        """Return a tensor on the device; from pinned memory the device fetches it while the CPU goes on."""
        return tensor.to(self._device, non_blocking=True)

    def _columns(self, expert: int, name: str) -> torch.Tensor:
        """Return the directions of a full-rank expert's matrix; not to be written to."""

        def unpacked() -> tuple[torch.Tensor]:
            return (self._bases[expert].directions(name, self._arithmetic, self._device),)

        (columns,) = self._residence.tensors(("directions", expert, name), unpacked)
        return self._near(columns)

    def _factors(self, name: str) -> tuple[torch.Tensor, torch.Tensor]:
        left, right = self._residence.tensors(("factors", name), lambda: self._joined(name))
        return self._near(left), self._near(right)

    def _joined(self, name: str) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the factors of all low-rank experts of a matrix, side by side."""
        if self.layout.form == "Core":
            joint = joint_basis(self._bases, name)
            found = joint.left, joint.right
        else:
            pairs = [self._bases[k].factors(name) for k in self._experts_of(name, "Lora")]
            shape = self.base.shape(name)
            found = tuple(torch.cat([torch.zeros(shape[i], 0), *(p[i] for p in pairs)], 1) for i in (0, 1))  # type: ignore[assignment]
        left, right = (factor.to(self._device, self._arithmetic) for factor in found)
        return left, right

    def _numbers(self, values: npt.NDArray[np.floating]) -> torch.Tensor:
        return torch.tensor(values, dtype=self._arithmetic, device=self._device)
