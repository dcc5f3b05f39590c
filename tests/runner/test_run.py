"""Whole runs through the command, on tiny models of every kind."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from cycleqd import keys
from cycleqd.records import FinalEvaluation
from cycleqd.store import FolderStore, open_store
from tests.runner.models import fine_tune, save_adapter, save_llama
from tests.runner.runs import (
    COMMAND,
    finish,
    report_of,
    results_of,
    start_run,
    write_manifest,
)

pytestmark = pytest.mark.long


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
        pytest.param(
            "full",
            {"basis": {"rank": 3}, "emitter": {"type": "Guided", "steps": 1, "firstSteps": 2, "batchItems": 4}},
            id="full checkpoints of rank 3, guided",
        ),
        pytest.param(
            "mixed",
            {"mutation": {"type": "Gaussian", "stepLearningRate": 0.3}, "crossover": {"type": "Uniform"}},
            id="one of each, Gaussian mutation with learned steps, uniform crossover",
        ),
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
    results = results_of(manifest)
    assert sorted(results) == list(range(2 + 4))
    assert {one.emitter for one in results.values()} == {"Expert", search.get("emitter", {"type": "Paper"})["type"]}
    assert {one.versions["dtype"] for one in results.values()} == {"float32"}
    assert [(pair["first"], pair["second"]) for pair in report["affinity"]["pairs"]] == [("a", "b")]
    assert report["affinity"]["verdict"] in " ".join(printed.split()), "it is told before anything is bred"
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "run" / "final" / "model")
    tokens = AutoTokenizer.from_pretrained(base)("say 1", return_tensors="pt").input_ids
    assert torch.isfinite(model(tokens).logits).all()

    again = start_run(manifest)
    finish(again)
    assert again.returncode == 0, "a finished run is found finished"


def test_a_guided_run_learns_from_right_answers_and_says_whose(tmp_path: Path) -> None:
    base = save_llama(tmp_path / "base")
    experts = {name: save_adapter(base, tmp_path / name, seed) for seed, name in enumerate(("a", "b"), start=1)}
    guided = {"type": "Guided", "steps": 1, "firstSteps": 2, "batchItems": 4, "share": 0.7}
    spec = tiny_spec(tmp_path, experts, base, emitter=guided, mutation={"type": "Svd", "basis": "Child"}, children=6)
    spec["finalize"] |= {"polishSteps": 1}
    for task in spec["tasks"]:
        task["items"] = task["items"] | {"lessons": 3}
    manifest = write_manifest(tmp_path / "tiny.yaml", spec)

    process = start_run(manifest)
    printed = finish(process)

    assert process.returncode == 0, printed
    results = results_of(manifest)
    for k, name in enumerate(experts):
        lessons = results[k].lessons
        assert lessons is not None
        assert (lessons.task, lessons.split, len(lessons.outcomes)) == (f"t-{name}", "lessons", 3)
    children = [result for individual, result in results.items() if individual >= len(experts)]
    assert {child.emitter for child in children} == {"Paper", "Guided"}
    for child in children:
        assert bool(child.teachers) == bool(child.training_tokens) == (child.emitter == "Guided")
        assert (child.guidance is not None) == (child.emitter == "Guided")
        assert child.guidance is None or 0 < child.guidance.seconds < child.timings.breed_seconds
    first = next(child for child in children if child.emitter == "Guided")
    assert (first.parents, first.draws["steps"]) == ((0, 1), 2)
    report = report_of(manifest)
    taught = {one["id"]: tuple(one["teachers"]) for one in report["individuals"]}
    assert taught == {individual: result.teachers for individual, result in results.items()}
    assert report["cost"]["polishing"]["seconds"] > 0
    polished = [candidate for candidate in report["candidates"] if candidate["polish"]]
    assert "aggregate-polished" in {candidate["name"] for candidate in polished}
    assert report["cost"]["training_tokens"] > sum(child.training_tokens for child in children)
    assert report["progress"][-1]["training_tokens"] == sum(child.training_tokens for child in children)
    taken = [child.guidance for child in children if child.guidance]
    assert report["cost"]["guidance"] == {
        "seconds": max(one.seconds for one in taken),
        "peak_bytes": max(one.peak_bytes for one in taken),
        "on_gpu": torch.cuda.is_available(),
    }
    chosen = next(candidate for candidate in report["candidates"] if candidate["chosen"])
    run = FolderStore(manifest.parent / spec["storage"]["uri"])
    test = FinalEvaluation.model_validate_json(run.get(keys.final_evaluation(chosen["genome_sha256"], "test")))
    merged = report["scores"]["merged"]
    assert {own.task: own.score for own in test.evaluations} == {task: own["mean"] for task, own in merged.items()}
    adapter = tmp_path / "adapter"
    exported = subprocess.run([*COMMAND, "export", str(manifest), str(adapter), "--final", "--adapter"], check=False)
    assert exported.returncode == 0
    assert (adapter / "adapter_config.json").exists()


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


def without_a_shard(folder: Path) -> None:
    tensors = load_file(folder / "model.safetensors")
    index = {"metadata": {}, "weight_map": dict.fromkeys(tensors, "model-00001-of-00002.safetensors")}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index), encoding="utf-8")
    (folder / "model.safetensors").unlink()


def in_float32(folder: Path) -> None:
    file = folder / "model.safetensors"
    save_file({name: tensor.float() for name, tensor in load_file(file).items()}, file, metadata={"format": "pt"})


def of_another_shape(folder: Path) -> None:
    shutil.rmtree(folder)
    save_llama(folder, intermediate_size=64)


def with_config(folder: Path, **fields: Any) -> None:
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    (folder / "config.json").write_text(json.dumps({**config, **fields}), encoding="utf-8")


@pytest.mark.parametrize(
    ("damage", "expected"),
    [
        pytest.param(with_nan, "model.norm.weight", id="NaN in weights"),
        pytest.param(cut_off, "model.safetensors", id="truncated file"),
        pytest.param(without_a_shard, "model-00001-of-00002.safetensors", id="missing shard"),
        pytest.param(in_float32, "float32", id="another dtype"),
        pytest.param(of_another_shape, "of shape", id="another shape"),
        pytest.param(partial(with_config, vocab_size=65), "vocabulary", id="another vocabulary"),
        pytest.param(partial(with_config, model_type="mistral"), "mistral", id="another architecture"),
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
