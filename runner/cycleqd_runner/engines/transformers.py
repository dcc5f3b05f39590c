"""The Transformers engine: one model in this process, on the GPU or the CPU. Its decode loop is in :mod:`.decoding`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

import torch
from torch import Tensor
from transformers import AutoModelForCausalLM, PreTrainedModel
from transformers.utils import logging

from cycleqd.api.engine import EngineArgs
from cycleqd.errors import BadManifest, BadModel, UnsupportedHere
from cycleqd_runner.chat import Answer, Likelihood, Message, Sampling
from cycleqd_runner.engines import attention
from cycleqd_runner.engines.batching import Asked, Batcher, Found, Reading, Request
from cycleqd_runner.engines.contract import Lent
from cycleqd_runner.engines.conversation import Conversations
from cycleqd_runner.engines.decoding import Decoder
from cycleqd_runner.engines.memory import memory_for
from cycleqd_runner.engines.weights import LiveWeights
from cycleqd_runner.individual import Individual

Result = TypeVar("Result")

MORE_MEMORY = "give each worker more memory, or run fewer on one machine"
"""What to do where a model fits, but not what has to be beside it."""
_SMALLER_BATCHES = "lower engine.args.maxBatchTokens"


class TransformersEngine:
    """See :class:`cycleqd_runner.engines.contract.Engine`.

    Attributes:
        batcher: its counters say how many batches were computed and how large they were.
        conversations: tokenizer and context.
    """

    name = "Transformers"
    packages: Mapping[str, str] = {}

    def __init__(self, folder: Path, args: EngineArgs) -> None:
        """Read model and tokenizer from a Hugging Face checkpoint ``folder``.

        Raises:
            ~cycleqd.errors.BadModel: not a causal language model with a fast tokenizer and a chat template.
            ~cycleqd.errors.BadManifest: settings that this engine or this model does not have.
            ~cycleqd.errors.UnsupportedHere: the model's attention is of a kind that this engine does not compute.
        """
        _check_args(args)
        if args.threads is not None:
            torch.set_num_threads(args.threads)
        device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.dtype = dtype_of(args.dtype, device)
        with memory_for(f"the model in {folder}", "use a smaller one, or a GPU or machine with more memory"):
            self._model = _read_model(folder, self.dtype)
            self._model.eval()  # type: ignore[no-untyped-call]  # Transformers has no types here
            self._model.to(device)  # type: ignore[arg-type]  # a decorator hides the self of this method
        self.conversations = Conversations(folder, args.max_model_len)
        self._weights = LiveWeights(self._model)
        said = self.conversations
        self._decoder = Decoder(self._model, said.tokenizer.backend_tokenizer, said.ends)
        # Proves before any item is asked that the model can be run this way.
        with memory_for("a batch of one request", _SMALLER_BATCHES):
            self._decoder.answer([Request((0, 0), Sampling(max_tokens=2))])
        self.batcher = Batcher(self._answer, max_batch_tokens=args.max_batch_tokens)

    async def chat(self, messages: Sequence[Message], sampling: Sampling) -> Answer:
        """Answer a conversation; see the contract."""
        request = self.conversations.request(messages, sampling)
        return request if isinstance(request, Answer) else await self.batcher.submit(request)

    async def complete(self, prompt: str, sampling: Sampling) -> Answer:
        """Go on with a text; see the contract."""
        request = self.conversations.completion(prompt, sampling)
        return replace(await self.batcher.submit(request), cut_tokens=request.cut)

    async def log_likelihood(self, context: str, continuation: str) -> Likelihood:
        """Say how likely a continuation is; see the contract."""
        return await self.batcher.submit(self.conversations.reading(context, continuation))

    def load(self, tensors: Iterable[tuple[str, Tensor]]) -> None:
        """Replace parameters in place; see the contract."""

        def swap() -> None:
            with memory_for("an individual's weights beside the model", MORE_MEMORY):
                self._weights.load(tensors)

        self.batcher.run(swap)

    def serve(self, individuals: Sequence[Individual]) -> Sequence[TransformersEngine]:
        """Hold one individual; see the contract."""
        if len(individuals) != 1:
            raise UnsupportedHere(
                f"The Transformers engine holds one individual at a time, not {len(individuals)}; use the VLLM engine."
            )
        self.load(individuals[0])
        return [self]

    def checksum(self) -> str:
        """Return the SHA-256 (hex) of all live parameters."""
        checksum: str = self.batcher.run(self._weights.checksum)
        return checksum

    def lend(self, work: Callable[[Lent], Result], weights: Iterable[tuple[str, Tensor]] = ()) -> Result:
        """Call ``work`` with the model while nothing is asked; see the contract."""

        def lent() -> Result:
            with memory_for("an individual's weights beside the model", MORE_MEMORY):
                self._weights.load(weights)
            with memory_for("gradients beside the model", _SMALLER_BATCHES):
                return work(Lent(self._model, self.conversations.complete, self.conversations.limit))

        return self.batcher.run(lent)

    def move(self, device: torch.device | str) -> None:
        """Bring the model to another device: where only gradients are wanted, it waits beside the GPU."""

        def moved() -> None:
            with memory_for("the model for gradients", MORE_MEMORY):
                self._model.to(device)  # type: ignore[arg-type]  # as above

        self.batcher.run(moved)

    def close(self) -> None:
        """Stop; see the contract."""
        self.batcher.close()

    def _answer(self, requests: Sequence[Asked], unwanted: Callable[[], bool]) -> Sequence[Found]:
        self._weights.check()
        readings = [request for request in requests if isinstance(request, Reading)]
        with memory_for(f"a batch of {len(requests)} requests", _SMALLER_BATCHES):
            if readings:
                return self._decoder.read(readings, unwanted)
            return self._decoder.answer([request for request in requests if isinstance(request, Request)], unwanted)


def dtype_of(name: str, device: torch.device) -> torch.dtype:
    """Return the arithmetic for ``Auto``, ``Float32`` or ``BFloat16``.

    Auto is bfloat16 on GPUs and on CPUs that multiply it in hardware (AMX: 2.3 times the speed of float32, measured
    on SmolLM2-135M), float32 on others, where bfloat16 is slower.
    """
    if name == "Auto":
        fast = device.type == "cuda" or bool(torch.cpu.get_capabilities().get("amx_bf16", False))
        name = "BFloat16" if fast else "Float32"
    return {"Float32": torch.float32, "BFloat16": torch.bfloat16}[name]


def _check_args(args: EngineArgs) -> None:
    plain = EngineArgs()
    for field in ("gpu_memory_utilization", "tensor_parallel_size", "concurrent_children"):
        if getattr(args, field) != getattr(plain, field):
            raise BadManifest(
                f"engine.args.{EngineArgs.model_fields[field].alias} is {getattr(args, field)}, a setting that the "
                "Transformers engine does not have; remove it or use the VLLM engine."
            )


def _read_model(folder: Path, dtype: torch.dtype) -> PreTrainedModel:
    attention.register()
    # An engine opens in the middle of what its owner shows.
    logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    try:
        model = AutoModelForCausalLM.from_pretrained(
            folder, dtype=dtype, attn_implementation=attention.NAME, local_files_only=True, trust_remote_code=False
        )
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        raise BadModel(f"the model in {folder} cannot be read: {error}") from error
    kinds = set(getattr(model.config, "layer_types", None) or ()) - {"full_attention", "sliding_attention"}
    if kinds:
        raise UnsupportedHere(
            f"The model has layers of the kind {', '.join(sorted(kinds))}, which the Transformers engine does not "
            "compute; use the VLLM engine for it."
        )
    return model
