"""What vLLM's workers do for us: make an individual's weights where the model lives. Runs inside vLLM's processes.

vLLM's own reloading puts weights in checkpoint form where the kernels want them: fused projections, shards of tensor
parallelism, packed formats. It takes whole layers only, so a layer of which one part changes (a fused projection, a
matrix with a bias) is completed from the base model.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from contextlib import ExitStack, contextmanager, suppress
from itertools import chain
from pathlib import Path
from typing import Any

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
from cycleqd_runner.engines import vllm_adapters, vllm_cache
from cycleqd_runner.engines.vllm_calls import called
from cycleqd_runner.engines.vllm_routes import Routes
from cycleqd_runner.engines.weights import Intake, checksum
from cycleqd_runner.individual import Individual

# Layers that keep their weights are nothing to warn of: most loads change some only.
logging.getLogger("vllm.model_executor.model_loader.reload.layerwise").setLevel(logging.ERROR)

# Every process of vLLM imports this module before it makes its layers.
vllm_adapters.install()
vllm_cache.install()


class _Unfinished(Exception):
    """A load that will not come to its end."""


class Extension:
    """Methods that vLLM adds to its worker class (``worker_extension_cls``); called by :func:`~.vllm_calls.call`."""

    model_runner: Any
    cycleqd: LiveModel

    @called
    def cycleqd_open(self, folder: Path) -> None:
        """Get ready to replace weights of the checkpoint in ``folder``; see :meth:`Routes.require_all`."""
        runner = self.model_runner
        model = runner.get_model()
        model.cycleqd_routes.require_all(folder)
        self.cycleqd = LiveModel(model, runner.model_config, Checkpoint(folder), model.cycleqd_routes)
        if current_platform.is_cpu():
            _draw_only_for_answers(runner)

    @called
    def cycleqd_load(self, weights: Iterable[tuple[str, Tensor]]) -> None:
        """Replace weights; see :meth:`cycleqd_runner.engines.contract.Engine.load`."""
        self.cycleqd.load(weights)

    @called
    def cycleqd_begin(self) -> None:
        """Begin to replace weights that come part by part, whose names are not known before."""
        with ExitStack() as stack:
            take = stack.enter_context(self.cycleqd.loading(None))
            self._load = stack.pop_all(), take

    @called
    def cycleqd_take(self, part: Sequence[tuple[str, Tensor]]) -> None:
        """Replace the next part of the weights."""
        stack, take = self._load
        with stack.pop_all() as own:
            take(part)
            self._load = own.pop_all(), take

    @called
    def cycleqd_end(self) -> None:
        """End it: all parts have come."""
        stack, _ = self._load
        stack.close()

    @called
    def cycleqd_break_off(self) -> None:
        """End it before all parts have come: what came counts as torn."""
        stack, _ = self._load
        with suppress(_Unfinished), stack:
            raise _Unfinished

    @called
    def cycleqd_check(self) -> None:
        """Raise :class:`~cycleqd.errors.PermanentError` if the weights are torn."""
        self.cycleqd.intake.check()

    @called
    def cycleqd_checksum(self) -> str:
        """Return the SHA-256 (hex) of this worker's live weights, those of adapters included."""
        served = self.model_runner.lora_manager._adapter_manager if self.model_runner.lora_config else None  # noqa: SLF001
        return self.cycleqd.checksum(_adapters(served) if served else ())

    @called
    def cycleqd_serve(self, adapters: Mapping[int, Individual]) -> None:
        """Hold individuals as LoRA adapters under these numbers, in place of all that were held before."""
        self.model_runner.lora_manager.remove_all_adapters()
        manager = self.model_runner.lora_manager._adapter_manager  # noqa: SLF001 - its owner reads adapters from disk only
        for number, individual in adapters.items():
            adapter = self._adapter(number, individual)
            manager.add_adapter(adapter)
            if lost := sorted(set(adapter.loras) - set(manager.modules)):
                raise BadModel(
                    f"vLLM applies no LoRA adapters to {', '.join(lost)} of this model; set "
                    "engine.args.concurrentChildren to 1."
                )
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

    def __init__(self, model: nn.Module, config: ModelConfig, base: Checkpoint, routes: Routes) -> None:
        """``model``: made from ``base`` with vLLM's ``config``, along ``routes``."""
        self.intake = Intake({name: base.shape(name) for name in routes.layers})
        self._model = model
        self._config = config
        self._base = base
        self._beside = routes.beside()
        # What is no longer the base's; None where it came by a stream that cannot be asked again.
        self._changed: dict[str, Tensor | None] = {}

    def load(self, weights: Iterable[tuple[str, Tensor]]) -> None:
        """Replace weights in checkpoint form; others stay as they are.

        Raises:
            ~cycleqd.errors.BadModel: what does not fit, or a part of a layer whose other parts have been changed by an
                earlier load and do not come again.
        """
        coming = _names(weights)
        self.intake.require_known(sorted(coming or ()))
        with self.loading(coming) as take:
            take(weights)
        if isinstance(weights, Sequence):
            self._changed |= dict(weights)

    @contextmanager
    def loading(self, coming: frozenset[str] | None) -> Iterator[Callable[[Iterable[tuple[str, Tensor]]], None]]:
        """Begin to replace weights, and give what takes them, in one part or several.

        Args:
            coming: all their names; None: unknown, so that layers can be completed at the end only.
        """
        given, completed = set[str](), set[str]()

        def completed_by(tensors: Iterable[tuple[str, Tensor]]) -> Iterator[tuple[str, Tensor]]:
            for name, tensor in tensors:
                given.add(name)
                yield name, tensor
                if coming is not None:
                    yield from self._other_parts(name, coming, completed)

        with self.intake.loading() as checked:
            initialize_layerwise_reload(self._model)
            try:
                yield lambda tensors: self._take(completed_by(checked(tensors)))
                if coming is None:
                    self._take(part for name in sorted(given) for part in self._other_parts(name, given, completed))
            finally:
                halves = self._finish()
            if halves:
                raise BadModel(
                    f"vLLM takes the parameters of {', '.join(halves)} in a way that cycleqd does not know, and some "
                    "of their numbers did not come; use the Transformers engine for this model."
                )
            self._renew_tied_head(given)
        self._changed |= dict.fromkeys(given)

    @torch.no_grad()
    def _take(self, tensors: Iterable[tuple[str, Tensor]]) -> None:
        self._model.load_weights(tensors)  # type: ignore[operator]

    def _other_parts(self, name: str, given: AbstractSet[str], completed: set[str]) -> Iterator[tuple[str, Tensor]]:
        for part in self._beside[name]:
            if part in given or part in completed:
                continue
            own = self._changed[part] if part in self._changed else self._base.tensor(part)
            if own is None:
                raise BadModel(
                    f"Parameter {name!r} came without {part!r}, which shares a layer with it in vLLM and was "
                    "changed before; give both."
                )
            completed.add(part)
            yield part, own

    @torch.no_grad()
    def _finish(self) -> list[str]:
        """Put what came into use; return the layers of which not everything came: they keep their weights."""
        halves = []
        for name, layer in self._model.named_modules():
            info = get_layerwise_info(layer)
            is_half = info.can_load() and 0 < info.load_numel < info.load_numel_total
            if is_half and not isinstance(layer, VocabParallelEmbedding):  # whose padding never comes
                halves.append(name)
                info.loaded_weights.clear()
                info.load_numel = 0
        finalize_layerwise_reload(self._model, self._config)
        return halves

    @torch.no_grad()
    def _renew_tied_head(self, given: set[str]) -> None:
        """Pack the output head again where it is a packed copy of the input embeddings (CPUs)."""
        head = getattr(self._model, "lm_head", None)
        tied = LM_HEAD not in self.intake.names and hasattr(head, "quant_method")
        if tied and current_platform.is_cpu() and any("embed" in name for name in given):
            head.quant_method.process_weights_after_loading(head)  # type: ignore[union-attr]

    @torch.no_grad()
    def checksum(self, adapters: Iterable[tuple[str, Tensor]] = ()) -> str:
        """Return the SHA-256 (hex) of names, dtypes, shapes and values of the live weights, and of ``adapters``."""
        own = ((name, self._live(name, weight)) for name, weight in sorted(self._model.named_parameters()))
        return checksum(chain(own, adapters))

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


def _adapters(manager: Any) -> Iterator[tuple[str, Tensor]]:  # noqa: ANN401 - vLLM's, of one of several classes
    """Return the factors that the served adapters have in vLLM's buffers, by their number, layer and part."""
    for slot, number in enumerate(manager.lora_index_to_id):
        for path, module in sorted(manager.modules.items()) if number is not None else ():
            for kind, stacked in sorted(vars(module).items()):
                parts = (stacked,) if isinstance(stacked, Tensor) else stacked
                # Lists are views of these by expert.
                if kind.endswith(("lora_a_stacked", "lora_b_stacked")) and isinstance(parts, tuple):
                    for part, factor in enumerate(parts):
                        yield f"adapter {number}: {path}.{kind}.{part}", factor[slot]
