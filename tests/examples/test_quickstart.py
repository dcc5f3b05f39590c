"""The quickstart's two manifests mean the same run, and what the cluster's needs can be uploaded."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml

from cycleqd.manifest import load_manifest
from cycleqd.store import open_store

QUICKSTART = Path(__file__).parents[2] / "examples" / "quickstart"


def _without_places(name: str) -> dict[str, Any]:
    """Return a manifest without what differs between a laptop and a cluster."""
    manifest: dict[str, Any] = yaml.safe_load((QUICKSTART / name).read_text(encoding="utf-8"))
    spec = manifest["spec"]
    for source in (spec["baseModel"], *spec["experts"]):
        del source["uri"]
    del spec["storage"]
    spec.pop("workers", None)
    return manifest


def test_laptop_and_cluster_run_the_same() -> None:
    assert _without_places("cluster.yaml") == _without_places("run.yaml")


def test_the_cluster_finds_everything_in_s3() -> None:
    spec = load_manifest(QUICKSTART / "cluster.yaml").spec
    sources = [spec.base_model.uri, *(expert.uri for expert in spec.experts)]
    assert all(uri.startswith("s3://cycleqd/models/") for uri in sources)
    assert spec.storage.uri.startswith("s3://")
    assert spec.storage.credentials_secret_name


def test_upload_puts_models_where_the_manifest_looks(tmp_path: Path) -> None:
    (tmp_path / "base").mkdir()
    (tmp_path / "base" / "model.safetensors").write_bytes(b"weights")
    store = tmp_path / "store"
    command = [sys.executable, str(QUICKSTART / "upload.py"), str(store), "--base", str(tmp_path / "base")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    there = {key.partition("/")[0] for key in open_store(str(store)).list()}
    spec = load_manifest(QUICKSTART / "cluster.yaml").spec
    assert there == {uri.rpartition("/")[2] for uri in (spec.base_model.uri, *(expert.uri for expert in spec.experts))}


def test_upload_says_what_is_missing(tmp_path: Path) -> None:
    command = [sys.executable, str(QUICKSTART / "upload.py"), str(tmp_path / "store"), "--base", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "prepare_base.py" in done.stderr
    assert not (tmp_path / "store").exists()
