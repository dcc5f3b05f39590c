from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.cli.support import cycleqd, document, objects, process, started, write

Change = Callable[[dict[str, Any]], object]


def is_one_sentence(text: str) -> bool:
    return text.endswith((".\n", "?).\n")) and text.count("\n") == 1 and "Traceback" not in text


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        pytest.param(
            lambda spec: spec["search"].update(childern=3), "spec.search.childern (did you mean children", id="field"
        ),
        pytest.param(
            lambda spec: spec["tasks"][1]["evaluator"].update(type="Shel"),
            "spec.tasks[1].evaluator.type is 'Shel', which is not a type (did you mean Shell",
            id="evaluator",
        ),
        pytest.param(lambda spec: spec["experts"].__delitem__(slice(1, 3)), "at least 2", id="one expert"),
        pytest.param(lambda spec: spec["tasks"].__delitem__(slice(1, 3)), "at least 2", id="one task"),
        pytest.param(
            lambda spec: spec["tasks"][0].update(expert="sq-expert"), "did you mean sql-expert", id="expert's name"
        ),
        pytest.param(lambda spec: spec.pop("storage"), "spec.storage is missing", id="missing field"),
        pytest.param(lambda spec: spec["search"].update(children=-1), "spec.search.children", id="number out of range"),
    ],
)
@pytest.mark.parametrize("command", ["run", "validate", "status"])
def test_a_manifest_that_is_wrong(tmp_path: Path, command: str, change: Change, expected: str) -> None:
    manifest = copy.deepcopy(document(tmp_path))
    change(manifest["spec"])

    told = cycleqd(command, write(tmp_path / "wrong.yaml", manifest))

    assert told.exit_code == 2
    assert expected in told.stderr
    assert is_one_sentence(told.stderr), told.stderr
    assert not told.stdout
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param("spec: [", "not YAML", id="not YAML"),
        pytest.param("", "0 documents", id="empty"),
        pytest.param("\x00\xff", "not YAML", id="binary"),
    ],
)
def test_a_file_that_is_no_manifest(tmp_path: Path, text: str, expected: str) -> None:
    (tmp_path / "no.yaml").write_text(text, encoding="utf-8")
    told = cycleqd("run", tmp_path / "no.yaml")
    assert (told.exit_code, is_one_sentence(told.stderr)) == (2, True), told.stderr
    assert expected in told.stderr


@pytest.mark.parametrize(
    ("argument", "expected"),
    [
        pytest.param("tiny.yml", "did you mean tiny.yaml", id="file with a similar name"),
        pytest.param("runn", "did you mean run", id="folder with a similar name"),
        pytest.param("elsewhere/far/away", "name a CycleQDRun file", id="nothing like it"),
        pytest.param(".", "did you mean", id="the folder above"),
        pytest.param("hf://me/run", "scheme hf://", id="URI of a model"),
    ],
)
@pytest.mark.parametrize("command", ["status", "plot", "report"])
def test_a_run_that_is_not_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: str, argument: str, expected: str
) -> None:
    started(tmp_path)
    monkeypatch.chdir(tmp_path)
    told = cycleqd(command, argument)
    assert (told.exit_code, is_one_sentence(told.stderr)) == (2, True), told.stderr
    assert expected in told.stderr


def test_a_run_that_was_not_started_says_how_to_start_it(tmp_path: Path) -> None:
    told = cycleqd("status", write(tmp_path / "tiny.yaml", document(tmp_path)))
    assert (told.exit_code, is_one_sentence(told.stderr)) == (2, True)
    assert "has not been started" in told.stderr


@pytest.mark.parametrize("command", ["run", "status", "plot"])
def test_a_store_of_another_run_is_left_alone(tmp_path: Path, command: str) -> None:
    started(tmp_path)
    before = objects(tmp_path / "run")
    manifest = document(tmp_path)
    manifest["spec"]["search"]["seed"] = 7

    told = cycleqd(command, write(tmp_path / "other.yaml", manifest))

    assert (told.exit_code, is_one_sentence(told.stderr)) == (2, True), told.stderr
    assert "spec.search.seed = 0, but the manifest says 7" in told.stderr
    assert objects(tmp_path / "run") == before


@pytest.mark.parametrize("command", ["run", "status"])
def test_a_store_that_cannot_be_reached_or_refuses(tmp_path: Path, command: str) -> None:
    manifest = document(tmp_path)
    manifest["spec"]["storage"]["uri"] = "s3://bucket/prefix"
    path = write(tmp_path / "far.yaml", manifest)
    keys = {"AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b", "AWS_REGION": "us-east-1", "AWS_MAX_ATTEMPTS": "1"}

    told = process(command, path, AWS_ENDPOINT_URL_S3="http://127.0.0.1:9", **keys)

    assert told.returncode == 2, told.stderr
    assert is_one_sentence(told.stderr), told.stderr
    assert "s3://bucket/prefix" in told.stderr


def test_a_store_in_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "run").write_text("mine", encoding="utf-8")
    told = cycleqd("run", write(tmp_path / "tiny.yaml", document(tmp_path)))
    assert (told.exit_code, is_one_sentence(told.stderr)) == (2, True), told.stderr
    assert (tmp_path / "run").read_text(encoding="utf-8") == "mine"


def test_debug_keeps_the_traceback(tmp_path: Path) -> None:
    told = process("--debug", "status", tmp_path / "nothing")
    assert told.returncode == 1
    assert "Traceback" in told.stderr
    assert "BadManifest" in told.stderr


def test_a_damaged_run_is_told(tmp_path: Path) -> None:
    manifest, store = started(tmp_path)
    store.put("run.json", b"{")
    told = cycleqd("status", manifest)
    assert (told.exit_code, is_one_sentence(told.stderr)) == (2, True), told.stderr
    assert "run.json" in told.stderr


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        pytest.param(["prepare", "--expert", "sql-exprt"], "did you mean sql-expert", id="unknown expert"),
        pytest.param(["evaluate"], "needs individuals", id="no ids"),
        pytest.param(["breed", "--ids", "1,2"], "children begin with 3", id="an expert to breed"),
        pytest.param(["breed", "--ids", "5-3"], "'5-3'", id="a range that ends before it begins"),
        pytest.param(["breed", "--ids", "3,x"], "'x'", id="not a number"),
    ],
)
def test_orders_that_make_no_sense(tmp_path: Path, arguments: list[str], expected: str) -> None:
    _, store = started(tmp_path)
    told = cycleqd("worker", *arguments, "--run", store.uri)
    assert (told.exit_code, is_one_sentence(told.stderr)) == (2, True), told.stderr
    assert expected in told.stderr


def test_a_worker_that_cannot_reach_its_store_wants_to_be_started_again() -> None:
    keys = {"AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b", "AWS_REGION": "us-east-1", "AWS_MAX_ATTEMPTS": "1"}
    told = process("worker", "finalize", "--run", "s3://bucket/run", AWS_ENDPOINT_URL_S3="http://127.0.0.1:9", **keys)
    assert (told.returncode, is_one_sentence(told.stderr)) == (75, True), told.stderr
