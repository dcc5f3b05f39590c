"""PEFT LoRA adapters: exact low-rank factors of each matrix, under the base checkpoint's parameter names.

An adapter is read so that ``W_expert = W0 + left @ right`` holds exactly; what cannot be written like that (DoRA,
biases, weights that were changed at initialisation) is refused by name. Writing adapters is ``export``'s work.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from math import sqrt
from pathlib import Path
from typing import Any

import torch

from cycleqd.errors import BadModel, near_misses
from cycleqd_runner.checkpoints import read_json, sha256
from cycleqd_runner.safetensors_file import Stored, read_header

CONFIG = "adapter_config.json"
WEIGHTS = "adapter_model.safetensors"
PREFIX = "base_model.model."
"""What PEFT puts in front of the base model's module names."""

_MATRIX_DIMENSIONS = 2
_LINEAR = (".lora_A.weight", ".lora_B.weight")
_EMBEDDING = (".lora_embedding_A", ".lora_embedding_B")

_UNSUPPORTED = {
    "use_dora": "DoRA",
    "fan_in_fan_out": "fan_in_fan_out (transposed Conv1D weights)",
    "lora_bias": "lora_bias",
    "layer_replication": "layer replication",
    "alora_invocation_tokens": "activated LoRA",
    "trainable_token_indices": "trainable tokens",
    "target_parameters": "target_parameters",
    "use_qalora": "QALoRA",
    "use_bdlora": "block-diagonal LoRA",
    "arrow_config": "Arrow routing",
    "kasa_config": "KaSA",
    "velora_config": "VeLoRA",
    "monteclora_config": "MonteCLoRA",
    "megatron_config": "Megatron layers",
}
"""Settings under which the adapter is not W0 + scaling B A, and their names."""

_PLAIN_STARTS = (True, False, None, "gaussian", "orthogonal", "eva")
"""``init_lora_weights`` that leave the base weights alone; PiSSA, OLoRA, CorDA and LoftQ rewrite them."""


@dataclass(frozen=True)
class _Pair:
    """The two stored factors of one module."""

    a: Stored
    b: Stored
    scaling: float
    is_embedding: bool


class Adapter:
    """A LoRA adapter on disk. Opening reads its headers only.

    Attributes:
        folder: where it is.
        config: adapter_config.json.
        matrices: base parameter names that have low-rank factors, in the order of the file.
        saved: base parameter names of ``modules_to_save``: full tensors that replace the base's.
        copies: base parameter names of base weights that PEFT saved along (embeddings, when they are adapted): they
            must be the base's own.
    """

    def __init__(self, folder: Path) -> None:
        """Open the adapter in ``folder``.

        Raises:
            BadModel: files missing or truncated, or something that is not exactly W0 + scaling B A.
        """
        self.folder = folder
        self.config: Mapping[str, Any] = read_json(folder / CONFIG)
        _refuse_unsupported(folder, self.config)
        if not (folder / WEIGHTS).is_file():
            raise BadModel(f"The adapter {folder} has no {WEIGHTS}: save it with save_pretrained as safetensors.")
        stored = read_header(folder / WEIGHTS)
        self._pairs = _pairs(folder, self.config, stored)
        factors = {entry for pair in self._pairs.values() for entry in (pair.a, pair.b)}
        full = {_base_name(folder, key): entry for key, entry in stored.items() if entry not in factors}
        self._copies = {name: full.pop(name) for name in self._pairs if name in full}
        self._saved = full
        self.matrices: tuple[str, ...] = tuple(self._pairs)
        self.saved: tuple[str, ...] = tuple(self._saved)
        self.copies: tuple[str, ...] = tuple(self._copies)

    @staticmethod
    def is_at(folder: Path) -> bool:
        """Return whether ``folder`` holds an adapter and not a full checkpoint."""
        return (folder / CONFIG).is_file()

    def shape(self, name: str) -> tuple[int, ...]:
        """Return the shape of the base tensor that ``name`` must have."""
        if name in self._saved:
            return self._saved[name].shape
        pair = self._pairs[name]
        shape = pair.b.shape[0], pair.a.shape[1]
        return shape[::-1] if pair.is_embedding else shape

    def factors(self, name: str) -> tuple[torch.Tensor, torch.Tensor]:
        """Return ``left (m, r)`` and ``right (r, n)``, float64, with ``task vector = left @ right``.

        The scaling (alpha / r, or alpha / sqrt(r) with rsLoRA) is in ``left``.
        """
        pair = self._pairs[name]
        a, b = pair.a.read().double(), pair.b.read().double()
        return (a.T * pair.scaling, b.T) if pair.is_embedding else (b * pair.scaling, a)

    def tensor(self, name: str) -> torch.Tensor:
        """Return a full tensor of ``modules_to_save``, on the CPU, as stored. Raises what :meth:`stored` does."""
        return self.stored(name).read()

    def stored(self, name: str) -> Stored:
        """Return where a full tensor of ``modules_to_save`` lies.

        Raises:
            BadModel: the adapter replaces no tensor of this name.
        """
        try:
            return self._saved[name]
        except KeyError as error:
            known = near_misses(name, self.saved) if self.saved else ""
            raise BadModel(f"The adapter {self.folder} has no full tensor {name}{known}.") from error

    def copy(self, name: str) -> torch.Tensor:
        """Return a base weight that was saved along, on the CPU, in its stored dtype."""
        return self._copies[name].read()

    @property
    def nbytes(self) -> int:
        """Bytes of all tensors of the file."""
        pairs = sum(pair.a.nbytes + pair.b.nbytes for pair in self._pairs.values())
        return pairs + sum(entry.nbytes for entry in (*self._saved.values(), *self._copies.values()))

    @cached_property
    def checksums(self) -> dict[str, str]:
        """SHA-256 of the files that determine the expert."""
        return {name: sha256(self.folder / name) for name in (CONFIG, WEIGHTS)}


def _refuse_unsupported(folder: Path, config: Mapping[str, Any]) -> None:
    kind = config.get("peft_type")
    if kind != "LORA":
        raise BadModel(f"The adapter {folder} is of PEFT type {kind}, only LORA is supported: merge it into its base.")
    found = [label for key, label in _UNSUPPORTED.items() if config.get(key)]
    if config.get("bias", "none") != "none":
        found.append(f"bias {config['bias']}")
    if config.get("init_lora_weights", True) not in _PLAIN_STARTS:
        found.append(f"initialisation {config['init_lora_weights']}, which changes the base weights,")
    if found:
        raise BadModel(
            f"The adapter {folder} uses {' and '.join(found)}, which is not a plain low-rank update: "
            "merge it into its base and give the full checkpoint."
        )


def _pairs(folder: Path, config: Mapping[str, Any], stored: Mapping[str, Stored]) -> dict[str, _Pair]:
    pairs = {}
    for key, entry in stored.items():
        if "lora_magnitude" in key or key.endswith((".lora_B.bias", ".lora_embedding_B.bias")):
            raise BadModel(f"The adapter {folder} has {key}, which is not a low-rank factor: give a full checkpoint.")
        for first, second in (_LINEAR, _EMBEDDING):
            if key.endswith(second) and key.removesuffix(second) + first not in stored:
                raise BadModel(f"The adapter {folder} has {key} but not its {first}: copy it again.")
            if not key.endswith(first):
                continue
            module = key.removesuffix(first)
            other = stored.get(module + second)
            if other is None or not _multiply(other.shape, entry.shape):
                got = list(other.shape) if other else "nothing"
                raise BadModel(
                    f"The adapter {folder} pairs {key} {list(entry.shape)} with {got}: expected (r, n) and (m, r)."
                )
            name = _base_name(folder, module + ".weight")
            scaling = _scaling(config, name.removesuffix(".weight"), entry.shape[0])
            pairs[name] = _Pair(entry, other, scaling, first is _EMBEDDING[0])
    return pairs


def _multiply(b: tuple[int, ...], a: tuple[int, ...]) -> bool:
    """Return whether B and A are matrices whose product exists."""
    return len(a) == len(b) == _MATRIX_DIMENSIONS and b[1] == a[0]


def _base_name(folder: Path, key: str) -> str:
    name = key.removeprefix(PREFIX)
    if name == key or ".lora_" in name:
        raise BadModel(f"The adapter {folder} has a tensor {key} of unknown meaning: give a full checkpoint instead.")
    return name.replace(".base_layer.", ".")


def _scaling(config: Mapping[str, Any], module: str, rank: int) -> float:
    """Return the factor of B A as PEFT computes it, from the alpha of the first pattern that matches the module."""
    alpha = float(config.get("lora_alpha") or 0)
    for pattern, value in (config.get("alpha_pattern") or {}).items():
        if re.match(rf"(.*\.)?({pattern})$", module):
            alpha = float(value)
            break
    return alpha / sqrt(rank) if config.get("use_rslora") else alpha / rank
