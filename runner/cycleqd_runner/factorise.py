"""Writing the basis of one expert: every tensor is read once, checked, and reduced to its directions.

The arithmetic is in ``factors``, the compact form of the directions in ``householder``, what is written in ``basis``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from math import sqrt
from pathlib import Path

import torch

from cycleqd.errors import BadModel
from cycleqd.store.atomic import translate
from cycleqd_runner import factors, householder
from cycleqd_runner.basis import MANIFEST, BasisManifest, MatrixBasis, OtherTensor, is_matrix
from cycleqd_runner.checkpoints import Checkpoint, require_finite, sha256
from cycleqd_runner.lora import Adapter
from cycleqd_runner.memory import give_back
from cycleqd_runner.safetensors_writer import Planned, write_file

SHARD_BYTES = 64 << 20
"""A file is written when this much is there: large enough to transfer well, small enough to hold beside a matrix."""

_Tensors = dict[str, torch.Tensor]


def factorise(
    name: str,
    expert: Checkpoint | Adapter,
    base: Checkpoint,
    folder: Path,
    *,
    rank: int | None = None,
    device: torch.device | str = "cpu",
    on_tensor: Callable[[str], None] | None = None,
) -> BasisManifest:
    """Write the basis of an expert that :func:`cycleqd_runner.compatibility.check` has accepted.

    Args:
        name: the expert's name.
        expert: the expert.
        base: the base model.
        folder: created; an existing basis in it is overwritten.
        rank: at most so many directions of each full-rank matrix, None for all. Fewer make the basis smaller and the
            expert inexact; how much is lost, the manifest's ``kept`` tells, and each matrix' ``energy`` and ``error``.
        device: where matrices are factorised.
        on_tensor: told the name of each tensor when it is done.

    Raises:
        BadModel: NaN or infinity in the base or the expert, or a file that became shorter.
        NoSpace: the disk is full.
    """
    folder.mkdir(parents=True, exist_ok=True)
    writer = _Writer(folder)
    matrices: list[MatrixBasis] = []
    others: list[OtherTensor] = []
    for tensor in base.names:
        shape = base.shape(tensor)
        if not is_matrix(tensor, shape):
            others.append(OtherTensor(name=tensor, is_changed=_is_changed(name, expert, base, tensor)))
        else:
            if holds_full(expert, tensor):
                pair = _changed(name, expert, base, tensor)
                gram = None if pair is None else factors.gram(*pair, device)
                del pair
                entry, tensors = _full_rank(tensor, (shape[0], shape[1]), gram, rank)
                del gram
            elif isinstance(expert, Adapter) and tensor in expert.matrices:
                entry, tensors = _low_rank(name, tensor, expert, (shape[0], shape[1]))
            else:
                entry, tensors = MatrixBasis(name=tensor, shape=(shape[0], shape[1]), kind="Lora", rank=0), {}
            matrices.append(entry)
            writer.add(tensors)
            give_back()
        if on_tensor:
            on_tensor(tensor)
    manifest = BasisManifest(
        expert=name,
        kind="Full" if any(m.kind == "Full" for m in matrices) else "Lora",
        matrices=tuple(matrices),
        others=tuple(others),
        files=writer.close(),
        base=base.checksums,
        source=expert.checksums,
    )
    (folder / MANIFEST).write_text(manifest.model_dump_json(indent=1), encoding="utf-8")  # last: complete if present
    return manifest


def holds_full(expert: Checkpoint | Adapter, tensor: str) -> bool:
    """Return whether an expert stores all numbers of a tensor, rather than factors or nothing."""
    return isinstance(expert, Checkpoint) or tensor in expert.saved


def _changed(
    name: str, expert: Checkpoint | Adapter, base: Checkpoint, tensor: str
) -> tuple[torch.Tensor, torch.Tensor] | None:
    """Return the expert's and the base's tensor as they lie in their files, checked; None if they are equal."""
    shape = base.shape(tensor)
    old = require_finite(base.stored(tensor).mapped().view(shape), tensor, "base model")
    new = require_finite(expert.stored(tensor).mapped().view(shape), tensor, f"expert {name}")
    new = new.to(old.dtype)  # a no-op for checkpoints; PEFT keeps full tensors in another dtype at times
    return None if torch.equal(old, new) else (new, old)


def _is_changed(name: str, expert: Checkpoint | Adapter, base: Checkpoint, tensor: str) -> bool:
    if not holds_full(expert, tensor) or _changed(name, expert, base, tensor) is None:
        return False
    if not base.dtype(tensor).is_floating_point:
        raise BadModel(f"Expert {name} changes {tensor}, whole numbers that cannot be averaged: keep the base's.")
    return True


def _low_rank(name: str, tensor: str, expert: Adapter, shape: tuple[int, int]) -> tuple[MatrixBasis, _Tensors]:
    """Return the exact factors of a matrix that a LoRA adapter changes."""
    left, right = (require_finite(factor, tensor, f"expert {name}") for factor in expert.factors(tensor))
    scaled, v = factors.low_rank(left, right)
    rank = v.shape[1]
    tensors: _Tensors = {f"{tensor}.us": scaled.contiguous(), f"{tensor}.v": v.contiguous()}
    norm = float(scaled.double().norm())
    return MatrixBasis(name=tensor, shape=shape, kind="Lora", rank=rank, norm=norm), tensors if rank else {}


def _full_rank(
    tensor: str, shape: tuple[int, int], gram: torch.Tensor | None, rank: int | None
) -> tuple[MatrixBasis, _Tensors]:
    """Return the directions of the smaller side of a matrix, from its task vector's Gram matrix; None: no change."""
    if gram is None:
        return MatrixBasis(name=tensor, shape=shape, kind="Full", rank=0), {}
    found = factors.directions(gram, rank)
    stored = householder.encode(found.columns)
    error = 0.0
    if not found.is_exact:
        error = factors.residual(gram, householder.decode(stored, min(shape), torch.float64, gram.device))
    entry = MatrixBasis(
        name=tensor,
        shape=shape,
        kind="Full",
        rank=found.columns.shape[1],
        norm=sqrt(float(gram.trace())),
        energy=found.energy,
        error=error,
        is_exact=found.is_exact,
    )
    return entry, {f"{tensor}.high": stored.high, f"{tensor}.low": stored.low, f"{tensor}.scale": stored.scale}


@dataclass
class _Writer:
    """Collects tensors into files of about :data:`SHARD_BYTES`."""

    folder: Path
    pending: _Tensors = field(default_factory=dict)
    checksums: dict[str, str] = field(default_factory=dict)

    def add(self, tensors: _Tensors) -> None:
        self.pending.update(tensors)
        if sum(tensor.nbytes for tensor in self.pending.values()) >= SHARD_BYTES:
            self._flush()

    def close(self) -> dict[str, str]:
        if self.pending:
            self._flush()
        return self.checksums

    def _flush(self) -> None:
        file = self.folder / f"directions-{len(self.checksums):05d}.safetensors"
        plan = [Planned(name, tensor.dtype, tuple(tensor.shape)) for name, tensor in self.pending.items()]
        try:
            write_file(file, plan, self.pending.values())
        except OSError as error:
            raise translate(error, f"The basis file {file}") from error
        self.checksums[file.name] = sha256(file)
        self.pending.clear()
