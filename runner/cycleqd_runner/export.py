"""Writing models that other software loads: Hugging Face checkpoints and PEFT adapters.

A checkpoint is streamed, at most one tensor at a time, into a folder beside its destination that is renamed when it is
complete, so a folder of that name is always a whole model. Where the tensors come from is ``materialise``'s work.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import torch

from cycleqd.errors import BadData, UnsupportedHere
from cycleqd.genome import Genome
from cycleqd.store.atomic import translate
from cycleqd_runner.checkpoints import INDEX, SINGLE, Checkpoint
from cycleqd_runner.lora import CONFIG, PREFIX, WEIGHTS
from cycleqd_runner.materialise import Materialiser
from cycleqd_runner.model_card import ModelCard
from cycleqd_runner.safetensors_writer import Planned, write_file
from cycleqd_runner.weighted_sum import WeightedSum

SHARD_BYTES = 5 * 10**9
"""Default size of a shard; the Hub serves files of up to 50 GB, smaller ones resume better."""

CARD = "README.md"
_COMPANIONS = (".json", ".txt", ".model", ".jinja", ".tiktoken", ".py")
_NOT_COMPANIONS = (INDEX, "pytorch_model.bin.index.json", CONFIG)


def export_checkpoint(
    folder: Path,
    base: Checkpoint,
    tensors: Iterable[tuple[str, torch.Tensor | WeightedSum]],
    card: ModelCard,
    *,
    max_shard_bytes: int = SHARD_BYTES,
) -> Path:
    """Write a checkpoint that ``AutoModelForCausalLM`` and ``AutoTokenizer`` load.

    Config, tokenizer, generation config and chat template are the base model's.

    Args:
        folder: must not exist yet; complete as soon as it does.
        base: the base model.
        tensors: (name, weights) in checkpoint order and stored dtypes, as :meth:`Materialiser.streamed` yields them.
        card: becomes README.md.
        max_shard_bytes: a file is not larger, unless one tensor is.

    Returns:
        ``folder``.

    Raises:
        BadData: ``folder`` exists, or the tensors are not the base model's.
        NoSpace: the disk is full; nothing is left behind.
    """

    def fill(work: Path) -> None:
        plan = [Planned(name, base.dtype(name), base.shape(name)) for name in base.names]
        shards = _shards(plan, max_shard_bytes)
        files = [SINGLE] if len(shards) == 1 else [_shard_name(i, len(shards)) for i in range(len(shards))]
        stream = _in_order(tensors, plan)
        for file, shard in zip(files, shards, strict=True):
            write_file(work / file, shard, (next(stream) for _ in shard))
        if next(stream, None) is not None:
            raise BadData(f"The model for {folder} has more tensors than the base model's {len(plan)}.")
        if len(shards) > 1:
            weights = {item.name: file for file, shard in zip(files, shards, strict=True) for item in shard}
            index = {"metadata": {"total_size": sum(item.nbytes for item in plan)}, "weight_map": weights}
            (work / INDEX).write_text(json.dumps(index, indent=2), encoding="utf-8")
        _copy_companions(base.folder, work)
        (work / CARD).write_text(card.render(), encoding="utf-8")

    return _complete(folder, fill)


def export_adapter(folder: Path, materialiser: Materialiser, genome: Genome, card: ModelCard) -> Path:
    """Write a child of LoRA experts as a PEFT adapter of rank ``sum_k r_k``.

    Args:
        folder: must not exist yet; complete as soon as it does.
        materialiser: of the run.
        genome: of the child.
        card: becomes README.md.

    Returns:
        ``folder``.

    Raises:
        BadData: ``folder`` exists.
        UnsupportedHere: the child is not a plain LoRA adapter (:func:`adapter_tensors`).
        NoSpace: the disk is full; nothing is left behind.
    """
    tensors = adapter_tensors(materialiser, genome)
    ranks = {name.removesuffix(".lora_A.weight"): len(t) for name, t in tensors.items() if ".lora_A." in name}
    modules = {name.removeprefix(PREFIX): rank for name, rank in ranks.items()}
    rank = max(modules.values(), default=1)

    def fill(work: Path) -> None:
        # Scaling is alpha / r, so each module's alpha is its own rank: the factors are used as they are.
        config = {
            "peft_type": "LORA",
            "task_type": "CAUSAL_LM",
            "base_model_name_or_path": card.base_model.removeprefix("hf://"),
            "inference_mode": True,
            "r": rank,
            "lora_alpha": rank,
            "rank_pattern": {name: r for name, r in modules.items() if r != rank},
            "alpha_pattern": {name: r for name, r in modules.items() if r != rank},
            "target_modules": sorted(modules),
            "bias": "none",
            "lora_dropout": 0.0,
        }
        (work / CONFIG).write_text(json.dumps(config, indent=2), encoding="utf-8")
        plan = [Planned(name, tensor.dtype, tuple(tensor.shape)) for name, tensor in tensors.items()]
        write_file(work / WEIGHTS, plan, tensors.values())
        (work / CARD).write_text(card.render("peft"), encoding="utf-8")

    return _complete(folder, fill)


def adapter_tensors(materialiser: Materialiser, genome: Genome) -> dict[str, torch.Tensor]:
    """Return a child's adapter weights under PEFT's names, float32: A (R, n) and B (m, R), of scaling 1.

    Raises:
        UnsupportedHere: a full-rank expert, an embedding or a tensor that is not a matrix takes part, by name.
    """
    layout = materialiser.layout
    tensors = {}
    if genome.coefficients.any() and layout.others:
        raise UnsupportedHere(f"A child that changes {layout.others[0]} is no LoRA adapter: export a checkpoint.")
    for i, matrix in enumerate(layout.matrices):
        if not materialiser.is_low_rank(i) or "embed" in matrix.name:
            raise UnsupportedHere(f"A child that changes {matrix.name} is no plain LoRA adapter: export a checkpoint.")
        left, right = materialiser.pair(i, genome)
        module = PREFIX + matrix.name.removesuffix(".weight")
        tensors[f"{module}.lora_A.weight"] = right.T.float().contiguous()
        tensors[f"{module}.lora_B.weight"] = left.float().contiguous()
    return tensors


def _shards(plan: Iterable[Planned], limit: int) -> list[list[Planned]]:
    shards: list[list[Planned]] = [[]]
    size = 0
    for item in plan:
        if shards[-1] and size + item.nbytes > limit:
            shards.append([])
            size = 0
        shards[-1].append(item)
        size += item.nbytes
    return shards


def _shard_name(i: int, count: int) -> str:
    return f"model-{i + 1:05d}-of-{count:05d}.safetensors"


def _in_order(
    tensors: Iterable[tuple[str, torch.Tensor | WeightedSum]], plan: Iterable[Planned]
) -> Iterator[torch.Tensor | WeightedSum]:
    stream = iter(tensors)
    for item in plan:
        name, tensor = next(stream, (None, None))
        if name != item.name or tensor is None:
            raise BadData(f"The model to export gives {name} where the base model has {item.name}.")
        yield tensor
        del tensor
    yield from (tensor for _, tensor in stream)


def _copy_companions(source: Path, target: Path) -> None:
    """Copy everything small that belongs to the model: config, tokenizer, templates, licence, but no weights."""
    for file in sorted(source.iterdir()):
        wanted = file.suffix in _COMPANIONS or file.name.startswith(("LICENSE", "NOTICE", "USE_POLICY"))
        if file.is_file() and wanted and file.name not in _NOT_COMPANIONS:
            shutil.copyfile(file, target / file.name)


def _complete(folder: Path, fill: Callable[[Path], None]) -> Path:
    """Let ``fill`` write a folder beside ``folder`` and rename it; remove it if that fails."""
    if folder.exists():
        raise BadData(f"The export folder {folder} exists: name another one or delete it.")
    work = folder.with_name(f".{folder.name}.partial")
    try:
        shutil.rmtree(work, ignore_errors=True)  # of an export that was killed
        work.mkdir(parents=True)
        fill(work)
        work.rename(folder)
    except OSError as error:
        raise translate(error, f"The export folder {folder}") from error
    finally:
        shutil.rmtree(work, ignore_errors=True)
    return folder
