"""Which layer of vLLM's model each tensor of a checkpoint goes to: vLLM's own loading code is asked, without numbers.

vLLM renames tensors, fuses projections and skips what it knows not to need, each model in its own way. All of that is
in the model's ``load_weights``. It is run once, on tensors without contents, and whatever it would write is noted down
instead. So it is known before the first child which tensors have to come together, and which would be lost.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import wraps
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import MODEL_FOR_CAUSAL_LM_MAPPING, PretrainedConfig
from vllm.config import ModelConfig
from vllm.config.load import LoadConfig
from vllm.model_executor.model_loader import DefaultModelLoader, register_model_loader
from vllm.model_executor.model_loader.reload.meta import SKIP_LOAD_TENSORS
from vllm.model_executor.model_loader.reload.utils import get_layer_tensors
from vllm.model_executor.models.utils import AutoWeightsLoader

from cycleqd.errors import BadModel
from cycleqd_runner.checkpoints import Checkpoint

LOAD_FORMAT = "cycleqd"
"""What vLLM is told (its ``load_format``) so that it loads with :class:`Loader`."""

_CANNOT_PLACE = (ValueError, KeyError, AttributeError, IndexError)
"""What vLLM's models raise for a name that they do not know."""


@dataclass(frozen=True)
class Routes:
    """Where a checkpoint's tensors go.

    Attributes:
        layers: for each tensor that vLLM takes, the modules that it, or a part of it, goes to; at least one.
        unknown: tensors that it refuses, or loses without a word, and that are no constants or copies.
        missing: parameters that share a layer with tensors of the checkpoint and come from none of them.
    """

    layers: Mapping[str, frozenset[str]]
    unknown: tuple[str, ...]
    missing: tuple[str, ...]

    def beside(self) -> dict[str, tuple[str, ...]]:
        """Return, for each tensor, the others that share a layer with it."""
        members: dict[str, list[str]] = {}
        for name, layers in self.layers.items():
            for layer in layers:
                members.setdefault(layer, []).append(name)
        return {
            name: tuple(dict.fromkeys(other for layer in sorted(own) for other in members[layer] if other != name))
            for name, own in self.layers.items()
        }

    def require_all(self, folder: Path) -> None:
        """Raise :class:`~cycleqd.errors.BadModel` if anything has no place; the message names all of it."""
        if self.unknown:
            raise BadModel(
                f"vLLM cannot use the model in {folder}, because its model of this architecture has no place for "
                f"{len(self.unknown)} of the parameters: {', '.join(self.unknown)}; use the Transformers engine for it."
            )
        if self.missing:
            raise BadModel(
                f"vLLM cannot use the model in {folder}, because its model of this architecture has parameters that "
                f"the checkpoint lacks: {', '.join(self.missing)}; use the Transformers engine for it."
            )


def routes(model: nn.Module, config: PretrainedConfig, base: Checkpoint) -> Routes:
    """Ask vLLM's ``model``, before anything was loaded into it, where the tensors of ``base`` go."""
    reached: dict[str, set[tuple[str, str]]] = {name: set() for name in base.names}
    refused: list[str] = []
    current: list[str] = []

    def tensors() -> Iterator[tuple[str, Tensor]]:
        for name in base.names:
            if name not in refused:
                current[:] = [name]
                yield name, torch.empty(base.shape(name), dtype=base.dtype(name), device="meta")
        current.clear()

    def note(place: tuple[str, str]) -> None:
        reached[current[0]].add(place)

    with _noting(model, note):
        while True:  # until nothing is left that it refuses
            try:
                model.load_weights(tensors())  # type: ignore[operator]  # a method of vLLM's models
            except _CANNOT_PLACE:
                if not current:
                    raise
                refused.append(current[0])
            else:
                break
    lost = {name for name in base.names if not reached[name]}
    return Routes(
        {name: frozenset(layer for layer, _ in places) for name, places in reached.items() if places},
        tuple(name for name in base.names if name in lost - _unneeded(lost, model, config)),
        tuple(_missing(model, {place for places in reached.values() for place in places})),
    )


@contextmanager
def _noting(model: nn.Module, note: Callable[[tuple[str, str]], None]) -> Iterator[None]:
    """Have the model's tensors tell, in place of being loaded, which they are: their module and their name there."""
    own = {id(tensor): tensor for module in model.modules() for tensor in get_layer_tensors(module).values()}
    loaders = {key: getattr(tensor, "weight_loader", None) for key, tensor in own.items()}
    places: dict[int, tuple[str, str]] = {}
    for path, module in model.named_modules():
        for name, tensor in get_layer_tensors(module).items():
            places.setdefault(id(tensor), (path, name))  # tied ones are those of their first module
    for key, tensor in own.items():
        tensor.weight_loader = _noted(places[key], note, loaders[key])
    try:
        yield
    finally:
        for key, tensor in own.items():
            if loaders[key] is None:
                del tensor.weight_loader
            else:
                tensor.weight_loader = loaders[key]


def _noted(
    place: tuple[str, str], note: Callable[[tuple[str, str]], None], loader: Callable[..., object] | None
) -> Callable[..., bool]:
    def noted(*_: object, **__: object) -> bool:
        note(place)
        return True  # as loaders of experts say that they took it

    return wraps(loader)(noted) if loader else noted


def _missing(model: nn.Module, reached: set[tuple[str, str]]) -> Iterator[str]:
    shared = {layer for layer, _ in reached}
    for layer, module in model.named_modules():
        for name in get_layer_tensors(module) if layer in shared else ():
            if (layer, name) not in reached and name not in SKIP_LOAD_TENSORS:
                yield f"{layer}.{name}"


def _unneeded(names: Iterable[str], model: nn.Module, config: PretrainedConfig) -> set[str]:
    """Return those that are copies of tied parameters, old constants, or that Transformers leaves out, too."""
    tied = dict(model.named_parameters(remove_duplicate=False))
    constants = AutoWeightsLoader.REMOVE_UNUSED_ROTARY_EMBEDS_MAPPER
    own: Any = MODEL_FOR_CAUSAL_LM_MAPPING.get(type(config), None)
    patterns = getattr(own, "_keys_to_ignore_on_load_unexpected", None) or ()
    return {
        name
        for name in names
        if name in tied or constants.map_name(name) is None or any(re.search(pattern, name) for pattern in patterns)
    }


@register_model_loader(LOAD_FORMAT)
class Loader(DefaultModelLoader):  # type: ignore[misc]  # vLLM's classes have no types
    """vLLM's loader of safetensors. What has no place is left out: who opens the engine refuses it as a whole."""

    def __init__(self, load_config: LoadConfig) -> None:
        super().__init__(replace(load_config, load_format="safetensors"))
        self._routes = Routes({}, (), ())

    def load_weights(self, model: nn.Module, model_config: ModelConfig) -> None:
        """Load the checkpoint, and leave the model's :class:`Routes` in its attribute ``cycleqd_routes``."""
        self._routes = routes(model, model_config.hf_config, Checkpoint(Path(model_config.model)))
        model.cycleqd_routes = self._routes  # type: ignore[assignment]  # modules are typed to hold tensors
        super().load_weights(model, model_config)

    def get_all_weights(self, model_config: ModelConfig, model: nn.Module) -> Iterator[tuple[str, Tensor]]:
        """Give the checkpoint's tensors."""
        for name, tensor in super().get_all_weights(model_config, model):
            if name not in self._routes.unknown:
                yield name, tensor

    def track_weights_loading(self, model: nn.Module, loaded_weights: set[str] | None, quantized: bool = False) -> None:
        """Miss parameters that did not come, where that is not known already."""
        if not self._routes.unknown:
            super().track_weights_loading(model, loaded_weights, quantized)
