"""The store of a run in a cluster, opened from here: by its Secret, by one's own credentials, through kubectl."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path

import pytest

from cycleqd.identity import claim
from cycleqd.manifest import parse_manifest
from cycleqd.store import open_store
from tests.cli.api_server import ApiServer
from tests.cli.support import SCORES, add_report, add_result, cycleqd, document, lines_of
from tests.cli.test_bad_input import is_one_sentence

SECRET_PATH = "/api/v1/namespaces/research/secrets/s3"


@pytest.fixture
def secret(api_server: ApiServer, s3_bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """Two runs, tiny and other, and what is in the Secret that opens them; the environment has nothing of it."""
    for name, maximum in (("tiny", 0.3), ("other", 0.6)):
        manifest = document(tmp_path, name)
        uri = f"{s3_bucket}/{tmp_path.name}/{name}"  # the server outlives the test
        manifest["spec"]["storage"]["uri"] = uri
        manifest["spec"]["search"]["mutation"] = {"type": "Svd", "maxScale": maximum}
        store = open_store(uri)
        claim(store, parse_manifest(manifest))
        for individual, scores in SCORES.items():
            add_result(store, individual, scores)
        api_server.add_run(name, {"state": "Breeding", "storageUri": uri})
        if name == "tiny":
            add_report(store)
    found = {
        "AWS_ACCESS_KEY_ID": "key",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "AWS_REGION": "us-east-1",
        "AWS_ENDPOINT_URL": os.environ["AWS_ENDPOINT_URL_S3"],
    }
    for variable in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(variable)
    monkeypatch.setenv("HOME", str(tmp_path))  # no credentials of the developer
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    return found


def test_plot_report_and_export_need_a_name_only(api_server: ApiServer, secret: Mapping[str, str]) -> None:
    api_server.add_secret("s3", secret)
    drawn = cycleqd("plot", "tiny")
    assert drawn.exit_code == 0, drawn.stderr
    assert (Path.cwd() / "tiny-pictures" / "archives.png").stat().st_size > 1000
    told = cycleqd("report", "tiny")
    assert told.exit_code == 0, told.stderr
    assert "tiny" in Path("tiny-report/report.html").read_text(encoding="utf-8")
    copied = cycleqd("export", "tiny", "--final", "model")
    assert copied.exit_code == 0, copied.stderr
    assert Path("model/config.json").read_text(encoding="utf-8") == "{}"


def test_a_run_in_the_cluster_stands_beside_another(api_server: ApiServer, secret: Mapping[str, str]) -> None:
    api_server.add_secret("s3", secret)
    told = cycleqd("report", "tiny", "--beside", "other")
    assert (told.exit_code, is_one_sentence(told.stderr)) == (2, True), told.stderr
    assert "The run other has no final report yet" in told.stderr
    assert not Path("tiny-report").exists()
    told = cycleqd("report", "tiny", "--beside", "cqd/tiny")
    assert told.exit_code == 0, told.stderr
    assert "Beside another run" in Path("tiny-report/report.html").read_text(encoding="utf-8")


def test_two_runs_are_compared(api_server: ApiServer, secret: Mapping[str, str]) -> None:
    api_server.add_secret("s3", secret)
    told = cycleqd("compare", "tiny", "other", "-o", "json")
    assert told.exit_code == 0, told.stderr
    found = json.loads(told.stdout)
    assert found["differences"] == [{"field": "search.mutation.maxScale", "first": 0.3, "second": 0.6}]
    assert found["first"]["standing"]["children"] == 2
    assert found["first"]["test"].keys() == {"sql", "shell", "python"}
    assert found["second"]["test"] is None
    shown = cycleqd("compare", "tiny", "other").stdout
    for expected in ("tiny", "other", "sql: best", "80.0 %", "python: test", "search.mutation.maxScale", "0.6"):
        assert expected in shown, expected


def test_conversations_are_shown_from_the_bucket(api_server: ApiServer, secret: Mapping[str, str]) -> None:
    api_server.add_secret("s3", secret)
    told = cycleqd("transcripts", "tiny", "--individual", "3", "--task", "shell", "--json")
    assert told.exit_code == 0, told.stderr
    assert [line["item"] for line in lines_of(told)] == [f"shell-{i}" for i in range(10)]
    told = cycleqd("transcripts", "tiny", "--failed")
    assert (told.exit_code, is_one_sentence(told.stderr)) == (2, True), told.stderr
    assert "with spec.transcripts All" in told.stderr


def test_own_credentials_do_where_the_secret_may_not_be_read(api_server: ApiServer, secret: Mapping[str, str]) -> None:
    api_server.refusals[SECRET_PATH] = (403, "secrets is forbidden")
    told = cycleqd("plot", "tiny")
    assert (told.exit_code, is_one_sentence(told.stderr)) == (2, True), told.stderr
    assert "set AWS_ACCESS_KEY_ID" in told.stderr
    endpoint = secret["AWS_ENDPOINT_URL"]
    own = {name: secret[name] for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_REGION")}
    told = cycleqd("plot", "tiny", "--endpoint-url", endpoint, **own)
    assert told.exit_code == 0, told.stderr


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        pytest.param(None, "The Secret s3 in the namespace research", id="no Secret"),
        pytest.param({"AWS_SECRET_ACCESS_KEY": ""}, "has no AWS_SECRET_ACCESS_KEY", id="a key is missing"),
        pytest.param({"AWS_ENDPOINT_URL": "http://127.0.0.1:9"}, "at http://127.0.0.1:9", id="wrong endpoint"),
    ],
)
def test_a_store_that_does_not_open(
    api_server: ApiServer,
    secret: Mapping[str, str],
    change: Mapping[str, str] | None,
    expected: str,
) -> None:
    if change is not None:
        api_server.add_secret("s3", {**secret, **change})
    told = cycleqd("plot", "tiny", AWS_MAX_ATTEMPTS="1")
    assert (told.exit_code, is_one_sentence(told.stderr)) == (2, True), told.stderr
    assert expected in told.stderr


def test_a_run_that_has_not_begun_says_where_to_look(api_server: ApiServer, secret: Mapping[str, str]) -> None:
    api_server.add_secret("s3", secret)
    api_server.add_run("young", {})
    api_server.add_run("homeless", {}, {"storage": {"uri": "runs/homeless"}})
    for name, expected in (("young", "cycleqd status young"), ("homeless", "has no storage yet")):
        told = cycleqd("plot", name)
        assert (told.exit_code, is_one_sentence(told.stderr)) == (2, True), told.stderr
        assert expected in told.stderr


def _kubectl(folder: Path, script: str) -> str:
    """Write a kubectl that does what ``script`` says, and return a PATH that begins with it."""
    folder.mkdir()
    (folder / "kubectl").write_text(f'#!/bin/sh\necho "$@" > {folder}/arguments\n{script}\n', encoding="utf-8")
    (folder / "kubectl").chmod(0o755)
    return f"{folder}:{os.environ['PATH']}"


def test_a_service_of_the_cluster_is_reached_through_kubectl(
    api_server: ApiServer, secret: Mapping[str, str], tmp_path: Path
) -> None:
    port = secret["AWS_ENDPOINT_URL"].rpartition(":")[2]
    path = _kubectl(tmp_path / "bin", f"echo 'Forwarding from 127.0.0.1:{port} -> 7070'; exec sleep 60")
    api_server.add_secret("s3", {**secret, "AWS_ENDPOINT_URL": "http://store.try-out.svc.cluster.local:7070"})
    told = cycleqd("plot", "tiny", PATH=path)
    assert told.exit_code == 0, told.stderr
    arguments = (tmp_path / "bin" / "arguments").read_text(encoding="utf-8")
    assert arguments == "port-forward --namespace try-out service/store :7070\n"


def test_a_service_that_cannot_be_forwarded_says_what_to_do(
    api_server: ApiServer, secret: Mapping[str, str], tmp_path: Path
) -> None:
    path = _kubectl(tmp_path / "bin", "echo 'services \"shop\" not found' >&2; exit 1")
    api_server.add_secret("s3", {**secret, "AWS_ENDPOINT_URL": "http://shop.try-out.svc:7070"})
    told = cycleqd("plot", "tiny", PATH=path)
    assert told.exit_code == 2
    for expected in ('services "shop" not found', "--endpoint-url http://localhost:7070"):
        assert expected in told.stderr
