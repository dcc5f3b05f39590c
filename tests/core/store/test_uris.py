"""Which URI opens which store, and which keys there are."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from cycleqd.errors import BadData, BadManifest
from cycleqd.store import Credentials, FolderStore, check_key, check_prefix, open_store
from cycleqd.store.s3 import S3Store


@pytest.mark.parametrize(
    ("uri", "path"),
    [
        ("/data/runs/x", "/data/runs/x"),
        ("/data/../runs", "/runs"),
        ("file:///data/runs/x", "/data/runs/x"),
        ("file://localhost/data/x", "/data/x"),
        ("file:///data/a%20b", "/data/a b"),
    ],
)
def test_folders(uri: str, path: str) -> None:
    store = open_store(uri)
    assert isinstance(store, FolderStore)
    assert store.root == Path(path)
    assert open_store(store.uri).uri == store.uri


def test_relative_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert open_store("runs/x").uri == (tmp_path / "runs/x").as_uri()


@pytest.mark.parametrize(
    ("uri", "opened"),
    [("s3://runs/a/b", "s3://runs/a/b"), ("s3://runs/a/", "s3://runs/a"), ("s3://runs", "s3://runs")],
)
def test_buckets(uri: str, opened: str) -> None:
    store = open_store(uri, Credentials("id", "secret", endpoint_url="http://127.0.0.1:9", region="us-east-1"))
    assert isinstance(store, S3Store)
    assert store.uri == opened


@pytest.mark.parametrize(
    ("uri", "message"),
    [
        ("", "empty"),
        ("hf://org/model", "hf://.*s3://BUCKET/PREFIX"),
        ("https://runs.example/x", "https://"),
        ("s3://", "bucket name"),
        ("s3:///x", "bucket name"),
        ("s3://a bucket/x", "bucket name"),
        ("s3://runs/../x", "impossible prefix"),
        ("file://runs/x", "three slashes"),
        (__file__, "is a file"),
    ],
)
def test_malformed(uri: str, message: str) -> None:
    with pytest.raises(BadManifest, match=message):
        open_store(uri)


def test_malformed_endpoint() -> None:
    with pytest.raises(BadManifest, match="AWS_ENDPOINT_URL"):
        open_store("s3://runs/x", Credentials("id", "secret", endpoint_url="not a url"))


def test_a_secret_is_not_shown() -> None:
    assert "hidden" not in repr(Credentials("id", "hidden", "hidden too"))


def test_folders_need_no_boto() -> None:
    code = "import sys, cycleqd.store as s; s.open_store('x').exists('a'); sys.exit('boto3' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize("key", ["run.json", "a/b/c", ".hidden", "a..b", "é", "x" * 200, "/".join(["y" * 99] * 8)])
def test_keys(key: str) -> None:
    assert check_key(key) == key


@pytest.mark.parametrize("key", ["x" * 201, "é" * 101, "/".join(["y" * 99] * 9), "\ud800", "a/./b", "\x7f"])
def test_no_keys(key: str) -> None:
    with pytest.raises(BadData, match="is not a key"):
        check_key(key)


@pytest.mark.parametrize(
    ("prefix", "folder", "good"),
    [("", True, True), ("a/", True, True), ("a", False, True), ("a", True, False), ("/", False, False)],
)
def test_prefixes(prefix: str, folder: bool, good: bool) -> None:
    if good:
        assert check_prefix(prefix, folder=folder) == prefix
    else:
        with pytest.raises(BadData):
            check_prefix(prefix, folder=folder)
