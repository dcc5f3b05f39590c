"""What vLLM's workers do for us: make an individual's weights where the model lives. Runs inside vLLM's processes.

vLLM's own reloading puts weights in checkpoint form where the kernels want them: fused projections, shards of tensor
parallelism, packed formats. It takes whole layers only, so a fused projection of which one part changes is completed
from the base model.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from vllm.config import ModelConfig
from vllm.lora.lora_model import LoRAModel
from vllm.lora.peft_helper import PEFTHelper
from vllm.model_executor.layers.vocab_parallel_embedding import VocabParallelEmbedding
from vllm.model_executor.model_loader.reload.layerwise import (
    finalize_layerwise_reload,
    get_layerwise_info,
    initialize_layerwise_reload,
)
from vllm.platforms import current_platform

from cycleqd.errors import BadModel
from cycleqd_runner.checkpoints import LM_HEAD, Checkpoint
from cycleqd_runner.engines import vllm_adapters
from cycleqd_runner.engines.weights import Intake, checksum
from cycleqd_runner.individual import Individual

# Layers that keep their weights are nothing to warn of: most loads change some only.
logging.getLogger("vllm.model_executor.model_loader.reload.layerwise").setLevel(logging.ERROR)

vllm_adapters.install()  # every process of vLLM imports this module before it makes its layers


class Extension:
    """Methods that vLLM adds to its worker class (``worker_extension_cls``); called by ``collective_rpc``."""

    model_runner: Any
    cycleqd: LiveModel

    def cycleqd_open(self, folder: Path) -> None:
        """Get ready to replace weights of the checkpoint in ``folder``."""
        runner = self.model_runner
        self.cycleqd = LiveModel(runner.get_model(), runner.model_config, Checkpoint(folder))
        if current_platform.is_cpu():
            _draw_only_for_answers(runner)

    def cycleqd_load(self, weights: Iterable[tuple[str, Tensor]]) -> None:
        """Replace weights; see :meth:`cycleqd_runner.engines.contract.Engine.load`."""
        self.cycleqd.load(weights)

    def cycleqd_check(self) -> None:
        """Raise :class:`~cycleqd.errors.PermanentError` if the weights are torn."""
        self.cycleqd.intake.check()

    def cycleqd_checksum(self) -> str:
        """Return the SHA-256 (hex) of this worker's live weights."""
        return self.cycleqd.checksum()

    def cycleqd_clean(self) -> None:
        """Forget the numbers in the cache: whatever takes over blocks with NaN in them would break, too."""
        for cache in self.model_runner.kv_caches:
            cache.zero_()

    def cycleqd_serve(self, adapters: Mapping[int, Individual]) -> None:
        """Hold individuals as LoRA adapters under these numbers, in place of all that were held before."""
        self.model_runner.lora_manager.remove_all_adapters()
        manager = self.model_runner.lora_manager._adapter_manager  # noqa: SLF001 - its owner reads adapters from disk only
        for number, individual in adapters.items():
            manager.add_adapter(self._adapter(number, individual))
            manager.activate_adapter(number)

    def _adapter(self, number: int, individual: Individual) -> LoRAModel:
        tensors = individual.adapter()
        ranks = {name: len(tensor) for name, tensor in tensors.items() if ".lora_A." in name}
        rank = max(ranks.values())
        helper = PEFTHelper(r=rank, lora_alpha=rank, target_modules=[])
        lora = LoRAModel.from_lora_tensors(
            number, tensors, helper, device="cpu", dtype=self.model_runner.lora_config.lora_dtype
        )
        for layer in lora.loras.values():
            layer.scaling = 1.0  # whatever its rank: the factors are used as they are
        return lora


def _draw_only_for_answers(runner: Any) -> None:  # noqa: ANN401 - vLLM's, of one of several classes
    """Keep the generators of prompts that a step has only begun to read out of it.

    vLLM draws for them, too, and takes the draw back, which generators of CPUs cannot (RuntimeError).
    """
    sample, book = runner._sample, runner._bookkeeping_sync  # noqa: SLF001
    kept: dict[int, torch.Generator] = {}

    def sampled(*args: object) -> object:
        generators = runner.input_batch.generators
        unfinished = runner.discard_request_mask.np[: runner.input_batch.num_reqs].nonzero()[0].tolist()
        kept.update({row: generators.pop(row) for row in unfinished if row in generators})
        return sample(*args)

    def booked(*args: object) -> object:
        try:
            return book(*args)
        finally:
            runner.input_batch.generators.update(kept)
            kept.clear()

    runner._sample, runner._bookkeeping_sync = sampled, booked  # noqa: SLF001


class LiveModel:
    """A model of vLLM whose weights can be replaced.

    Attributes:
        intake: what may be loaded, and what a failed load has left.
    """

    def __init__(self, model: nn.Module, config: ModelConfig, base: Checkpoint) -> None:
        """``model``: made from ``base`` with vLLM's ``config``."""
        self.intake = Intake({name: base.shape(name) for name in base.names})
        self._model = model
        self._config = config
        self._base = base
        self._fused = _fused(base.names, getattr(model, "packed_modules_mapping", {}))
        # What is no longer the base's; None where it came by a stream that cannot be asked again.
        self._changed: dict[str, Tensor | None] = {}

    @torch.no_grad()
    def load(self, weights: Iterable[tuple[str, Tensor]]) -> None:
        """Replace weights in checkpoint form; others stay as they are.

        Raises:
            ~cycleqd.errors.BadModel: what does not fit, or a part of a fused projection whose other parts have been
                changed by an earlier load and do not come again.
        """
        given: set[str] = set()
        with self.intake.loading(weights) as checked:
            initialize_layerwise_reload(self._model)
            try:
                self._model.load_weights(self._completed(checked, _names(weights), given))  # type: ignore[operator]
            finally:
                halves = self._forget_halves()
                finalize_layerwise_reload(self._model, self._config)
            if halves:
                raise BadModel(
                    f"vLLM fuses the parameters of {', '.join(halves)} in a way that cycleqd does not know, and only "
                    "some of them were given; use the Transformers engine for this model."
                )
            self._renew_tied_head(given)
        self._changed |= dict(weights) if isinstance(weights, Sequence) else dict.fromkeys(given)

    def _completed(
        self, tensors: Iterable[tuple[str, Tensor]], coming: frozenset[str] | None, given: set[str]
    ) -> Iterator[tuple[str, Tensor]]:
        """Yield ``tensors``, and the parts of their fused projections that are not among them.

        Args:
            tensors: their names are added to ``given``.
            coming: all their names; None: unknown, so that projections can be completed at the end only.
            given: names so far.
        """
        completed: set[str] = set()
        for name, tensor in tensors:
            given.add(name)
            yield name, tensor
            if coming is not None:
                yield from self._other_parts(name, coming, completed)
        for name in given if coming is None else ():
            yield from self._other_parts(name, given, completed)

    def _other_parts(self, name: str, given: AbstractSet[str], completed: set[str]) -> Iterator[tuple[str, Tensor]]:
        for part in self._fused.get(name, ()):
            if part in given or part in completed:
                continue
            own = self._changed[part] if part in self._changed else self._base.tensor(part)
            if own is None:
                raise BadModel(
                    f"Parameter {name!r} came without {part!r}, which shares a matrix with it in vLLM and was "
                    "changed before; give both."
                )
            completed.add(part)
            yield part, own

    def _forget_halves(self) -> list[str]:
        """Keep the old weights of layers of which not everything came; return their names."""
        halves = []
        for name, layer in self._model.named_modules():
            info = get_layerwise_info(layer)
            is_half = info.can_load() and 0 < info.load_numel < info.load_numel_total
            if is_half and not isinstance(layer, VocabParallelEmbedding):  # whose padding never comes
                halves.append(name)
                info.loaded_weights.clear()
                info.load_numel = 0
        return halves

    def _renew_tied_head(self, given: set[str]) -> None:
        """Pack the output head again where it is a packed copy of the input embeddings (CPUs)."""
        head = getattr(self._model, "lm_head", None)
        tied = LM_HEAD not in self.intake.names and hasattr(head, "quant_method")
        if tied and current_platform.is_cpu() and any("embed" in name for name in given):
            head.quant_method.process_weights_after_loading(head)  # type: ignore[union-attr]

    @torch.no_grad()
    def checksum(self) -> str:
        """Return the SHA-256 (hex) of names, dtypes, shapes and values of the live weights."""
        return checksum((name, self._live(name, weight)) for name, weight in sorted(self._model.named_parameters()))

    def _live(self, name: str, weight: Tensor) -> Tensor:
        """Return a parameter's values; those of a packed layer are read through the layer itself."""
        if weight.numel():
            return weight
        layer: Any = self._model.get_submodule(name.rpartition(".")[0])
        unit = torch.eye(layer.input_size_per_partition, dtype=weight.dtype, device=weight.device)
        values: Tensor = layer.quant_method.apply(layer, unit, None)
        return values.T


def _names(weights: Iterable[tuple[str, Tensor]]) -> frozenset[str] | None:
    """Return the names that will come, where they are known before."""
    if isinstance(weights, Individual):
        return weights.names
    return frozenset(name for name, _ in weights) if isinstance(weights, Sequence) else None


class _Part(NamedTuple):
    """Where a parameter lies: the fused module, or its own, and the rest of its name."""

    module: str
    parameter: str


def _fused(names: Iterable[str], packed: Mapping[str, list[str]]) -> dict[str, tuple[str, ...]]:
    """Return the other parts of the fused projection that each parameter of one belongs to."""
    fused_name = {part: whole for whole, parts in packed.items() if len(parts) > 1 for part in parts}
    groups: dict[_Part, list[str]] = {}
    for name in names:
        path, _, parameter = name.rpartition(".")
        parent, _, module = path.rpartition(".")
        if module in fused_name:
            groups.setdefault(_Part(f"{parent}.{fused_name[module]}", parameter), []).append(name)
    return {name: tuple(other for other in group if other != name) for group in groups.values() for name in group}
