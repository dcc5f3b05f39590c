"""The quickstart's manifests mean the same run, on a laptop and on a cluster, and find there what is uploaded.

The paper's differs from it in the search alone, and starts from where all comparisons do.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml

from cycleqd.api import RunSpec
from cycleqd.manifest import load_manifest, parse_manifest
from cycleqd.placing import below
from cycleqd.store import open_store
from cycleqd_runner.contest.entries import load_contest
from tests.core.store.harness import unused_address

QUICKSTART = Path(__file__).parents[2] / "examples" / "quickstart"


def _manifest(name: str) -> dict[str, Any]:
    manifest: dict[str, Any] = yaml.safe_load((QUICKSTART / name).read_text(encoding="utf-8"))
    return manifest


def _without_places(name: str) -> dict[str, Any]:
    """Return a manifest without what differs between a laptop and a cluster."""
    manifest = _manifest(name)
    spec = manifest["spec"]
    for source in (spec["baseModel"], *spec["experts"]):
        del source["uri"]
    del spec["storage"]
    spec.pop("workers", None)
    return manifest


def _models(spec: RunSpec) -> list[str]:
    return [spec.base_model.uri, *(expert.uri for expert in spec.experts)]


def _upload(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(QUICKSTART / "upload.py"), *arguments]
    return subprocess.run(
        command, capture_output=True, text=True, check=False, timeout=60, env={**os.environ, **environment}
    )


def test_laptop_and_cluster_run_the_same() -> None:
    assert _without_places("cluster.yaml") == _without_places("run.yaml")


def test_the_papers_setting_differs_in_the_search_and_has_no_lessons() -> None:
    ours, papers = _manifest("run.yaml"), _manifest("paper.yaml")
    assert ours["metadata"] != papers["metadata"]
    assert ours["spec"]["storage"] != papers["spec"]["storage"]
    for spec in (ours["spec"], papers["spec"]):
        del spec["storage"]
    for task in ours["spec"]["tasks"]:
        assert task["items"].pop("lessons")
    search, papers_search = ours["spec"].pop("search"), papers["spec"].pop("search")
    assert ours["spec"] == papers["spec"]
    assert search["seed"] == papers_search["seed"], "the test items are the same"
    assert search["emitter"]["type"] == "Guided"
    assert papers_search.keys() == {"children", "seed"}, "the defaults are the paper's"


def test_methods_are_compared_by_what_differs_from_the_papers_setting() -> None:
    assert load_contest(QUICKSTART / "compare.yaml").manifest.spec.search.emitter.type == "Paper"


def test_a_storage_root_makes_the_laptops_manifest_the_clusters() -> None:
    ours = parse_manifest(_manifest("run.yaml"), below("s3://cycleqd/")).spec
    theirs = load_manifest(QUICKSTART / "cluster.yaml").spec
    assert _models(ours) == _models(theirs)
    assert ours.storage.uri == theirs.storage.uri
    assert theirs.storage.credentials_secret_name


def test_upload_puts_models_where_the_manifests_look(tmp_path: Path) -> None:
    (tmp_path / "base").mkdir()
    for name in ("model.safetensors", "config.json"):
        (tmp_path / "base" / name).write_bytes(b"a model")
    root = tmp_path / "root"
    for _ in range(2):
        done = _upload(str(root), "--base", str(tmp_path / "base"))
        assert done.returncode == 0, done.stderr
    there = {key.rpartition("/")[0] for key in open_store(str(root)).list()}
    spec = parse_manifest(_manifest("run.yaml"), below("s3://cycleqd/")).spec
    assert there == {uri.removeprefix("s3://cycleqd/") for uri in _models(spec)}


def test_upload_says_what_is_missing(tmp_path: Path) -> None:
    done = _upload(str(tmp_path / "store"), "--base", str(tmp_path))
    assert done.returncode == 2
    assert "prepare_base.py" in done.stderr
    assert not (tmp_path / "store").exists()


def test_upload_waits_for_a_store_and_then_says_what_is_wrong(tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").write_bytes(b"weights")
    keys = {"AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "secret", "AWS_EC2_METADATA_DISABLED": "true"}
    nowhere = {"AWS_ENDPOINT_URL_S3": unused_address(), **keys}
    done = _upload("s3://cycleqd", "--base", str(tmp_path), CYCLEQD_UPLOAD_WAIT_SECONDS="12", **nowhere)
    assert done.returncode == 2
    tried, *_, last = done.stderr.splitlines()
    assert tried.endswith("Trying again.")
    assert "The store s3://cycleqd at http" in last
    assert "cannot be reached (connection refused)" in last
