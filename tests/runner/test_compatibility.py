"""Experts that do not fit the base model are refused in one sentence that names the expert."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from cycleqd.errors import BadModel
from cycleqd_runner.checkpoints import SINGLE, Checkpoint
from cycleqd_runner.compatibility import check, check_base, open_expert
from cycleqd_runner.lora import CONFIG, WEIGHTS, Adapter
from tests.runner.models import WORDS, fine_tune, save_adapter, save_llama, save_tokenizer


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Checkpoint:
    return Checkpoint(save_llama(tmp_path_factory.mktemp("base") / "model"))


def _edit_json(file: Path, **changes: Any) -> None:
    file.write_text(json.dumps(json.loads(file.read_text()) | changes), encoding="utf-8")


def _edit_tensors(file: Path, change: Callable[[dict[str, torch.Tensor]], object]) -> None:
    tensors = load_file(file)
    change(tensors)
    save_file(tensors, file, metadata={"format": "pt"})


def test_fitting_experts_are_accepted(base: Checkpoint, tmp_path: Path) -> None:
    full = open_expert(fine_tune(base.folder, tmp_path / "full", 1))
    lora = open_expert(save_adapter(base.folder, tmp_path / "lora", 2))
    assert isinstance(full, Checkpoint)
    assert isinstance(lora, Adapter)
    for expert in (full, lora):
        check("sql", expert, base)


def test_chat_template_and_padding_may_differ(base: Checkpoint, tmp_path: Path) -> None:
    folder = fine_tune(base.folder, tmp_path / "expert", 1)
    _edit_json(folder / "tokenizer.json", padding={"strategy": "BatchLongest"})
    _edit_json(folder / "tokenizer_config.json", chat_template="{{ messages }}")
    check("sql", Checkpoint(folder), base)


MISFITS: dict[str, tuple[dict[str, Any], Callable[[Path], object], str]] = {
    "architecture": (
        {},
        lambda f: _edit_json(f / "config.json", architectures=["MistralForCausalLM"]),
        r"Expert sql has the architectures \['MistralForCausalLM'\] where the base model has \['LlamaForCausalLM'\]",
    ),
    "vocabulary size": ({"vocab_size": 70}, lambda f: None, "a vocabulary of 70 tokens where the base model has 64"),
    "shape": (
        {"intermediate_size": 40},
        lambda f: None,
        r"mlp\.\w+\.weight of shape \[\d+, \d+\] where the base model has",
    ),
    "dtype": ({"dtype": torch.float16}, lambda f: None, "as float16 where the base model has bfloat16"),
    "missing layer": ({"num_hidden_layers": 1}, lambda f: None, r"lacks model\.layers\.1.* and 6 more tensors"),
    "extra layer": (
        {"num_hidden_layers": 3},
        lambda f: None,
        r"has model\.layers\.2.* more tensors that the base lacks",
    ),
    "tokenizer": (
        {},
        lambda f: save_tokenizer(f, [*WORDS[:-1], "other"]),
        r"another vocabulary than the base model \(64 and 64 tokens; the first difference is token 'other' with id 63",
    ),
    "added token": (
        {},
        lambda f: _edit_json(f / "tokenizer.json", added_tokens=[{"id": 64, "content": "<tool>"}]),
        "'<tool>' with id 64",
    ),
}


@pytest.mark.parametrize(("config", "change", "message"), MISFITS.values(), ids=MISFITS)
def test_misfit_is_refused(
    base: Checkpoint, tmp_path: Path, config: dict[str, Any], change: Callable[[Path], object], message: str
) -> None:
    folder = save_llama(tmp_path / "expert", 1, **config)
    change(folder)
    with pytest.raises(BadModel, match=message) as caught:
        check("sql", Checkpoint(folder), base)
    assert "\n" not in str(caught.value)


def test_quantised_base_is_refused(tmp_path: Path) -> None:
    folder = save_llama(tmp_path / "base")
    name = "model.layers.0.mlp.up_proj.weight"
    _edit_tensors(folder / SINGLE, lambda t: t.update({name: torch.ones_like(t[name]).to(torch.int8)}))
    with pytest.raises(BadModel, match=r"up_proj.weight as int8: quantised weights cannot be merged"):
        check_base(Checkpoint(folder))


UNSUPPORTED: dict[str, tuple[dict[str, Any], str]] = {
    "DoRA": ({"use_dora": True}, "DoRA"),
    "bias": ({"bias": "all"}, "bias all"),
    "lora_bias": ({"lora_bias": True}, "lora_bias"),
    "PiSSA": ({"init_lora_weights": "pissa"}, "initialisation pissa"),
    "trainable tokens": ({"trainable_token_indices": [1, 2]}, "trainable tokens"),
}


@pytest.mark.parametrize(("config", "message"), UNSUPPORTED.values(), ids=UNSUPPORTED)
def test_adapter_that_is_not_low_rank_is_refused(
    base: Checkpoint, tmp_path: Path, config: dict[str, Any], message: str
) -> None:
    with pytest.raises(BadModel, match=f"uses {message}.*merge it into its base"):
        Adapter(save_adapter(base.folder, tmp_path / "lora", 1, **config))


def _rename(tensors: dict[str, torch.Tensor], old: str, new: str) -> None:
    for name in [n for n in tensors if old in n]:
        tensors[name.replace(old, new)] = tensors.pop(name)


def _first(tensors: dict[str, torch.Tensor], part: str) -> str:
    return min(name for name in tensors if part in name)


BROKEN_ADAPTERS: dict[str, tuple[Callable[[Path], object], str]] = {
    "other PEFT type": (lambda f: _edit_json(f / CONFIG, peft_type="IA3"), "of PEFT type IA3, only LORA"),
    "no weights": (lambda f: (f / WEIGHTS).unlink(), "has no adapter_model.safetensors"),
    "truncated": (lambda f: (f / WEIGHTS).write_bytes((f / WEIGHTS).read_bytes()[:-4]), "is truncated"),
    "B missing": (lambda f: _edit_tensors(f / WEIGHTS, lambda t: t.pop(_first(t, "lora_B"))), "with nothing"),
    "A missing": (lambda f: _edit_tensors(f / WEIGHTS, lambda t: t.pop(_first(t, "lora_A"))), "but not its .lora_A"),
    "foreign tensor": (
        lambda f: _edit_tensors(f / WEIGHTS, lambda t: t.update({"something": torch.ones(1)})),
        "a tensor something of unknown meaning",
    ),
    "foreign module": (
        lambda f: _edit_tensors(f / WEIGHTS, lambda t: _rename(t, "q_proj", "qq_proj")),
        r"Expert sql adapts .*qq_proj.weight, which is not in the base model .*did you mean",
    ),
    "shape": (
        lambda f: _edit_tensors(f / WEIGHTS, lambda t: t.update({_first(t, "lora_A"): torch.ones(2, 31)})),
        r"of shape \[\d+, 31\] where the base model has",
    ),
    "empty": (
        lambda f: _edit_tensors(f / WEIGHTS, lambda t: t.clear()),
        "an adapter without any tensor",
    ),
}


@pytest.mark.parametrize(("change", "message"), BROKEN_ADAPTERS.values(), ids=BROKEN_ADAPTERS)
def test_broken_adapter(base: Checkpoint, tmp_path: Path, change: Callable[[Path], object], message: str) -> None:
    folder = save_adapter(base.folder, tmp_path / "lora", 1)
    change(folder)
    with pytest.raises(BadModel, match=message) as caught:
        check("sql", open_expert(folder), base)
    assert "\n" not in str(caught.value)


def test_adapted_embedding_must_be_the_base_models(base: Checkpoint, tmp_path: Path) -> None:
    folder = save_adapter(base.folder, tmp_path / "lora", 1, target_modules=["embed_tokens"])
    assert Adapter(folder).copies == ("model.embed_tokens.weight",)
    check("sql", open_expert(folder), base)
    _edit_tensors(folder / WEIGHTS, lambda t: t[_first(t, "base_layer")].mul_(2))
    with pytest.raises(BadModel, match=r"embed_tokens.weight that differs from the base model's"):
        check("sql", open_expert(folder), base)


def test_adapter_of_tied_output_embeddings_is_refused(tmp_path: Path) -> None:
    tied = Checkpoint(save_llama(tmp_path / "tied", tie_word_embeddings=True))
    folder = save_adapter(tied.folder, tmp_path / "lora", 1)
    _edit_tensors(folder / WEIGHTS, lambda t: t.update({"base_model.model.lm_head.weight": torch.ones(64, 32)}))
    with pytest.raises(BadModel, match=r"adapts lm_head.weight.*tied"):
        check("sql", open_expert(folder), tied)
