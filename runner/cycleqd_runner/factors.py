"""Factorising one task vector: functions of tensors, no files (``basis`` reads and writes).

The directions of a matrix come from the Gram matrix of its smaller side, once per expert: a fp64 eigenproblem of size
min(m, n) in place of a singular value decomposition of (m, n). Squaring the singular values costs half of the digits,
which float64 has to spare for task vectors of at most float32.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import sqrt

import torch

_BLOCK = 1 << 22
"""Numbers converted to float64 at a time (32 MiB), so that an embedding matrix is never held in float64."""

_ROWS = 512
"""At least so many of them, which keeps the product efficient."""


@dataclass(frozen=True)
class Directions:
    """Singular directions of the smaller side of a task vector ``tau`` (m, n), by descending singular value.

    Attributes:
        columns: (min(m, n), rank) float64, orthonormal.
        energy: share of the squared Frobenius norm of ``tau`` that they span, in [0, 1].
        is_exact: whether nothing but rounding is left out.
    """

    columns: torch.Tensor
    energy: float
    is_exact: bool


def gram(expert: torch.Tensor, base: torch.Tensor, device: torch.device | str = "cpu") -> torch.Tensor:
    """Return the Gram matrix of the smaller side of ``expert - base``, (min(m, n),) * 2, float64.

    Args:
        expert: (m, n) any floating dtype.
        base: (m, n) any floating dtype.
        device: where it is computed.
    """
    if expert.shape[0] < expert.shape[1]:
        expert, base = expert.T, base.T
    n = expert.shape[1]
    total = torch.zeros(n, n, dtype=torch.float64, device=device)
    rows = max(_ROWS, _BLOCK // n)
    for start in range(0, expert.shape[0], rows):
        block = slice(start, start + rows)
        tau = expert[block].to(device, torch.float64, copy=True).sub_(base[block].to(device, torch.float64))
        total.addmm_(tau.T, tau)
    return total


def directions(gram: torch.Tensor, rank: int | None = None) -> Directions:
    """Return the leading eigenvectors of a Gram matrix.

    Args:
        gram: (d, d) float64, symmetric.
        rank: at most so many directions; None for all that are not zero.
    """
    values, vectors = torch.linalg.eigh(gram)
    values, vectors = values.flip(0).clamp_min(0.0), vectors.flip(1)
    noise = values[0] * len(values) * torch.finfo(torch.float64).eps
    present = int((values > noise).sum())
    kept = present if rank is None else min(rank, present)
    columns = vectors[:, :kept]
    total = float(values.sum())
    return Directions(columns, float(values[:kept].sum()) / total if total else 1.0, kept == present)


def residual(gram: torch.Tensor, columns: torch.Tensor) -> float:
    """Return the relative error ``|tau - tau V V^T| / |tau|`` (Frobenius) of keeping only some directions.

    Measured, not read from eigenvalues, so that it holds for columns that were rounded.

    Args:
        gram: (d, d) float64, of ``tau``; not zero.
        columns: (d, rank) float64, orthonormal.
    """
    total, kept = float(gram.trace()), float((columns * (gram @ columns)).sum())
    return sqrt(max(0.0, total - kept) / total)


def low_rank(left: torch.Tensor, right: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return ``U S`` (m, rank) and ``V`` (n, rank) of ``left @ right``, float32, by descending singular value.

    The largest entry of each column of ``V`` is positive, so that equal factors give equal files.

    Args:
        left: (m, r) float64.
        right: (r, n) float64.
    """
    (q_left, r_left), (q_right, r_right) = torch.linalg.qr(left), torch.linalg.qr(right.T)
    u, s, vh = torch.linalg.svd(r_left @ r_right.T)
    present = int((s > s[0] * len(s) * torch.finfo(torch.float64).eps).sum())
    scaled, v = (q_left @ u[:, : len(s)] * s)[:, :present], (q_right @ vh[: len(s)].T)[:, :present]
    largest = v.gather(0, v.abs().argmax(0, keepdim=True)) if present else v[:1]
    signs = torch.where(largest < 0, -1.0, 1.0)
    return (scaled * signs).float(), (v * signs).float()
