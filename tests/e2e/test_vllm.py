"""A run whose workers answer with vLLM, in the image that brings it: tiny models, all roles, children together."""

from __future__ import annotations

import os

import pytest

from cycleqd.store import open_store
from cycleqd.store.transfer import upload_folder
from tests.e2e.checker import check
from tests.e2e.outside import need
from tests.e2e.scene import Scene
from tests.runner.engines.support import save_chat_model
from tests.runner.models import save_adapter

pytestmark = [pytest.mark.e2e, pytest.mark.together(long=True), pytest.mark.timeout(3000)]

VLLM = {
    "spec.engine.type": "VLLM",
    "spec.engine.args": {"dtype": "Float32", "threads": 1, "maxBatchTokens": 512, "concurrentChildren": 2},
    "spec.search.children": 3,
    "spec.workers.childrenPerJob": 3,
}


def test_children_are_evaluated_together_with_vllm(scene: Scene) -> None:
    need({"CYCLEQD_VLLM_IMAGE": "a workers' image with vLLM"})
    base = save_chat_model(scene.folder / "base")
    for seed, name in enumerate(("a", "b"), start=1):
        save_adapter(base, scene.folder / name, seed)
    models = f"{scene.world.uri}/chat-models"
    upload_folder(open_store(models), scene.folder, "")
    sources = {"spec.baseModel.uri": f"{models}/base"} | {
        f"spec.experts.{place}.uri": f"{models}/{name}" for place, name in enumerate(("a", "b"))
    }
    image = {"spec.workers.image": os.environ["CYCLEQD_VLLM_IMAGE"]}
    run = scene.tiny_run("vllm", VLLM | sources | image, knows_experts=False)
    run.apply()
    run.reach_state("Succeeded")

    results = check(run)
    assert {result.versions["engine"] for result in results.values()} == {"VLLM"}
    assert all("vllm" in result.versions for result in results.values())
    assert results[2].timings.evaluate_seconds == results[3].timings.evaluate_seconds, "one batch, its time divided"
    assert run.failures() == []
