from __future__ import annotations

from pathlib import Path

import boto3
import pytest
from moto.server import ThreadedMotoServer

from cycleqd.api.models import ModelSource
from cycleqd.errors import BadData
from cycleqd.store import FolderStore, open_store
from cycleqd_runner.local_copies import model_folder, read_data, store_folder


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> str:
    server = ThreadedMotoServer(port=0)
    server.start()
    host, port = server.get_host_and_port()
    for name, value in {
        "AWS_ENDPOINT_URL_S3": f"http://{host}:{port}",
        "AWS_ACCESS_KEY_ID": "key",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "AWS_DEFAULT_REGION": "us-east-1",
        "CYCLEQD_CACHE": str(tmp_path / "cache"),
    }.items():
        monkeypatch.setenv(name, value)
    boto3.client("s3").create_bucket(Bucket="models")
    return "s3://models"


def test_items_are_read_by_path_and_by_uri(tmp_path: Path, bucket: str) -> None:
    path = tmp_path / "my items.jsonl"
    path.write_bytes(b"x")
    open_store(bucket).put("data/items.jsonl", b"y")
    assert [read_data(uri) for uri in (str(path), path.as_uri(), f"{bucket}/data/items.jsonl")] == [b"x", b"x", b"y"]
    with pytest.raises(BadData, match=r"gone\.jsonl cannot be read \(No such file or directory\)"):
        read_data(str(tmp_path / "gone.jsonl"))


def test_a_model_in_s3_is_downloaded_once_a_run(bucket: str) -> None:
    source, store = ModelSource(uri=f"{bucket}/m"), open_store(f"{bucket}/m")
    store.put("config.json", b"old")
    folder = model_folder(source, "run-1")
    store.put("config.json", b"new")
    assert model_folder(source, "run-1") == folder
    assert (folder / "config.json").read_bytes() == b"old", "a run keeps what it started with"
    assert (model_folder(source, "run-2") / "config.json").read_bytes() == b"new", "another run sees what is there now"


def test_a_folder_store_is_used_in_place(tmp_path: Path) -> None:
    store = FolderStore(tmp_path)
    store.put("basis/a/manifest.json", b"{}")
    assert store_folder(store, "basis/a", "run-1") == tmp_path / "basis" / "a"
