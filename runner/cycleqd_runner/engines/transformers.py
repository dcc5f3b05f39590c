"""The Transformers engine: one model in this process, on the GPU or the CPU. Its decode loop is in :mod:`.decoding`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TypeVar

import torch
from jinja2 import TemplateError
from torch import Tensor
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    PreTrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerFast,
)
from transformers.utils import logging

from cycleqd.api.engine import EngineArgs
from cycleqd.errors import BadData, BadManifest, BadModel, UnsupportedHere
from cycleqd_runner.chat import Answer, Message, Sampling
from cycleqd_runner.engines import attention
from cycleqd_runner.engines.batching import Batcher, Request
from cycleqd_runner.engines.contract import Lent
from cycleqd_runner.engines.decoding import Decoder
from cycleqd_runner.engines.weights import LiveWeights

Result = TypeVar("Result")

_REMEMBERED_PROMPTS = 4096
"""Conversations whose tokens are kept: the search items of a run come again with every child."""


class TransformersEngine:
    """See :class:`cycleqd_runner.engines.contract.Engine`.

    Attributes:
        batcher: its counters say how many batches were computed and how large they were.
    """

    name = "Transformers"

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
        self._model = _read_model(folder, dtype_of(args.dtype, device))
        self._model.eval()  # type: ignore[no-untyped-call]
        self._model.to(device)  # type: ignore[arg-type]  # a decorator hides the self of this method
        self._tokenizer = _read_tokenizer(folder)
        self._limit = _context(self._model.config, args.max_model_len)
        self._prompts: dict[tuple[Message, ...], tuple[int, ...]] = {}
        self._weights = LiveWeights(self._model)
        self._ends = _ends(self._model, self._tokenizer)
        self._decoder = Decoder(self._model, self._tokenizer.backend_tokenizer, self._ends)
        # Proves before any item is asked that the model can be run this way.
        self._decoder.answer([Request((0, 0), Sampling(max_tokens=2))])
        self.batcher = Batcher(self._answer, max_batch_tokens=args.max_batch_tokens)

    async def chat(self, messages: Sequence[Message], sampling: Sampling) -> Answer:
        """Answer a conversation; see the contract."""
        prompt = self._encode(tuple(messages))
        room = self._limit - len(prompt)
        if room < 1:
            if any(message.role == "assistant" for message in messages):
                return Answer("", len(prompt), 0, "length")
            raise BadData(
                f"A prompt has {len(prompt)} tokens, but prompt and answer together may have {self._limit}; "
                "shorten the items or raise engine.args.maxModelLen."
            )
        room = min(room, sampling.max_tokens)
        drawn = Sampling(room, sampling.temperature, tuple(sampling.stop), sampling.seed)
        return await self.batcher.submit(Request(prompt, drawn))

    def load(self, tensors: Iterable[tuple[str, Tensor]]) -> None:
        """Replace parameters in place; see the contract."""
        self.batcher.run(lambda: self._weights.load(tensors))

    def checksum(self) -> str:
        """Return the SHA-256 (hex) of all live parameters."""
        checksum: str = self.batcher.run(self._weights.checksum)
        return checksum

    def lend(self, work: Callable[[Lent], Result]) -> Result:
        """Call ``work`` with the model while nothing is asked; see the contract."""
        return self.batcher.run(lambda: work(Lent(self._model, self._complete, self._limit)))

    def close(self) -> None:
        """Stop; see the contract."""
        self.batcher.close()

    def _complete(self, messages: Sequence[Message], answer: str) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """Return the tokens of a conversation and of the answer to it, with the token that ends the turn."""
        said = [*messages, Message("assistant", answer)]
        prompt, whole = self._text(messages, ask=True), self._text(said, ask=False)
        # A template that rewrites what assistants said before cannot be cut; most end a turn by their end token.
        rest = whole.removeprefix(prompt) if whole.startswith(prompt) else f"{answer}{self._tokenizer.eos_token}"
        tokens = tuple(self._tokenizer(rest, add_special_tokens=False)["input_ids"])
        end = next((i for i, token in enumerate(tokens) if token in self._ends), len(tokens) - 1)
        return self._encode(tuple(messages)), tokens[: end + 1]

    def _answer(self, requests: Sequence[Request], unwanted: Callable[[], bool]) -> list[Answer]:
        self._weights.check()
        try:
            return self._decoder.answer(requests, unwanted)
        except torch.OutOfMemoryError as error:
            raise UnsupportedHere(
                f"A batch of {len(requests)} requests does not fit into the GPU's memory; "
                "lower engine.args.maxBatchTokens."
            ) from error

    def _encode(self, messages: tuple[Message, ...]) -> tuple[int, ...]:
        """Return the tokens of a conversation in the model's own chat template, ready for the assistant's turn."""
        if messages not in self._prompts:
            text = self._text(messages, ask=True)
            # The template has written all special tokens itself.
            tokens = self._tokenizer(text, add_special_tokens=False)["input_ids"]
            while len(self._prompts) >= _REMEMBERED_PROMPTS:
                del self._prompts[next(iter(self._prompts))]
            self._prompts[messages] = tuple(tokens)
        return self._prompts[messages]

    def _text(self, messages: Sequence[Message], *, ask: bool) -> str:
        """Return a conversation in the model's own chat template; ``ask``: with the beginning of the next turn."""
        turns = [{"role": message.role, "content": message.content} for message in messages]
        try:
            return str(self._tokenizer.apply_chat_template(turns, add_generation_prompt=ask, tokenize=False))
        except TemplateError as error:
            roles = ", ".join(message.role for message in messages)
            raise BadModel(
                f"The model's chat template refuses a conversation of the roles {roles}: {error}; "
                "for a model without system turns set the evaluator's systemPrompt to an empty string."
            ) from error


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
        raise BadModel(f"The model in {folder} cannot be read: {error}") from error
    kinds = set(getattr(model.config, "layer_types", None) or ()) - {"full_attention", "sliding_attention"}
    if kinds:
        raise UnsupportedHere(
            f"The model has layers of the kind {', '.join(sorted(kinds))}, which the Transformers engine does not "
            "compute; use the VLLM engine for it."
        )
    return model


def _read_tokenizer(folder: Path) -> PreTrainedTokenizerFast:
    try:
        tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    except (OSError, ValueError, KeyError) as error:
        raise BadModel(f"The tokenizer in {folder} cannot be read: {error}") from error
    if not isinstance(tokenizer, PreTrainedTokenizerFast):
        raise BadModel(f"The tokenizer in {folder} has no tokenizer.json; convert it to a fast tokenizer.")
    if not tokenizer.chat_template:
        # A guessed format would score a model on something that it was never trained on.
        raise BadModel(
            f"The tokenizer in {folder} has no chat template; add the one of the instruction-tuned model "
            "(chat_template.jinja) to the base model's folder."
        )
    return tokenizer


def _ends(model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast) -> frozenset[int]:
    """Return the tokens that end an answer: the generation config's and the tokenizer's."""
    ends = getattr(model.generation_config, "eos_token_id", None)
    listed = ends if isinstance(ends, list) else [ends]
    return frozenset(token for token in [*listed, tokenizer.eos_token_id] if token is not None)


def _context(config: PreTrainedConfig, wanted: int | None) -> int:
    """Return the longest prompt plus answer, in tokens."""
    able = getattr(config, "max_position_embeddings", None)
    if wanted is not None and able is not None and wanted > able:
        raise BadManifest(
            f"engine.args.maxModelLen is {wanted}, but the model has only {able} positions; lower it to {able}."
        )
    limit = wanted or able
    if limit is None:
        raise BadManifest("The model's configuration does not say its longest context; set engine.args.maxModelLen.")
    return int(limit)
