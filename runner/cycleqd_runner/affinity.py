"""How close experts are to each other, measured on their task vectors, one tensor at a time.

LoRA experts are never made dense: <U1 V1, U2 V2> = tr((U2^T U1)(V1 V2^T)), products of rank times rank. What the
numbers mean is :mod:`cycleqd.affinity`'s knowledge; whether an expert can be merged at all is ``compatibility``'s.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import numpy.typing as npt
import torch

from cycleqd.affinity import Affinity, Pair
from cycleqd_runner import factors
from cycleqd_runner.basis import is_matrix
from cycleqd_runner.checkpoints import Checkpoint, require_finite
from cycleqd_runner.factorise import holds_full
from cycleqd_runner.lora import Adapter

LEADING = 16
"""Singular directions of a matrix that are compared, a usual rank of adapters: all directions of two full-rank matrices
span the same space, whatever they are."""

_SPARE = 8
"""Directions that the subspace iteration carries beside the leading ones, which settle the faster."""
_SWEEPS = 4
"""Multiplications by tau^T tau; 1 or 2 do where singular values decay (Halko et al., SIAM Review 53, 2011)."""


@dataclass(frozen=True)
class LowRank:
    """A task vector ``left @ right``.

    Attributes:
        left: (m, r) float64.
        right: (r, n) float64.
    """

    left: torch.Tensor
    right: torch.Tensor


TaskVector = LowRank | torch.Tensor
"""What an expert adds to one tensor of the base model: two factors, or all its numbers, float32."""


def measure(base: Checkpoint, experts: Mapping[str, Checkpoint | Adapter]) -> Affinity:
    """Compare experts that :func:`cycleqd_runner.compatibility.check` has accepted, two by two.

    Every weight is read once; in memory are one tensor of the base model and its task vectors.

    Args:
        base: the base model.
        experts: at least two, by name.

    Raises:
        BadModel: NaN or infinity in an expert, or a file that became shorter.
    """
    names, numbers = list(experts), range(len(experts))
    products, base_square = np.zeros((len(names), len(names))), 0.0
    likeness: dict[tuple[int, int], list[tuple[float, float]]] = {pair: [] for pair in combinations(numbers, 2)}
    for tensor in base.names:
        old = base.tensor(tensor)
        if not old.is_floating_point():
            continue
        base_square += float(torch.linalg.vector_norm(old, dtype=torch.float64)) ** 2
        vectors = [_task_vector(name, expert, tensor, old) for name, expert in experts.items()]
        products += _products(vectors)
        if is_matrix(tensor, tuple(old.shape)):
            for pair, found in _likeness(vectors).items():
                likeness[pair].append(found)
    products /= base_square
    pairs = [_pair((names[i], names[j]), products[np.ix_([i, j], [i, j])], found) for (i, j), found in likeness.items()]
    return Affinity(sizes=dict(zip(names, np.sqrt(products.diagonal()).tolist(), strict=True)), pairs=tuple(pairs))


def inner(first: TaskVector, second: TaskVector) -> float:
    """Return the inner product of two task vectors of one tensor; a low-rank one is not made dense."""
    if isinstance(first, torch.Tensor) and isinstance(second, torch.Tensor):
        return float((first * second).sum(dtype=torch.float64))
    if isinstance(first, torch.Tensor):
        return inner(second, first)
    if isinstance(second, torch.Tensor):
        return float((first.left * (second @ first.right.T.float())).sum())
    return float(((second.left.T @ first.left) * (second.right @ first.right.T)).sum())


def leading(vector: TaskVector) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the :data:`LEADING` singular values (k,) of a matrix, descending, and right singular vectors (n, k).

    Exact for factors, and where the smaller side has at most 24 rows; else by subspace iteration from a fixed start.
    """
    if isinstance(vector, LowRank):
        scaled, right = factors.low_rank(vector.left, vector.right)
        return scaled[:, :LEADING].norm(dim=0), right[:, :LEADING]
    count = min(LEADING + _SPARE, *vector.shape)
    q = torch.randn(vector.shape[1], count, generator=torch.Generator().manual_seed(0))
    for _ in range(_SWEEPS):
        q = torch.linalg.qr(vector.T @ (vector @ q))[0]
    _, scales, within = torch.linalg.svd(vector @ q, full_matrices=False)
    present = int((scales > scales[0] * max(vector.shape) * torch.finfo(scales.dtype).eps).sum())
    return scales[: min(LEADING, present)], (q @ within.T)[:, : min(LEADING, present)]


def _task_vector(name: str, expert: Checkpoint | Adapter, tensor: str, old: torch.Tensor) -> TaskVector | None:
    """Return what an expert adds to a tensor; None: nothing."""
    if holds_full(expert, tensor):
        new = require_finite(expert.tensor(tensor), tensor, f"expert {name}").to(old.dtype)
        return None if torch.equal(new, old) else new.float() - old.float()
    if isinstance(expert, Adapter) and tensor in expert.matrices:
        left, right = (require_finite(factor, tensor, f"expert {name}") for factor in expert.factors(tensor))
        return LowRank(left, right) if left.any() and right.any() else None
    return None


def _products(vectors: Sequence[TaskVector | None]) -> npt.NDArray[np.float64]:
    """Return the (n_experts, n_experts) inner products of the task vectors of a tensor."""
    found = np.zeros((len(vectors), len(vectors)))
    for i, one in enumerate(vectors):
        for j, two in enumerate(vectors[: i + 1]):
            if one is not None and two is not None:
                found[i, j] = found[j, i] = inner(one, two)
    return found


def _likeness(vectors: Sequence[TaskVector | None]) -> dict[tuple[int, int], tuple[float, float]]:
    """Return the cosine of the spectra and the overlap of the spans of each pair of experts that change a matrix.

    The overlap is the mean squared cosine of the principal angles between the spans of the right singular vectors.
    """
    known = {k: leading(vector) for k, vector in enumerate(vectors) if vector is not None}
    known = {k: found for k, found in known.items() if len(found[0])}  # factors may multiply to nothing
    likeness = {}
    for i, j in combinations(known, 2):
        (one, left), (two, right) = known[i], known[j]
        common = min(len(one), len(two))
        cosine = float(one[:common] @ two[:common] / (one.norm() * two.norm()))
        likeness[i, j] = cosine, float((left.T @ right).square().sum()) / common
    return likeness


def _pair(names: tuple[str, str], products: npt.NDArray[np.float64], likeness: list[tuple[float, float]]) -> Pair:
    """Return the comparison of two experts from the inner products (2, 2) of their task vectors, base's norm 1."""
    (one, both), (_, two) = products.tolist()
    spectra, overlap = np.mean(likeness, axis=0).tolist() if likeness else (None, None)
    return Pair(
        first=names[0],
        second=names[1],
        distance=float(np.sqrt(max(0.0, one + two - 2.0 * both))),
        cosine=both / float(np.sqrt(one * two)) if one * two > 0.0 else None,
        spectra=spectra,
        overlap=overlap,
    )
