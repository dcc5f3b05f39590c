"""Tiny real models for tests: Llama checkpoints with a tokenizer, fine-tuned copies, LoRA adapters, bare matrices.

Everything is made with transformers, tokenizers and peft themselves, so that what is read here is what users have.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, get_peft_model
from safetensors.torch import save_file
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace
from transformers import AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

WORDS = ("<unk>", "<s>", "</s>", *(f"word{i}" for i in range(61)))
"""The vocabulary of :func:`save_llama`'s tokenizer."""


def save_llama(
    folder: Path, seed: int = 0, *, dtype: torch.dtype = torch.bfloat16, shard: str = "50GB", **config: Any
) -> Path:
    """Save a random two-layer Llama of 64 tokens (with a wide, a tall and a square matrix) and return its folder."""
    settings: dict[str, Any] = {
        "vocab_size": len(WORDS),
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 64,
    }
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model: Any = LlamaForCausalLM(LlamaConfig(**(settings | config)))  # type: ignore[no-untyped-call]
    model.to(dtype).save_pretrained(folder, max_shard_size=shard)
    save_tokenizer(folder)
    return folder


def save_tokenizer(folder: Path, words: Sequence[str] = WORDS) -> None:
    """Save a word-level tokenizer with a chat template."""
    tokenizer = Tokenizer(WordLevel({word: i for i, word in enumerate(words)}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = Whitespace()
    tokenizers: Any = PreTrainedTokenizerFast
    fast = tokenizers(tokenizer_object=tokenizer, unk_token="<unk>", bos_token="<s>", eos_token="</s>")
    fast.chat_template = "{% for message in messages %}{{ message['content'] }}{% endfor %}"
    fast.save_pretrained(folder)


def fine_tune(base: Path, folder: Path, seed: int, *, size: float = 0.05, shard: str = "50GB") -> Path:
    """Save a copy of ``base`` whose every parameter has moved by noise of standard deviation ``size``."""
    model = AutoModelForCausalLM.from_pretrained(base, dtype="auto")
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_((torch.randn(parameter.shape, generator=generator) * size).to(parameter.dtype))
    model.save_pretrained(folder, max_shard_size=shard)
    save_tokenizer(folder)
    return folder


def save_adapter(
    base: Path, folder: Path, seed: int, *, change: Callable[[Any], None] | None = None, **config: Any
) -> Path:
    """Save a random LoRA adapter, made and saved by peft.

    Args:
        base: checkpoint folder.
        folder: created.
        seed: of the weights.
        change: does what it likes to the PEFT model before it is saved.
        config: of LoraConfig; r = 2 on q_proj, v_proj and down_proj unless told.
    """
    model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    settings: dict[str, Any] = {
        "r": 2,
        "lora_alpha": 6,
        "target_modules": ["q_proj", "v_proj", "down_proj"],
        "task_type": "CAUSAL_LM",
    }
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        peft = get_peft_model(model, LoraConfig(**(settings | config)))
        with torch.no_grad():
            for name, parameter in peft.named_parameters():
                if "lora_" in name:
                    parameter.copy_(torch.randn_like(parameter) * 0.1)
    if change:
        with torch.no_grad():
            change(peft)
    peft.save_pretrained(str(folder))
    return folder


def save_matrices(folder: Path, tensors: Mapping[str, torch.Tensor]) -> Path:
    """Save bare tensors as a checkpoint with a config and no tokenizer."""
    folder.mkdir(parents=True)
    (folder / "config.json").write_text('{"architectures": ["Bare"], "model_type": "bare"}', encoding="utf-8")
    save_file(dict(tensors), folder / "model.safetensors", metadata={"format": "pt"})
    return folder


def logits(model: Any, length: int = 12) -> torch.Tensor:
    """Return the (length, vocabulary) logits of a fixed prompt."""
    with torch.no_grad():
        return model(torch.arange(length)[None]).logits[0]  # type: ignore[no-any-return]
