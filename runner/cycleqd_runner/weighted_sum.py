"""Sums of stored tensors, number by number: what a merge is wherever directions have no gains of their own.

An average, task arithmetic, an expert itself: ``theta0 + sum_k c_k (theta_k - theta0)`` is a weighted sum of the files
in which the models lie, so any part of it can be had without the rest. Which tensors of an individual are such sums is
``materialise``'s knowledge, writing them ``safetensors_writer``'s.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch

from cycleqd_runner.residence import Part

_PIECE = 1 << 18
"""Numbers summed at a time: 1 MiB in float32, which stays in a core's cache from operand to operand."""


@dataclass(frozen=True)
class WeightedSum:
    """``sum_k weights_k parts_k``, computed in ``arithmetic`` and rounded once.

    Attributes:
        parts: of equal shape.
        weights: (len(parts),).
        dtype: of the base model's tensor, to which other parts are rounded first, and of the result.
        arithmetic: float32 or float64.
    """

    parts: tuple[Part, ...]
    weights: tuple[float, ...]
    dtype: torch.dtype
    arithmetic: torch.dtype = torch.float32

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the result, as of each part."""
        return self.parts[0].shape

    def chunk(self, first: int, count: int) -> torch.Tensor:
        """Return the numbers ``[first, first + count)``, flat, on the CPU."""
        return self._numbers(first, count, self.dtype, "cpu")

    def tensor(self, dtype: torch.dtype, device: torch.device | str = "cpu") -> torch.Tensor:
        """Return the whole in memory of its own.

        Args:
            dtype: to which it is rounded, instead of to :attr:`dtype`.
            device: where it is computed.
        """
        total = torch.empty(self.shape, dtype=dtype, device=device)
        for i, out in enumerate(torch.split(total.view(-1), _PIECE)):
            out.copy_(self._numbers(i * _PIECE, len(out), dtype, device))
        return total

    def _numbers(self, first: int, count: int, dtype: torch.dtype, device: torch.device | str) -> torch.Tensor:
        parts = [part.mapped(first, count).to(device).to(self.dtype) for part in self.parts]
        return add_up(parts, self.weights, self.arithmetic, dtype)


def merged(base: Part, shares: Sequence[tuple[Part, float]], arithmetic: torch.dtype) -> WeightedSum:
    """Return ``base + sum_k share_k (part_k - base)``.

    The base drops out of a merge whose shares sum to 1, and is then not even read.

    Args:
        base: the base model's tensor.
        shares: each expert's tensor, and its coefficient.
        arithmetic: float32 or float64.
    """
    rest = 1.0 - sum(share for _, share in shares)
    known = len(shares) * torch.finfo(torch.float32).eps  # coefficients are float32: three thirds are not quite 1
    parts = [*shares] if shares and abs(rest) <= known else [(base, rest), *shares]
    return WeightedSum(tuple(part for part, _ in parts), tuple(share for _, share in parts), base.dtype, arithmetic)


def add_up(
    parts: Sequence[torch.Tensor], weights: Sequence[float], arithmetic: torch.dtype, dtype: torch.dtype
) -> torch.Tensor:
    """Return ``sum_k weights_k parts_k``, rounded once; a part alone of weight 1 is returned bit for bit.

    Args:
        parts: (n,) each, of one dtype and device.
        weights: (len(parts),).
        arithmetic: float32 or float64.
        dtype: of the result.
    """
    if list(weights) == [1.0]:
        return parts[0].to(dtype)
    total = torch.empty(parts[0].shape, dtype=dtype, device=parts[0].device)
    sums = abs(sum(weights) - 1.0) <= torch.finfo(torch.float32).eps * len(parts)
    if len(parts) == 2 and sums and arithmetic == torch.float32 and parts[0].dtype == dtype:  # noqa: PLR2004
        return torch.lerp(parts[0], parts[1], weights[1], out=total)  # also in float32 inside, in a third of the time
    for out, first, *others in _pieces(total, *parts):
        piece = first.to(arithmetic, copy=True).mul_(weights[0])
        for other, weight in zip(others, weights[1:], strict=True):
            piece.add_(other.to(arithmetic), alpha=weight)
        out.copy_(piece)
    return total


def _pieces(*tensors: torch.Tensor) -> Iterator[tuple[torch.Tensor, ...]]:
    """Yield flat tensors of equal length in step."""
    return zip(*(torch.split(tensor, _PIECE) for tensor in tensors), strict=True)
