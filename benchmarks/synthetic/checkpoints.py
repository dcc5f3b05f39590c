"""Checkpoints of random bf16 numbers in the shapes of Llama models, made where they are needed and never kept."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from cycleqd_runner.safetensors_writer import Planned, write_file

Shapes = Mapping[str, tuple[int, ...]]


@dataclass(frozen=True)
class Llama:
    """The numbers that make the shapes of a Llama; its output embeddings are its own."""

    vocabulary: int
    hidden: int
    keys: int
    mlp: int
    layers: int

    @property
    def layer(self) -> Shapes:
        """The tensors of one layer, by their names in it."""
        return {
            "self_attn.q_proj.weight": (self.hidden, self.hidden),
            "self_attn.k_proj.weight": (self.keys, self.hidden),
            "self_attn.v_proj.weight": (self.keys, self.hidden),
            "self_attn.o_proj.weight": (self.hidden, self.hidden),
            "mlp.gate_proj.weight": (self.mlp, self.hidden),
            "mlp.up_proj.weight": (self.mlp, self.hidden),
            "mlp.down_proj.weight": (self.hidden, self.mlp),
            "input_layernorm.weight": (self.hidden,),
            "post_attention_layernorm.weight": (self.hidden,),
        }

    @property
    def shapes(self) -> Shapes:
        """Every tensor of the model."""
        ends = dict.fromkeys(("model.embed_tokens.weight", "lm_head.weight"), (self.vocabulary, self.hidden))
        layers = {f"model.layers.{i}.{name}": shape for i in range(self.layers) for name, shape in self.layer.items()}
        return ends | layers | {"model.norm.weight": (self.hidden,)}

    def config(self) -> dict[str, object]:
        """Return what transformers and mergekit read."""
        return {
            "architectures": ["LlamaForCausalLM"],
            "model_type": "llama",
            "vocab_size": self.vocabulary,
            "hidden_size": self.hidden,
            "intermediate_size": self.mlp,
            "num_hidden_layers": self.layers,
            "num_attention_heads": 16,
            "num_key_value_heads": 16 * self.keys // self.hidden,
            "tie_word_embeddings": False,
            "torch_dtype": "bfloat16",
        }


MEDIUM = Llama(vocabulary=32_000, hidden=1024, keys=256, mlp=3584, layers=24)
"""393 million parameters."""
LLAMA_3_8B = Llama(vocabulary=128_256, hidden=4096, keys=1024, mlp=14_336, layers=32)


def save(folder: Path, shapes: Shapes, config: Mapping[str, object], seed: int) -> Path:
    """Write a checkpoint of independent numbers of mean 0, standard deviation 0.024, and return its folder."""
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps(dict(config)), encoding="utf-8")
    rng = np.random.Generator(np.random.SFC64(seed))
    plan = [Planned(name, torch.bfloat16, shape) for name, shape in shapes.items()]
    tensors = (_random(rng, item.shape) for item in plan)
    write_file(folder / "model.safetensors", plan, tensors)
    return folder


def _random(rng: np.random.Generator, shape: tuple[int, ...]) -> torch.Tensor:
    """Return bf16 numbers of random sign and mantissa, three times as fast as normal ones.

    All have the exponent of 2**-6, so that sizes are spread evenly from 2**-6 to 2**-5, a standard deviation of 0.024.
    """
    bits = np.frombuffer(rng.bytes(2 * math.prod(shape)), np.uint16) & 0x807F | (121 << 7)
    return torch.from_numpy(bits.view(np.int16)).view(torch.bfloat16).reshape(shape)
