"""Runs in a cluster: found, listed, shown, steered, and every way in which the cluster says no."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from tests.cli.api_server import RUNS, ApiServer
from tests.cli.support import cycleqd, started
from tests.cli.test_bad_input import is_one_sentence

RUN_PATH = f"{RUNS}/namespaces/research/cycleqdruns/tiny"
LIST_PATH = f"{RUNS}/namespaces/research/cycleqdruns"
BREEDING = {
    "state": "Breeding",
    "children": 4,
    "progress": "4/10",
    "coverage": 0.125,
    "best": 0.5,
    "running": 1,
    "tasks": [{"task": "sql", "best": 0.75, "coverage": 0.1, "qdScore": 3.5}],
    "fieldOfANewerOperator": 1,
}
FAILED = {
    "state": "Failed",
    "conditions": [
        {
            "type": "Failed",
            "status": "True",
            "reason": "MissingInput",
            "message": "There is no bucket.",
            "lastTransitionTime": "2026-01-01T00:00:00Z",
        }
    ],
}


def test_list_shows_the_runs_of_the_namespace_or_of_all(api_server: ApiServer) -> None:
    assert "There are no runs in the namespace research of the cluster lab" in cycleqd("list").stderr
    api_server.add_run("tiny", BREEDING)
    api_server.add_run("young", {})

    told = cycleqd("list")
    assert told.exit_code == 0, told.stderr
    lines = told.stdout.splitlines()
    assert lines[0].split() == ["name", "state", "children", "coverage", "best", "running", "age"]
    assert lines[1].split()[:4] == ["tiny", "Breeding", "4/10", "12.5"]
    assert lines[2].split()[:2] == ["young", "Pending"]
    assert lines == cycleqd("list", COLUMNS="20").stdout.splitlines(), "names are never cut"
    assert "research" in cycleqd("list", "-A").stdout
    found = json.loads(cycleqd("list", "-o", "json").stdout)
    assert [(run["name"], run["best"]) for run in found] == [("tiny", 0.5), ("young", None)]
    assert yaml.safe_load(cycleqd("list", "-o", "yaml").stdout) == found
    assert json.loads(cycleqd("list", "--context", "plain", "-o", "json").stdout) == []


def test_status_tells_what_operator_and_cluster_know(api_server: ApiServer) -> None:
    api_server.add_run("tiny", BREEDING, {"desiredState": "Paused"})
    api_server.add_pod("tiny-breed-3", "tiny", "breed", "Running")
    api_server.add_pod("tiny-evaluate-0", "tiny", "evaluate", "Succeeded")
    api_server.add_pod("other-breed-3", "other", "breed", "Running")
    event = {"involvedObject": {"uid": "uid-of-tiny"}, "reason": "Breeding", "message": "Children are bred."}
    api_server.add("/api/v1", "events", "one", **event)

    now = json.loads(cycleqd("status", "tiny", "-o", "json").stdout)
    assert (now["run"], now["namespace"], now["desired_state"], now["target"]) == ("tiny", "research", "Paused", 10)
    assert now["status"]["tasks"][0]["qdScore"] == 3.5
    assert [worker["name"] for worker in now["workers"]] == ["tiny-breed-3"]
    assert [told["reason"] for told in now["events"]] == ["Breeding"]
    shown = cycleqd("status", "cqd/tiny").stdout
    for expected in ("tiny", "desired state: Paused", "4/10", "sql", "75.0 %", "tiny-breed-3", "Children are bred."):
        assert expected in shown, expected


def test_watching_a_run_that_failed_ends_and_says_so(api_server: ApiServer) -> None:
    api_server.add_run("tiny", FAILED)
    told = cycleqd("status", "tiny", "--watch", "-o", "json")
    assert told.exit_code == 2
    assert [json.loads(line)["status"]["state"] for line in told.stdout.splitlines()] == ["Failed"]
    assert "Failed (MissingInput): There is no bucket." in cycleqd("status", "tiny").stdout


@pytest.mark.parametrize(
    ("verb", "before", "after"),
    [
        ("pause", "Running", "Paused"),
        ("suspend", "Running", "Suspended"),
        ("finish", "Running", "Finished"),
        ("cancel", "Running", "Cancelled"),
        ("resume", "Paused", "Running"),
    ],
)
def test_steering_sets_the_desired_state(api_server: ApiServer, verb: str, before: str, after: str) -> None:
    run = api_server.add_run("tiny", BREEDING, {"desiredState": before})
    told = cycleqd(verb, "tiny")
    assert (told.exit_code, run["spec"]["desiredState"]) == (0, after), told.stderr
    assert f"{before} → {after}" in told.stdout
    again = cycleqd(verb, "tiny")
    assert (again.exit_code, "already" in again.stdout) == (0, True)
    assert sum(request.startswith("PATCH") for request in api_server.requests) == 1


def test_a_run_of_this_machine_is_not_steered(tmp_path: Path, api_server: ApiServer) -> None:
    manifest, _ = started(tmp_path)
    told = cycleqd("pause", manifest)
    assert (told.exit_code, is_one_sentence(told.stderr)) == (2, True)
    assert "Ctrl-C" in told.stderr


def test_logs_name_their_worker_and_can_be_chosen(api_server: ApiServer) -> None:
    api_server.add_run("tiny", FAILED)
    api_server.add_pod("tiny-breed-3", "tiny", "breed", "Succeeded", "a\nloading 1\rloading 2\n")
    api_server.add_pod("tiny-finalize", "tiny", "finalize", "Failed", "no newline")
    assert cycleqd("logs", "tiny").stdout.splitlines() == [
        "[tiny-breed-3] a",
        "[tiny-breed-3] loading 2",
        "[tiny-finalize] no newline",
    ]
    assert cycleqd("logs", "tiny", "--role", "breed", "--tail", "1").stdout == "[tiny-breed-3] loading 2\n"
    assert sorted(cycleqd("logs", "tiny", "-f", "--role", "finalize").stdout.splitlines()) == [
        "[tiny-finalize] no newline"
    ]
    assert all("container=worker" in request for request in api_server.requests if "/log" in request)
    told = cycleqd("logs", "tiny", "--role", "prepare")
    assert (told.exit_code, is_one_sentence(told.stderr)) == (2, True), told.stderr


def test_logs_of_a_local_run_are_its_files(tmp_path: Path) -> None:
    manifest, _ = started(tmp_path)
    told = cycleqd("logs", manifest)
    assert (told.exit_code, is_one_sentence(told.stderr)) == (2, True), told.stderr
    (tmp_path / "run" / "logs").mkdir()
    (tmp_path / "run" / "logs" / "worker-0.log").write_text("a\nb\n", encoding="utf-8")
    assert cycleqd("logs", manifest, "--tail", "1").stdout == "[worker-0] b\n"
    assert "tail -f" in cycleqd("logs", manifest, "--follow").stderr


def test_what_is_on_this_machine_comes_first(tmp_path: Path, api_server: ApiServer) -> None:
    started(Path.cwd())
    api_server.add_run("run", BREEDING)
    assert json.loads(cycleqd("status", "run", "-o", "json").stdout)["phase"] == "Breeding"
    for cluster in (["cqd/run"], ["run", "-n", "research"], ["run", "--context", "lab"]):
        assert "status" in json.loads(cycleqd("status", *cluster, "-o", "json").stdout), cluster


@pytest.mark.parametrize(
    ("path", "refusal", "code", "expected"),
    [
        pytest.param(RUN_PATH, (401, "Unauthorized"), 2, "renew the credentials", id="unknown user"),
        pytest.param(RUN_PATH, (403, "no, no"), 2, "You may not read runs in the namespace research", id="forbidden"),
        pytest.param(RUN_PATH, (503, "busy"), 75, "503: busy", id="trouble"),
        pytest.param(RUN_PATH, (404, "not found"), 2, "There is no run tiny in the namespace research", id="gone"),
        pytest.param(LIST_PATH, (404, "not found"), 2, "knows no CycleQDRun: install the operator", id="no operator"),
    ],
)
def test_a_cluster_that_says_no(
    api_server: ApiServer, path: str, refusal: tuple[int, str], code: int, expected: str
) -> None:
    api_server.add_run("tiny", BREEDING)
    api_server.refusals[path] = refusal
    told = cycleqd("list") if path == LIST_PATH else cycleqd("status", "tiny")
    assert (told.exit_code, is_one_sentence(told.stderr)) == (code, True), told.stderr
    assert expected in told.stderr


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        pytest.param(["status", "tiyn"], "did you mean tiny", id="slip of the pen"),
        pytest.param(["status", "tiny", "-n", "reserch"], "did you mean research", id="unknown namespace"),
        pytest.param(["list", "--context", "lap"], "did you mean lab", id="unknown context"),
        pytest.param(["list", "--kubeconfig", "nowhere"], "No cluster is configured (nowhere", id="no kubeconfig"),
    ],
)
def test_what_is_not_there_has_a_hint(api_server: ApiServer, arguments: list[str], expected: str) -> None:
    api_server.add_run("tiny", BREEDING)
    told = cycleqd(*arguments)
    assert (told.exit_code, is_one_sentence(told.stderr)) == (2, True), told.stderr
    assert expected in told.stderr


def test_a_cluster_that_is_away_can_be_tried_again(tmp_path: Path, api_server: ApiServer) -> None:
    config = yaml.safe_load((tmp_path / "kubeconfig").read_text(encoding="utf-8"))
    config["clusters"][0]["cluster"]["server"] = "http://127.0.0.1:9"
    (tmp_path / "away").write_text(yaml.safe_dump(config), encoding="utf-8")
    told = cycleqd("list", "--kubeconfig", tmp_path / "away")
    assert (told.exit_code, is_one_sentence(told.stderr)) == (75, True), told.stderr
    assert "does not answer" in told.stderr
