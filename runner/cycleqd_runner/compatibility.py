"""Whether an expert fits the base model. Every misfit is one sentence: which expert, what was expected, what to do."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch

from cycleqd.errors import BadModel, near_misses
from cycleqd_runner.checkpoints import LM_HEAD, Checkpoint, read_json
from cycleqd_runner.lora import Adapter

FLOATS = (torch.float64, torch.float32, torch.bfloat16, torch.float16)
"""Dtypes that can be merged; quantised weights cannot."""

_EXAMPLES = 3
"""Names listed in a message about many tensors."""


def open_expert(folder: Path) -> Checkpoint | Adapter:
    """Open what lies in ``folder``: a PEFT adapter if it has an adapter_config.json, else a checkpoint.

    Raises:
        BadModel: as :class:`Checkpoint` and :class:`Adapter`.
    """
    return Adapter(folder) if Adapter.is_at(folder) else Checkpoint(folder)


def check(name: str, expert: Checkpoint | Adapter, base: Checkpoint) -> None:
    """Refuse an expert that is not a fine-tuned version of the base model. Reads headers and tokenizers only.

    Args:
        name: the expert's name in the manifest.
        expert: the expert.
        base: the base model.

    Raises:
        BadModel: another architecture, vocabulary, set of tensors, shape or dtype.
    """
    check_base(base)
    if isinstance(expert, Adapter):
        _check_tokenizer(name, expert.folder, base)
        _check_adapter(name, expert, base)
        return
    _check_architecture(name, expert, base)
    _check_tokenizer(name, expert.folder, base)
    missing = [n for n in base.names if n not in expert]
    extra = [n for n in expert.names if n not in base]
    if missing or extra:
        lists = [f"lacks {_some(missing)}"] * bool(missing) + [f"has {_some(extra)} that the base lacks"] * bool(extra)
        raise BadModel(f"Expert {name} {' and '.join(lists)}: it must be a fine-tuned version of {base.folder}.")
    for tensor in base.names:
        _check_shape(name, tensor, expert.shape(tensor), base)
        if expert.dtype(tensor) != base.dtype(tensor):
            raise BadModel(
                f"Expert {name} stores {tensor} as {_dtype(expert.dtype(tensor))} where the base model has "
                f"{_dtype(base.dtype(tensor))}: save both in one dtype."
            )


def check_base(base: Checkpoint) -> None:
    """Refuse a base model whose matrices cannot be merged.

    Raises:
        BadModel: quantised weights.
    """
    for name in base.names:
        if len(base.shape(name)) > 1 and base.dtype(name) not in FLOATS:
            raise BadModel(
                f"The base model stores {name} as {_dtype(base.dtype(name))}: quantised weights cannot be merged; "
                "give the model before quantisation."
            )


def _check_architecture(name: str, expert: Checkpoint, base: Checkpoint) -> None:
    for key in ("architectures", "model_type"):
        if expert.config.get(key) != base.config.get(key):
            raise BadModel(
                f"Expert {name} has the {key} {expert.config.get(key)} where the base model has "
                f"{base.config.get(key)}: all experts must be fine-tuned from {base.folder}."
            )
    got, expected = expert.config.get("vocab_size"), base.config.get("vocab_size")
    if got != expected:
        raise BadModel(
            f"Expert {name} has a vocabulary of {got} tokens where the base model has {expected}: "
            "train it without adding tokens, or cut its embeddings to the base's vocabulary."
        )


def _check_tokenizer(name: str, folder: Path, base: Checkpoint) -> None:
    """Compare the vocabularies of two tokenizer.json, where both exist: template and padding may differ."""
    files = folder / "tokenizer.json", base.folder / "tokenizer.json"
    if not all(file.is_file() for file in files):
        return
    got, expected = (_vocabulary(file) for file in files)
    if got == expected:
        return
    different = sorted(set(got.items()) ^ set(expected.items()), key=lambda item: (item[1], item[0]))
    raise BadModel(
        f"Expert {name} has another vocabulary than the base model ({len(got)} and {len(expected)} tokens; the first "
        f"difference is token {different[0][0]!r} with id {different[0][1]}): fine-tune it with the base's tokenizer."
    )


def _vocabulary(file: Path) -> dict[str, int]:
    """Return token to id of a tokenizer.json, added tokens included."""
    content = read_json(file)
    try:
        vocabulary = content["model"]["vocab"]
        if not isinstance(vocabulary, Mapping):  # Unigram: a list of [token, score]
            vocabulary = {str(entry[0]): i for i, entry in enumerate(vocabulary)}
        added = {str(token["content"]): int(token["id"]) for token in content.get("added_tokens", ())}
    except (KeyError, TypeError, IndexError) as error:
        raise BadModel(f"The file {file} has no vocabulary ({error!r}): copy it again.") from error
    return {**vocabulary, **added}


def _check_adapter(name: str, expert: Adapter, base: Checkpoint) -> None:
    if not expert.matrices and not expert.saved:
        raise BadModel(f"Expert {name} is an adapter without any tensor: copy {expert.folder} again.")
    for tensor in (*expert.matrices, *expert.saved):
        if tensor not in base:
            tied = tensor == LM_HEAD and base.config.get("tie_word_embeddings")
            why = ", whose output embeddings are tied to the input's" if tied else near_misses(tensor, base.names)[:300]
            raise BadModel(f"Expert {name} adapts {tensor}, which is not in the base model {base.folder}{why}.")
        _check_shape(name, tensor, expert.shape(tensor), base)
    for tensor in expert.copies:
        own = base.tensor(tensor)
        if not torch.equal(expert.copy(tensor).to(own.dtype), own):
            raise BadModel(
                f"Expert {name} adapts a {tensor} that differs from the base model's: it was trained on another base "
                "or on a resized vocabulary; merge it into its base and give the full checkpoint."
            )


def _check_shape(name: str, tensor: str, shape: tuple[int, ...], base: Checkpoint) -> None:
    if shape != base.shape(tensor):
        raise BadModel(
            f"Expert {name} has {tensor} of shape {list(shape)} where the base model has {list(base.shape(tensor))}: "
            f"it must be a fine-tuned version of {base.folder}."
        )


def _some(names: Sequence[str]) -> str:
    shown = ", ".join(names[:_EXAMPLES])
    return shown if len(names) <= _EXAMPLES else f"{shown} and {len(names) - _EXAMPLES} more tensors"


def _dtype(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")
