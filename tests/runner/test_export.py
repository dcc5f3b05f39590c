"""Exported models: what plain transformers and peft load is what the genome says."""

from __future__ import annotations

import errno
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer

from cycleqd.errors import AccessDenied, BadData, NoSpace, UnsupportedHere
from cycleqd.genome import Form, Genome, combine
from cycleqd_runner.basis import Basis
from cycleqd_runner.checkpoints import INDEX, Checkpoint
from cycleqd_runner.compatibility import open_expert
from cycleqd_runner.export import export_adapter, export_checkpoint
from cycleqd_runner.factorise import factorise
from cycleqd_runner.layouts import expert_genomes, layout_of
from cycleqd_runner.materialise import Materialiser
from cycleqd_runner.model_card import ModelCard
from tests.runner.models import fine_tune, logits, save_adapter, save_llama

CARD = ModelCard(
    name="Tiny merged",
    base_model="hf://org/tiny",
    experts={"sql": "s3://models/sql", "shell|bash": "file:///models/shell"},
    summary="Bred for 3 cycles.",
    lineage=("7: 3 x 5, mutated along sql", "aggregate of 7 and 9"),
    tasks=("sql", "shell"),
    scores={"base": [0.0, 0.125], "merged": [0.9, None]},
)


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("models")


@pytest.fixture(scope="module", params=["untied", "tied"])
def base(request: pytest.FixtureRequest, work: Path) -> Checkpoint:
    tied = request.param == "tied"
    folder = save_llama(work / request.param, dtype=torch.float32, shard="20KB", tie_word_embeddings=tied)
    return Checkpoint(folder)


def _materialiser(base: Checkpoint, folders: list[Path], work: Path, form: Form = "Gains") -> Materialiser:
    bases = []
    for k, folder in enumerate(folders):
        expert = open_expert(folder)
        factorise(f"expert{k}", expert, base, work / f"basis{k}")
        bases.append(Basis(work / f"basis{k}", expert))
    return Materialiser(base, bases, layout_of([b.manifest for b in bases], form))


def _child(materialiser: Materialiser, seed: int = 0) -> Genome:
    """Return a child of all experts with a gain of its own for every direction (or core number)."""
    genomes = expert_genomes(materialiser._bases, materialiser.layout)
    child = combine(genomes, [0.5, 0.7])
    noise = np.random.default_rng(seed).uniform(0.8, 1.2, child.values.shape).astype(np.float32)
    return Genome(child.values * noise, child.coefficients)


@pytest.mark.parametrize("max_shard_bytes", [10**9, 30_000])
def test_checkpoint_loads_in_transformers(base: Checkpoint, tmp_path: Path, max_shard_bytes: int) -> None:
    folders = [fine_tune(base.folder, tmp_path / f"model{k}", k) for k in range(2)]
    materialiser = _materialiser(base, folders, tmp_path)
    child = _child(materialiser)
    tensors = materialiser.tensors(child)
    folder = export_checkpoint(tmp_path / "out", base, tensors, CARD, max_shard_bytes=max_shard_bytes)
    model = AutoModelForCausalLM.from_pretrained(folder)
    by_hand = AutoModelForCausalLM.from_pretrained(base.folder)
    by_hand.load_state_dict(dict(materialiser.tensors(child)), strict=False)
    by_hand.tie_weights()
    assert torch.equal(logits(model), logits(by_hand))
    assert not torch.allclose(logits(model), logits(AutoModelForCausalLM.from_pretrained(base.folder)))
    shards = sorted(folder.glob("*.safetensors"))
    assert ((folder / INDEX).exists(), len(shards) > 1) == ((max_shard_bytes < base.nbytes,) * 2)
    assert all(shard.stat().st_size < max_shard_bytes + 10_000 for shard in shards)
    assert {name: t.shape for name, t in model.state_dict().items() if name in base} == {
        name: base.shape(name) for name in base.names
    }


def test_companions_come_along(base: Checkpoint, tmp_path: Path) -> None:
    (base.folder / "LICENSE").write_text("free")
    (base.folder / "pytorch_model.bin").write_bytes(b"no")
    tensors = ((name, base.tensor(name)) for name in base.names)
    folder = export_checkpoint(tmp_path / "out", base, tensors, CARD)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    original = AutoTokenizer.from_pretrained(base.folder)
    assert tokenizer.get_vocab() == original.get_vocab()
    message = [{"role": "user", "content": "word1 word2"}]
    assert tokenizer.apply_chat_template(message, tokenize=False) == "word1 word2"
    for name in ("config.json", "generation_config.json"):
        assert json.loads((folder / name).read_text()) == json.loads((base.folder / name).read_text())
    assert (folder / "LICENSE").read_text() == "free"
    assert not (folder / "pytorch_model.bin").exists()
    assert not (folder / INDEX).exists()  # the base has one, this folder has one file


def test_card_has_front_matter_lineage_and_scores(base: Checkpoint, tmp_path: Path) -> None:
    tensors = ((name, base.tensor(name)) for name in base.names)
    text = (export_checkpoint(tmp_path / "out", base, tensors, CARD) / "README.md").read_text(encoding="utf-8")
    _, front, body = text.split("---\n", 2)
    assert yaml.safe_load(front) == {
        "base_model": "org/tiny",
        "library_name": "transformers",
        "tags": ["merge", "cycleqd"],
    }
    for line in ("# Tiny merged", "| shell\\|bash | file:///models/shell |", "| merged | 0.900 | – |", "1. 7: 3 x 5"):
        assert line in body


class TestNothingIsLeftBehind:
    def test_existing_folder_is_kept(self, base: Checkpoint, tmp_path: Path) -> None:
        (tmp_path / "out").mkdir()
        with pytest.raises(BadData, match="exists: name another one"):
            export_checkpoint(tmp_path / "out", base, (), CARD)

    def test_missing_tensors(self, base: Checkpoint, tmp_path: Path) -> None:
        tensors = ((name, base.tensor(name)) for name in base.names[1:])
        with pytest.raises(BadData, match=f"where the base model has {base.names[0]}"):
            export_checkpoint(tmp_path / "out", base, tensors, CARD)
        assert not list(tmp_path.iterdir())

    def test_surplus_tensors(self, base: Checkpoint, tmp_path: Path) -> None:
        tensors = [*((name, base.tensor(name)) for name in base.names), ("more", torch.ones(1))]
        with pytest.raises(BadData, match="more tensors than the base model's"):
            export_checkpoint(tmp_path / "out", base, tensors, CARD)

    @pytest.mark.parametrize(("code", "error"), [(errno.ENOSPC, NoSpace), (errno.EACCES, AccessDenied)])
    def test_full_disk(self, base: Checkpoint, tmp_path: Path, code: int, error: type[Exception]) -> None:
        def tensors() -> Iterator[tuple[str, torch.Tensor]]:
            yield base.names[0], base.tensor(base.names[0])
            raise OSError(code, "as write() would")

        with pytest.raises(error):
            export_checkpoint(tmp_path / "out", base, tensors(), CARD)
        assert not list(tmp_path.iterdir())

    def test_remains_of_a_killed_export_do_not_matter(self, base: Checkpoint, tmp_path: Path) -> None:
        (tmp_path / ".out.partial").mkdir()
        (tmp_path / ".out.partial" / "model.safetensors").write_bytes(b"half")
        tensors = ((name, base.tensor(name)) for name in base.names)
        assert Checkpoint(export_checkpoint(tmp_path / "out", base, tensors, CARD)).names == base.names
        assert [path.name for path in tmp_path.iterdir()] == ["out"]


def _adapters(base: Checkpoint, work: Path) -> list[Path]:
    """Save two adapters on overlapping modules with different ranks."""
    first = save_adapter(base.folder, work / "a", 1, r=2, target_modules=["q_proj", "down_proj"])
    second = save_adapter(base.folder, work / "b", 2, r=3, target_modules=["q_proj", "up_proj"])
    return [first, second]


@pytest.mark.parametrize("form", ["Gains", "Core"])
def test_adapter_loads_in_peft(base: Checkpoint, tmp_path: Path, form: Form) -> None:
    materialiser = _materialiser(base, _adapters(base, tmp_path), tmp_path, form)
    child = _child(materialiser)
    folder = export_adapter(tmp_path / "out", materialiser, child, CARD)
    adapted = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base.folder), folder)
    expected = AutoModelForCausalLM.from_pretrained(base.folder)
    expected.load_state_dict(dict(materialiser.tensors(child)), strict=False)
    expected.tie_weights()
    torch.testing.assert_close(logits(adapted), logits(expected), atol=1e-4, rtol=1e-4)
    plain = logits(AutoModelForCausalLM.from_pretrained(base.folder))
    assert (logits(adapted) - plain).abs().max() > 0.01
    assert sorted(path.name for path in folder.iterdir()) == [
        "README.md",
        "adapter_config.json",
        "adapter_model.safetensors",
    ]


def test_an_exported_adapter_is_an_expert_again(base: Checkpoint, tmp_path: Path) -> None:
    materialiser = _materialiser(base, _adapters(base, tmp_path), tmp_path)
    child = _child(materialiser)
    folder = export_adapter(tmp_path / "out", materialiser, child, CARD)
    (tmp_path / "again").mkdir()
    again = _materialiser(base, [folder], tmp_path / "again")
    expected = dict(materialiser.tensors(child))
    genome = expert_genomes(again._bases, again.layout)[0]
    for name, tensor in again.tensors(genome):
        torch.testing.assert_close(tensor, expected[name], atol=1e-6, rtol=1e-5)


def test_what_is_no_adapter_is_refused_by_name(base: Checkpoint, tmp_path: Path) -> None:
    full = [fine_tune(base.folder, tmp_path / "model", 1), *_adapters(base, tmp_path)[:1]]
    materialiser = _materialiser(base, full, tmp_path)
    with pytest.raises(UnsupportedHere, match=r"changes model\.\S*norm\.weight is no LoRA adapter"):
        export_adapter(tmp_path / "out", materialiser, _child(materialiser), CARD)
    genome = Genome(_child(materialiser).values, np.zeros((2, len(materialiser.layout.others)), np.float32))
    with pytest.raises(UnsupportedHere, match=r"weight is no plain LoRA adapter: export a checkpoint"):
        export_adapter(tmp_path / "out", materialiser, genome, CARD)
    assert not (tmp_path / "out").exists()
