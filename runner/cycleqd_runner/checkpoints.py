"""Hugging Face checkpoints: a folder with config.json and safetensors, read tensor by tensor.

Whether two checkpoints fit together is ``compatibility``'s question; where a folder comes from is ``models_source``'s.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

import torch

from cycleqd.errors import BadModel, near_misses
from cycleqd_runner.safetensors_file import Stored, read_header

INDEX = "model.safetensors.index.json"
SINGLE = "model.safetensors"
LM_HEAD = "lm_head.weight"

_PIECE = 1 << 20
"""Numbers that are checked at a time."""


class TensorSource(Protocol):
    """Something that knows full tensors by their checkpoint name."""

    def tensor(self, name: str) -> torch.Tensor:
        """Return the tensor on the CPU, in its stored dtype."""
        ...

    def stored(self, name: str) -> Stored:
        """Return where the tensor lies."""
        ...


class Checkpoint:
    """A model on disk. Opening reads the headers of the shards only.

    Attributes:
        folder: where it is.
        config: config.json.
        names: parameter names in the order of the files. Tied output embeddings are not among them, whether or not
            the files contain a copy, because whoever loads the checkpoint ties them again.
    """

    def __init__(self, folder: Path) -> None:
        """Open the checkpoint in ``folder``.

        Raises:
            BadModel: folder, config.json, index or a shard missing, a shard truncated, a tensor absent from its shard.
        """
        if not folder.is_dir():
            raise BadModel(f"There is no model folder {folder}: correct the uri or copy the model there.")
        self.folder = folder
        self.config: Mapping[str, Any] = read_json(folder / "config.json")
        self._stored = _stored_tensors(folder)
        if self.config.get("tie_word_embeddings") is True and len(self._stored) > 1:
            self._stored.pop(LM_HEAD, None)
        self.names: tuple[str, ...] = tuple(self._stored)

    def __contains__(self, name: object) -> bool:
        return name in self._stored

    def shape(self, name: str) -> tuple[int, ...]:
        """Return the shape of a tensor."""
        return self.stored(name).shape

    def dtype(self, name: str) -> torch.dtype:
        """Return the dtype in which a tensor is stored."""
        return self.stored(name).dtype

    def tensor(self, name: str) -> torch.Tensor:
        """Return a tensor in memory of its own, on the CPU, in its stored dtype.

        Raises:
            BadModel: no such tensor, or the file became shorter since it was opened.
        """
        return self.stored(name).read()

    @property
    def nbytes(self) -> int:
        """Bytes of all tensors."""
        return sum(stored.nbytes for stored in self._stored.values())

    @property
    def files(self) -> tuple[Path, ...]:
        """The safetensors files, sorted."""
        return tuple(sorted({stored.file for stored in self._stored.values()}))

    @cached_property
    def checksums(self) -> dict[str, str]:
        """SHA-256 of each safetensors file by its name; read once (about 1 GB/s)."""
        return {file.name: sha256(file) for file in self.files}

    def stored(self, name: str) -> Stored:
        """Return where a tensor lies.

        Raises:
            BadModel: no such tensor.
        """
        try:
            return self._stored[name]
        except KeyError as error:
            raise BadModel(f"The model {self.folder} has no tensor {name}{near_misses(name, self.names)}.") from error


def _stored_tensors(folder: Path) -> dict[str, Stored]:
    """Return every tensor of a folder, following the index where there is one."""
    if (folder / INDEX).is_file():
        weights = read_json(folder / INDEX).get("weight_map")
        if not isinstance(weights, dict) or not weights:
            raise BadModel(f"The index {folder / INDEX} has no weight_map: copy the checkpoint again.")
        shards = {shard: _shard(folder, shard) for shard in sorted(set(weights.values()))}
        for name, shard in weights.items():
            if name not in shards[shard]:
                raise BadModel(f"The index {folder / INDEX} says that {name} is in {shard}, which lacks it.")
        return {name: entry for shard, found in shards.items() for name, entry in found.items() if name in weights}
    if (folder / SINGLE).is_file():
        return read_header(folder / SINGLE)
    if any(folder.glob("pytorch_model*.bin")):
        raise BadModel(f"The model {folder} has pickled weights only: save it with save_pretrained as safetensors.")
    raise BadModel(f"The model {folder} has neither {SINGLE} nor {INDEX}: copy its weights there.")


def _shard(folder: Path, shard: str) -> dict[str, Stored]:
    if not (folder / shard).is_file():
        raise BadModel(f"The shard {shard} that {folder / INDEX} names is missing: copy it into {folder}.")
    return read_header(folder / shard)


def read_json(file: Path) -> dict[str, Any]:
    """Return the object in a JSON file of a model folder.

    Raises:
        BadModel: missing, or not a JSON object.
    """
    try:
        value = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise BadModel(f"The model {file.parent} has no {file.name}: copy the whole folder.") from error
    except ValueError as error:
        raise BadModel(f"The file {file} is not valid JSON ({error}): copy it again.") from error
    if not isinstance(value, dict):
        raise BadModel(f"The file {file} must hold a JSON object, got {type(value).__name__}: copy it again.")
    return value


def sha256(file: Path) -> str:
    """Return the SHA-256 of a file as hexadecimal digits."""
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def require_finite(tensor: torch.Tensor, name: str, model: str) -> torch.Tensor:
    """Return ``tensor`` if all its numbers are finite.

    Args:
        tensor: any shape and dtype.
        name: its parameter name, for the message.
        model: ``base model`` or ``expert NAME``, for the message.

    Raises:
        BadModel: a NaN or an infinity.
    """
    if tensor.is_floating_point():  # in pieces, because isfinite takes twice the memory of what it looks at
        bad = sum(piece.numel() - int(torch.isfinite(piece).sum()) for piece in torch.split(tensor.flatten(), _PIECE))
        if bad:
            raise BadModel(
                f"The {model} has {bad} NaN or infinite numbers among the {tensor.numel()} of {name}: "
                "a checkpoint must be finite; train or convert it again."
            )
    return tensor
