from __future__ import annotations

from pathlib import Path

import pytest

from cycleqd.api.models import ModelSource
from cycleqd.errors import BadData, MissingInput
from cycleqd.store import FolderStore, open_store
from cycleqd_runner.local_copies import model_folder, read_data, store_folder


def test_items_are_read_by_path_and_by_uri(tmp_path: Path, s3_bucket: str) -> None:
    path = tmp_path / "my items.jsonl"
    path.write_bytes(b"x")
    open_store(s3_bucket).put("data/items.jsonl", b"y")
    assert [read_data(uri) for uri in (str(path), path.as_uri(), f"{s3_bucket}/data/items.jsonl")] == [b"x", b"x", b"y"]
    with pytest.raises(MissingInput, match=r"gone\.jsonl cannot be read \(No such file or directory\)"):
        read_data(str(tmp_path / "gone.jsonl"))
    with pytest.raises(BadData, match="cannot be read"):
        read_data(str(tmp_path))


@pytest.mark.parametrize(
    ("uri", "message"),
    [
        pytest.param("{s3}/data/gone.jsonl", r"has no object gone\.jsonl", id="items"),
        pytest.param("s3://no-such-bucket/gone.jsonl", "has no such bucket", id="bucket of items"),
    ],
)
def test_items_that_are_not_there_may_appear(s3_bucket: str, uri: str, message: str) -> None:
    with pytest.raises(MissingInput, match=message):
        read_data(uri.format(s3=s3_bucket))


@pytest.mark.parametrize(
    ("uri", "message"),
    [
        pytest.param("{s3}/gone", "/gone has nothing: check", id="prefix"),
        pytest.param("s3://no-such-bucket/m", "has no such bucket", id="bucket"),
        pytest.param("{folder}/gone", "There is no model folder", id="folder"),
    ],
)
def test_models_that_are_not_there_may_appear(s3_bucket: str, tmp_path: Path, uri: str, message: str) -> None:
    with pytest.raises(MissingInput, match=message):
        model_folder(ModelSource(uri=uri.format(s3=s3_bucket, folder=tmp_path)), "run-1")


def test_a_model_is_there_when_its_configuration_is(s3_bucket: str) -> None:
    source, store = ModelSource(uri=f"{s3_bucket}/half"), open_store(f"{s3_bucket}/half")
    store.put("model.safetensors", b"weights")
    with pytest.raises(MissingInput, match=r"/half has no config\.json and no adapter_config\.json: correct the uri"):
        model_folder(source, "run-1")
    store.put("config.json", b"{}")
    assert {path.name for path in model_folder(source, "run-1").iterdir()} == {"model.safetensors", "config.json"}


def test_a_model_in_s3_is_downloaded_once_a_run(s3_bucket: str) -> None:
    source, store = ModelSource(uri=f"{s3_bucket}/m"), open_store(f"{s3_bucket}/m")
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
