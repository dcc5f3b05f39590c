"""The basis of an expert: what is computed once so that every child is a few numbers (design section 3).

A folder with a manifest and the singular directions of each weight matrix: a LoRA expert's are ``U S`` and ``V``
themselves, a full checkpoint's are ``V`` of the smaller side, because its task vector is read from the checkpoint
whenever a child is made. ``factorise`` writes it, :class:`Basis` reads it back. Combining experts is ``layouts``' work,
making weights ``materialise``'s.
"""

from __future__ import annotations

from math import sqrt
from pathlib import Path
from typing import Literal

import torch
from pydantic import BaseModel, ConfigDict, ValidationError, computed_field

from cycleqd.errors import BadData, BadModel
from cycleqd.kept import Kept
from cycleqd_runner import householder
from cycleqd_runner.checkpoints import TensorSource, sha256
from cycleqd_runner.safetensors_file import Stored, read_header

MANIFEST = "manifest.json"
_MATRIX_DIMENSIONS = 2

Kind = Literal["Full", "Lora"]


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore", use_attribute_docstrings=True)


class MatrixBasis(_Frozen):
    """One weight matrix."""

    name: str
    shape: tuple[int, int]
    kind: Kind
    """``Lora``: both factors are stored; ``Full``: directions of the smaller side, times the task vector."""
    rank: int
    """Directions; 0: the expert leaves the matrix alone."""
    norm: float = 0.0
    """Frobenius norm of the task vector."""
    energy: float = 1.0
    """Share of the task vector's squared norm within the directions, in [0, 1]."""
    error: float = 0.0
    """What the expert itself loses: ``|tau - tau V V^T| / |tau|``, measured with V as it is stored; 0 if exact."""
    is_exact: bool = True
    """Whether all gains equal to 1 give the expert's matrix back."""


class OtherTensor(_Frozen):
    """A tensor that is not factorised: a vector, a norm, anything that is not a matrix."""

    name: str
    is_changed: bool


class BasisManifest(_Frozen):
    """What an expert's basis consists of. Matrices and others are those of the base model, in its order."""

    version: Literal[1] = 1
    expert: str
    kind: Kind
    """``Lora`` if every matrix is."""
    matrices: tuple[MatrixBasis, ...]
    others: tuple[OtherTensor, ...]
    files: dict[str, str]
    """SHA-256 of each file of directions."""
    base: dict[str, str]
    """SHA-256 of each weight file of the base model."""
    source: dict[str, str]
    """SHA-256 of each file of the expert."""

    @computed_field  # type: ignore[prop-decorator]  # stands in the file, for those who read no more of it
    @property
    def kept(self) -> Kept:
        """What the directions of all matrices together keep."""
        squares = [entry.norm**2 for entry in self.matrices]
        if not sum(squares):
            return Kept()
        energy = sum(square * entry.energy for square, entry in zip(squares, self.matrices, strict=True))
        lost = sum(square * entry.error**2 for square, entry in zip(squares, self.matrices, strict=True))
        return Kept(energy=energy / sum(squares), error=sqrt(lost / sum(squares)))


def is_matrix(name: str, shape: tuple[int, ...]) -> bool:
    """Return whether a tensor is mutated direction by direction: 2-D and not a norm (design section 2)."""
    return len(shape) == _MATRIX_DIMENSIONS and "norm" not in name.lower()


class Basis:
    """An expert's basis on disk, and where its full tensors are.

    Attributes:
        manifest: what there is.
        folder: where it is.
    """

    def __init__(self, folder: Path, source: TensorSource | None = None, *, verify: bool = False) -> None:
        """Open the basis in ``folder``.

        Args:
            folder: what :func:`factorise` wrote.
            source: the expert; a LoRA expert without ``modules_to_save`` does not need one.
            verify: compare the SHA-256 of every file, as after a download.

        Raises:
            BadData: no manifest, a file missing, truncated or different.
        """
        self.folder = folder
        self._source = source
        try:
            self.manifest = BasisManifest.model_validate_json((folder / MANIFEST).read_bytes())
        except (OSError, ValidationError) as error:
            raise BadData(
                f"The basis {folder} cannot be read ({error}): delete it and prepare the expert again."
            ) from error
        self._stored: dict[str, Stored] = {}
        for file, checksum in self.manifest.files.items():
            try:
                self._stored |= read_header(folder / file)
                is_same = not verify or sha256(folder / file) == checksum
            except BadModel as error:
                raise BadData(
                    f"The basis of {self.expert} is damaged: delete {folder} and prepare it again."
                ) from error
            if not is_same:
                raise BadData(f"The basis file {folder / file} has another checksum than its manifest: copy it again.")
        self._matrices = {m.name: m for m in self.manifest.matrices}

    @property
    def expert(self) -> str:
        """The expert's name."""
        return self.manifest.expert

    @property
    def nbytes(self) -> int:
        """Bytes of all stored directions."""
        return sum(stored.nbytes for stored in self._stored.values())

    def matrix(self, name: str) -> MatrixBasis:
        """Return what is known of a matrix."""
        return self._matrices[name]

    def directions(
        self, name: str, dtype: torch.dtype = torch.float32, device: torch.device | str = "cpu"
    ) -> torch.Tensor:
        """Return the (min(m, n), rank) singular directions of a ``Full`` matrix, each up to its sign."""
        high, low, scale = (self._stored[f"{name}.{part}"].read() for part in ("high", "low", "scale"))
        return householder.decode(
            householder.Reflections(high, low, scale), min(self.matrix(name).shape), dtype, device
        )

    def factors(self, name: str) -> tuple[torch.Tensor, torch.Tensor]:
        """Return ``U S`` (m, rank) and ``V`` (n, rank) of a ``Lora`` matrix, float32."""
        entry = self.matrix(name)
        if entry.rank == 0:
            return torch.zeros(entry.shape[0], 0), torch.zeros(entry.shape[1], 0)
        return self._stored[f"{name}.us"].read(), self._stored[f"{name}.v"].read()

    def stored(self, name: str) -> Stored:
        """Return where the expert's own full tensor lies.

        Raises:
            BadData: the basis was opened without the expert.
        """
        if self._source is None:
            raise BadData(f"The tensor {name} of expert {self.expert} is needed but only its basis is here: fetch it.")
        return self._source.stored(name)

    def tensor(self, name: str) -> torch.Tensor:
        """Return the expert's own full tensor. Raises what :meth:`stored` does."""
        return self.stored(name).read()
