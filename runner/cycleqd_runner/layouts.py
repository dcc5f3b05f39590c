"""Several experts together: which numbers a genome has, and the experts' own genomes, in both forms.

``Gains`` needs nothing but the manifests. ``Core`` puts every LoRA expert of a matrix between one pair of orthonormal
factors, ``W = W0 + Q_u M Q_v^T``, so that a child's own singular vectors can be found inside (R, R). What is done with
genomes is the core package's algebra, with weights ``materialise``'s.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from cycleqd.errors import BadManifest, BadModel
from cycleqd.genome import Form, Genome, Layout, Matrix, expert_genome
from cycleqd_runner.basis import Basis, BasisManifest


@dataclass(frozen=True)
class Joint:
    """One matrix of all experts: expert k is ``W0 + left @ cores[k] @ right.T``.

    Attributes:
        left: (m, R) float64, orthonormal columns; columns beyond m are zero.
        right: (n, R) float64, likewise.
        cores: (n_experts, R, R) float64.
    """

    left: torch.Tensor
    right: torch.Tensor
    cores: torch.Tensor


def layout_of(manifests: Sequence[BasisManifest], form: Form = "Gains") -> Layout:
    """Return the layout of a run's genomes.

    Args:
        manifests: of all experts, in the order of their ids.
        form: ``Core`` for ``mutation.basis: Child``, which is for LoRA experts only.

    Raises:
        BadManifest: ``Core`` and an expert that is not a LoRA adapter.
        BadModel: bases of different base models.
    """
    first = manifests[0]
    for manifest in manifests:
        if manifest.base != first.base:
            raise BadModel(
                f"The bases of {manifest.expert} and {first.expert} were made for different base models: "
                "delete one and prepare it again."
            )
        if form == "Core" and manifest.kind == "Full":
            raise BadManifest(
                f"mutation.basis Child needs LoRA experts, but {manifest.expert} has full-rank matrices: "
                "set search.mutation.basis to Expert."
            )
    ranks = zip(*(m.matrices for m in manifests), strict=True)
    matrices = [Matrix(row[0].name, tuple(entry.rank for entry in row)) for row in ranks]
    changed = zip(*(m.others for m in manifests), strict=True)
    return Layout(
        experts=tuple(m.expert for m in manifests),
        matrices=tuple(matrix for matrix in matrices if any(matrix.ranks)),
        others=tuple(row[0].name for row in changed if any(entry.is_changed for entry in row)),
        form=form,
    )


def joint_basis(bases: Sequence[Basis], name: str) -> Joint:
    """Return the common factors of a matrix and every expert's core between them.

    Args:
        bases: of all experts, each with LoRA factors of the matrix.
        name: the matrix.
    """
    pairs = [tuple(factor.double() for factor in basis.factors(name)) for basis in bases]
    left, r_left = _orthonormal(torch.cat([us for us, _ in pairs], 1))
    right, r_right = _orthonormal(torch.cat([v for _, v in pairs], 1))
    cores = torch.zeros(len(bases), left.shape[1], left.shape[1], dtype=torch.float64)
    start = 0
    for k, (us, _) in enumerate(pairs):
        own = slice(start, start + us.shape[1])
        cores[k] = r_left[:, own] @ r_right[:, own].T
        start = own.stop
    return Joint(left, right, cores)


def _orthonormal(stacked: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return Q (rows, R) and T (R, R) with ``Q @ T = stacked`` (rows, R) and a diagonal of T that is not negative."""
    total = stacked.shape[1]
    q, t = torch.linalg.qr(stacked)
    signs = torch.where(t.diagonal() < 0, -1.0, 1.0).double()
    missing = total - len(signs)  # more directions than rows: the surplus has no part in any expert
    q = torch.nn.functional.pad(q * signs, (0, missing))
    return q, torch.nn.functional.pad(t * signs[:, None], (0, 0, 0, missing))


def expert_genomes(bases: Sequence[Basis], layout: Layout) -> list[Genome]:
    """Return the genome of every expert, in the order of their ids.

    In ``Core`` form the numbers come from a float64 QR whose last bit may depend on the machine: write them to the
    store once and read them from there where runs must repeat bit for bit.

    Args:
        bases: of all experts, in the layout's order.
        layout: of these bases.
    """
    if layout.form == "Gains":
        return [expert_genome(layout, k) for k in range(len(bases))]
    values = np.zeros((len(bases), layout.size), np.float32)
    for i, matrix in enumerate(layout.matrices):
        values[:, layout.core_of(i)] = joint_basis(bases, matrix.name).cores.reshape(len(bases), -1).numpy()
    coefficients = np.eye(len(bases), dtype=np.float32)[:, :, None] * np.ones(len(layout.others), np.float32)
    return [Genome(own, coefficients[k]) for k, own in enumerate(values)]
