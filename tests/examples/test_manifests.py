"""The manifests below examples/: all are valid, and what their READMEs promise of them holds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from cycleqd.api import KIND, RunSpec
from cycleqd.api.search import Search
from cycleqd.manifest import load_manifest
from cycleqd_runner.tasks.registry import make_evaluator
from tests.docs.pages import links
from tests.runner.tasks.support import judge_all

EXAMPLES = Path(__file__).parents[2] / "examples"
LLAMA = EXAMPLES / "llama3-agents"
AGENTBENCH = EXAMPLES / "agentbench"


def documents(path: Path) -> list[dict[str, Any]]:
    return list(yaml.safe_load_all(path.read_text(encoding="utf-8")))


def manifests() -> list[Path]:
    """Return the files of examples/ that hold a run."""
    return [path for path in sorted(EXAMPLES.glob("*/*.yaml")) if documents(path)[0]["kind"] == KIND]


def name(path: Path) -> str:
    return path.relative_to(EXAMPLES).as_posix()


def models(spec: RunSpec) -> list[str]:
    return [spec.base_model.uri, *(expert.uri for expert in spec.experts)]


@pytest.mark.parametrize("path", manifests(), ids=name)
def test_runs_are_valid(path: Path) -> None:
    assert load_manifest(path).spec.tasks


def test_no_two_runs_get_in_each_others_way() -> None:
    elsewhere = {EXAMPLES / "agentbench" / "cluster.yaml"}  # the same run in another store
    runs = [load_manifest(path) for path in manifests() if path.parent.name != "quickstart" and path not in elsewhere]
    assert len({run.metadata.name for run in runs}) == len(runs)
    assert len({run.spec.storage.uri for run in runs}) == len(runs)


def test_every_example_has_a_readme_that_the_list_links() -> None:
    linked = {(EXAMPLES / link).resolve() for link in links(EXAMPLES / "README.md")}
    assert linked == set(EXAMPLES.glob("*/README.md"))


def test_the_papers_hyper_parameters_are_written_down() -> None:
    searches = [documents(LLAMA / file)[0]["spec"]["search"] for file in ("run.yaml", "now.yaml")]
    assert searches[0] == searches[1]
    assert searches[0] == {
        "children": 1200,
        "seed": 0,
        "cycle": "Tasks",
        "sampling": {"type": "Elite", "alphaLow": 0.5, "alphaHigh": 0.8},
        "crossover": {"type": "Linear", "mean": 1.0, "standardDeviation": 0.03},
        "mutation": {"type": "Svd", "basis": "Expert", "maxScale": 0.3},
        "emitter": {"type": "Paper"},
        "racing": {"enabled": False},
        "archive": {"bins": 15, "lowerFactor": 0.85, "upperFactor": 1.15},
    }
    assert load_manifest(LLAMA / "run.yaml").spec.search == Search(), "the defaults are the paper's"


@pytest.mark.parametrize("example", ["kueue", "private-s3-tls"])
def test_models_lie_where_the_quickstart_uploads_them(example: str) -> None:
    theirs = load_manifest(EXAMPLES / "quickstart" / "cluster.yaml").spec
    assert models(load_manifest(EXAMPLES / example / "run.yaml").spec) == models(theirs)


@pytest.mark.parametrize("example", ["kueue", "private-s3-tls"])
def test_the_quickstart_elsewhere_is_the_quickstart(example: str) -> None:
    theirs, ours = (load_manifest(EXAMPLES / name).spec for name in ("quickstart/cluster.yaml", f"{example}/run.yaml"))
    assert ours.tasks == theirs.tasks
    assert ours.search == theirs.search.model_copy(update={"children": ours.search.children})
    limits = [spec.workers.template.resources["limits"] for spec in (ours, theirs)]
    assert limits[0] == limits[1], "it takes as much memory"


def test_agentbench_on_a_cluster_is_agentbench_on_a_laptop() -> None:
    here, there = (load_manifest(AGENTBENCH / name).spec for name in ("run.yaml", "cluster.yaml"))
    for ours, theirs in zip(here.tasks, there.tasks, strict=True):
        moved = ours.model_dump_json().replace(str(AGENTBENCH / "data"), "s3://cycleqd/agentbench")
        assert moved == theirs.model_dump_json()
    assert (here.search, here.finalize) == (there.search, there.finalize)
    assert set(models(there)) == set(models(load_manifest(EXAMPLES / "quickstart" / "cluster.yaml").spec))


def test_a_run_that_waits_for_quota_has_a_job_for_each_worker() -> None:
    spec = load_manifest(EXAMPLES / "kueue" / "run.yaml").spec
    assert spec.search.children >= spec.workers.parallelism * spec.workers.children_per_job


def test_the_run_names_the_queue_and_the_secret_beside_it() -> None:
    queues = [body for body in documents(EXAMPLES / "kueue" / "queues.yaml") if body["kind"] == "LocalQueue"]
    assert load_manifest(EXAMPLES / "kueue" / "run.yaml").spec.workers.queue_name == queues[0]["metadata"]["name"]
    (secret,) = documents(EXAMPLES / "private-s3-tls" / "secret.yaml")
    storage = load_manifest(EXAMPLES / "private-s3-tls" / "run.yaml").spec.storage
    assert storage.credentials_secret_name == secret["metadata"]["name"]


@pytest.mark.parametrize("task", load_manifest(EXAMPLES / "lora" / "run.yaml").spec.tasks, ids=lambda task: task.name)
def test_the_items_of_ones_own_are_enough_and_right(task: Any) -> None:
    evaluator = make_evaluator(task.evaluator, lambda uri: Path(uri.removeprefix("file://")).read_bytes())
    items = evaluator.items()
    assert len(items) == task.items.search + task.items.validation + task.items.test
    verdicts = judge_all(evaluator, items, lambda item: str(item.payload["gold"]))
    assert {item.id: verdict.reason for item, verdict in zip(items, verdicts, strict=True) if verdict.score != 1} == {}
