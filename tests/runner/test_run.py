"""Whole runs through the command: tiny models of every kind, and the real small model for what must be repeatable."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from cycleqd.manifest import load_manifest
from cycleqd.store import FolderStore, open_store
from tests.runner.models import fine_tune, save_adapter, save_llama
from tests.runner.runs import (
    children_of,
    finish,
    population_of,
    report_of,
    results_of,
    start_run,
    wait_until,
    write_manifest,
)

ROOT = Path(__file__).parents[2]
BASE = ROOT / "models" / "smollm2-135m-instruct"
EXPERTS = ROOT / "examples" / "quickstart" / "experts"
SKILLS = {"sql": "Sql", "shell": "Shell", "python": "PythonTests"}


def tiny_spec(folder: Path, experts: dict[str, Path], base: Path, **search: Any) -> dict[str, Any]:
    """Return a spec whose items a random model sometimes gets right: silence is the right answer to half of them."""
    items = folder / "items.jsonl"
    lines = [{"id": f"i{i}", "prompt": f"say {i}", "stdout": "" if i % 2 else "hello\n"} for i in range(12)]
    items.write_text("\n".join(json.dumps(line) for line in lines), encoding="utf-8")
    evaluator = {"type": "Shell", "data": str(items), "maxTokens": 4}
    splits = {"search": 4, "validation": 2, "test": 2}
    return {
        "baseModel": {"uri": str(base)},
        "experts": [{"name": name, "uri": str(path)} for name, path in experts.items()],
        "tasks": [{"name": f"t-{name}", "expert": name, "evaluator": evaluator, "items": splits} for name in experts],
        "search": {"children": 4, **search},
        "finalize": {"candidates": 1, "greedySteps": 1},
        "storage": {"uri": str(folder / "run")},
        "engine": {"args": {"dtype": "Float32"}},
    }


@pytest.mark.parametrize(
    ("kind", "search"),
    [
        pytest.param("full", {}, id="full checkpoints"),
        pytest.param("lora", {}, id="LoRA adapters"),
        pytest.param("lora", {"mutation": {"type": "Svd", "basis": "Child"}}, id="LoRA adapters in the child's basis"),
        pytest.param("mixed", {"mutation": {"type": "Gaussian"}}, id="one of each, Gaussian mutation"),
    ],
)
def test_a_tiny_run_ends_with_a_model_that_loads(tmp_path: Path, kind: str, search: dict[str, Any]) -> None:
    base = save_llama(tmp_path / "base")
    experts = {}
    for seed, name in enumerate(("a", "b"), start=1):
        is_full = kind == "full" or (kind == "mixed" and name == "a")
        folder = tmp_path / name
        experts[name] = fine_tune(base, folder, seed) if is_full else save_adapter(base, folder, seed)
    manifest = write_manifest(tmp_path / "tiny.yaml", tiny_spec(tmp_path, experts, base, **search))

    process = start_run(manifest)
    printed = finish(process)

    assert process.returncode == 0, printed
    report = report_of(manifest)
    assert set(report["scores"]) == {"base", "a", "b", "average", "merged"}
    assert sorted(results_of(manifest)) == list(range(2 + 4))
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "run" / "final" / "model")
    tokens = AutoTokenizer.from_pretrained(base)("say 1", return_tensors="pt").input_ids
    assert torch.isfinite(model(tokens).logits).all()

    again = start_run(manifest)
    finish(again)
    assert again.returncode == 0, "a finished run is found finished"


def test_a_run_in_s3_leaves_nothing_but_pictures_and_logs_here(tmp_path: Path, s3_bucket: str) -> None:
    base = save_llama(tmp_path / "base")
    experts = {name: save_adapter(base, tmp_path / name, seed) for seed, name in enumerate(("a", "b"))}
    spec = tiny_spec(tmp_path, experts, base) | {"storage": {"uri": f"{s3_bucket}/tiny"}}
    manifest = write_manifest(tmp_path / "tiny.yaml", spec)

    process = start_run(manifest)
    printed = finish(process)

    assert process.returncode == 0, printed
    store = open_store(f"{s3_bucket}/tiny")
    assert sorted(results_of(manifest)) == list(range(2 + 4))
    assert {"final/report.json", "final/report.html", "final/model/config.json"} <= set(store.list())
    assert not (tmp_path / "run").exists()


def with_nan(folder: Path) -> None:
    file = folder / "model.safetensors"
    tensors = load_file(file)
    tensors["model.norm.weight"][0] = torch.nan
    save_file(tensors, file, metadata={"format": "pt"})


def cut_off(folder: Path) -> None:
    file = folder / "model.safetensors"
    os.truncate(file, file.stat().st_size - 100)


def with_another_vocabulary(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    (folder / "config.json").write_text(json.dumps({**config, "vocab_size": 65}), encoding="utf-8")


@pytest.mark.parametrize(
    ("damage", "expected"),
    [
        pytest.param(with_nan, "model.norm.weight", id="NaN in weights"),
        pytest.param(cut_off, "model.safetensors", id="truncated file"),
        pytest.param(with_another_vocabulary, "vocabulary", id="another vocabulary"),
    ],
)
def test_a_damaged_expert_ends_the_run_with_one_sentence(
    tmp_path: Path, damage: Callable[[Path], None], expected: str
) -> None:
    base = save_llama(tmp_path / "base")
    experts = {name: fine_tune(base, tmp_path / name, seed) for seed, name in enumerate(("a", "b"))}
    damage(experts["b"])
    manifest = write_manifest(tmp_path / "tiny.yaml", tiny_spec(tmp_path, experts, base))

    process = start_run(manifest)
    printed = finish(process)

    assert process.returncode == 2, printed
    last = printed.strip().splitlines()[-1]
    assert expected in last
    assert "Traceback" not in printed


def real_spec(storage: Path, workers: int) -> dict[str, Any]:
    """Return the quickstart with a handful of items and children, strict."""
    splits = {"search": 6, "validation": 2, "test": 2}
    return {
        "baseModel": {"uri": str(BASE)},
        "experts": [{"name": f"{skill}-expert", "uri": str(EXPERTS / skill)} for skill in SKILLS],
        "tasks": [
            {"name": skill, "expert": f"{skill}-expert", "evaluator": {"type": kind, "maxTokens": 32}, "items": splits}
            for skill, kind in SKILLS.items()
        ],
        "search": {"children": 7, "seed": 3, "strict": True, "lag": 2},
        "finalize": {"candidates": 1, "greedySteps": 0},
        "storage": {"uri": str(storage)},
        "workers": {"parallelism": workers},
    }


@pytest.mark.skipif(not BASE.is_dir(), reason="no real small model: run examples/quickstart/prepare_base.py")
@pytest.mark.timeout(600)
def test_a_strict_run_that_is_killed_gives_the_same_bits_as_one_that_is_not(tmp_path: Path) -> None:
    calm = write_manifest(tmp_path / "calm.yaml", real_spec(tmp_path / "calm", workers=1))
    stormy = write_manifest(tmp_path / "stormy.yaml", real_spec(tmp_path / "stormy", workers=3))

    process = start_run(calm)
    printed = finish(process)
    assert process.returncode == 0, printed

    killed = start_run(stormy)
    wait_until(lambda: len(results_of(stormy)) >= 4)  # three experts and a child
    orphans = children_of(killed.pid)
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    wait_until(lambda: not any(Path(f"/proc/{orphan}").exists() for orphan in orphans))
    survivors = dict(results_of(stormy))
    resumed = start_run(stormy)
    wait_until(lambda: len(results_of(stormy)) > len(survivors) or resumed.poll() is not None)
    for worker in children_of(resumed.pid)[:1]:
        os.kill(worker, signal.SIGKILL)
    printed = finish(resumed)
    assert resumed.returncode == 0, printed

    one, three = results_of(calm), results_of(stormy)
    assert sorted(one) == sorted(three) == list(range(3 + 7))
    assert all(three[individual] == result for individual, result in survivors.items()), "what was written stays"
    for individual, result in one.items():
        assert three[individual].repeatable() == result.repeatable()
    folders = [FolderStore(Path(load_manifest(manifest).spec.storage.uri)) for manifest in (calm, stormy)]
    for individual in one:
        genomes = {folder.get(f"genomes/{individual:07d}.safetensors") for folder in folders}
        assert len(genomes) == 1
    for first, second in zip(population_of(calm).archives, population_of(stormy).archives, strict=True):
        assert np.array_equal(first.cells, second.cells)
        assert np.array_equal(first.members, second.members)
    assert report_of(calm)["scores"] == report_of(stormy)["scores"]
    assert len({result.scores for result in one.values()}) > 2, "individuals must differ, or this shows nothing"
