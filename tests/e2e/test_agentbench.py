"""The paper's protocols in real pods: model-written code and MariaDB beside the worker, under restricted Pod Security.

The example's manifest with tiny random models, whose answers are wrong: that every item is judged is what counts.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
import yaml

from cycleqd.records import Result
from cycleqd.store import open_store
from tests.e2e.checker import check
from tests.e2e.manifests import REMOVED, ROOT, edited
from tests.e2e.outside import need
from tests.e2e.scene import Document, Run, Scene
from tests.e2e.tiny import CPU

pytestmark = [pytest.mark.e2e, pytest.mark.together(long=True), pytest.mark.timeout(3000)]

BUCKET = "s3://cycleqd"
"""Of the manifest; the test has one of its own."""
ITEMS = {"search": 3, "validation": 1, "test": 1}
FILES = {
    "mbpp.jsonl": "mbpp/mbpp-train.jsonl",
    "dbbench.jsonl": "agentbench/dbbench-dev.jsonl",
    "os.json": "agentbench/os-dev.json",
}
"""What the manifest calls them, and where they lie below ``CYCLEQD_DATA``."""


def test_the_papers_protocols_run_beside_the_worker(scene: Scene) -> None:
    need({"CYCLEQD_DATA": "a folder with the benchmarks' files", "CYCLEQD_MARIADB_IMAGE": "MariaDB's image"})
    publish(Path(os.environ["CYCLEQD_DATA"]), f"{scene.world.uri}/agentbench")
    run = scene.add(manifest(scene))
    run.apply()
    run.reach_state("Succeeded")

    for result in check(run).values():
        check_judged(result)
    assert run.failures() == []
    check_pods(run)


def publish(data: Path, uri: str) -> None:
    """Upload the benchmarks' files; of the operating-system items those that need no script."""
    store = open_store(uri)
    for name, source in FILES.items():
        content = (data / source).read_bytes()
        if name == "os.json":
            content = json.dumps([item for item in json.loads(content) if "match" in item["evaluation"]]).encode()
        store.put(name, content)


def manifest(scene: Scene) -> Document:
    """Return the example's manifest with tiny models, and fewer items and children."""
    text = (ROOT / "examples" / "agentbench" / "cluster.yaml").read_text(encoding="utf-8")
    tiny = scene.world.tiny
    models = {f"spec.experts.{k}.uri": f"{tiny.uri}/{name}" for k, name in enumerate(("a", "b", "a"))}
    return edited(
        yaml.safe_load(text.replace(BUCKET, scene.world.uri)),
        {
            "spec.baseModel.uri": f"{tiny.uri}/base",
            **models,
            **{f"spec.tasks.{k}.items": ITEMS for k in range(len(models))},
            **{f"spec.tasks.{k}.evaluator.maxTokens": 8 for k in range(len(models))},
            "spec.tasks.2.evaluator.scripts": REMOVED,
            "spec.search.children": 2,
            "spec.engine": {"args": {"dtype": "Float32", "threads": 1}},
            "spec.workers.template.resources": {"requests": {"cpu": CPU}},
        },
    )


def check_judged(result: Result) -> None:
    """Every item has a score, and the code ran beside the worker."""
    assert result.versions["sandbox"] == "Sidecar"
    asked = {evaluation.task: evaluation.outcomes for evaluation in result.evaluations if evaluation.split == "search"}
    assert {task: len(outcomes) for task, outcomes in asked.items()} == dict.fromkeys(
        ("mbpp", "db", "os"), ITEMS["search"]
    )
    unscored = [outcome for outcomes in asked.values() for outcome in outcomes if outcome.score is None]
    assert unscored == []


def check_pods(run: Run) -> None:
    """The namespace admits restricted pods only, and these were admitted with all sidecars, none of which ever died."""
    kubectl, namespace = run.world.kubectl, run.world.namespace
    labels = kubectl.get("namespace", namespace)["metadata"]["labels"]
    assert labels["pod-security.kubernetes.io/enforce"] == "restricted"
    of_others = {"prepare-1": {"sandbox": 0}, "prepare-2": {"sandbox": 0}}  # the first worker tries everything
    for pod in run.objects("pods"):
        work = pod["metadata"]["labels"]["batch.kubernetes.io/job-name"].removeprefix(f"{run.name}-")
        assert sidecars(pod) == of_others.get(work, {"sandbox": 0, "mariadb": 0}), work


def sidecars(pod: Document) -> dict[str, Any]:
    """Return how often each sidecar of a pod was started again."""
    return {status["name"]: status["restartCount"] for status in pod["status"].get("initContainerStatuses", [])}
