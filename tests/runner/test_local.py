"""The local executor with real worker processes that do light work: what it does when they die, fail or are stopped."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path
from typing import Any

import pytest

from cycleqd import keys
from cycleqd.api import CycleQDRun
from cycleqd.api.workers import FailurePolicy
from cycleqd.errors import PermanentError, RunMismatch, UnsupportedHere
from cycleqd.log import ResultLog
from cycleqd.report import Report
from cycleqd.store import FolderStore
from cycleqd_runner.local import LocalRun, Snapshot
from cycleqd_runner.sandbox import client
from cycleqd_runner.sandbox.hosts import SOCKET_VARIABLE
from tests.core.support import spec_dict

ROOT = Path(__file__).parents[2]


class Notes:
    """Remembers what the executor says and shows."""

    def __init__(self) -> None:
        self.said: list[str] = []
        self.phases: list[str] = []
        self.most_running = 0

    def show(self, snapshot: Snapshot) -> None:
        self.most_running = max(self.most_running, len(snapshot.running))
        if snapshot.phase not in self.phases:
            self.phases.append(snapshot.phase)

    def say(self, message: str) -> None:
        self.said.append(message)


def execute(folder: Path, misbehaviour: str = "none", subject: str = "0", **fields: Any) -> Notes:
    """Run a spec with light workers and return what was said."""
    manifest = {"apiVersion": "cycleqd.dev/v1alpha1", "kind": "CycleQDRun", "metadata": {"name": "light"}}
    run = CycleQDRun.model_validate({**manifest, "spec": spec_dict(**fields)})
    notes = Notes()
    worker = (sys.executable, "-m", "tests.runner.light_worker", misbehaviour, subject)
    asyncio.run(LocalRun(run, FolderStore(folder), notes, folder.parent / "logs", worker).execute())
    return notes


@pytest.fixture(autouse=True)
def _workers_find_the_tests(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]))


def report_in(folder: Path) -> Report:
    return Report.model_validate_json(FolderStore(folder).get(keys.REPORT))


def test_a_run_goes_through_its_phases_with_as_many_workers_as_allowed(tmp_path: Path) -> None:
    notes = execute(tmp_path / "run", search={"children": 12}, workers={"parallelism": 3})
    assert notes.phases == ["Preparing", "Evaluating", "Breeding", "Finalizing", "Succeeded"]
    assert notes.most_running == 3
    assert len(report_in(tmp_path / "run").individuals) == 3 + 12


def test_a_child_that_kills_its_worker_is_given_up_and_the_run_goes_on(tmp_path: Path) -> None:
    notes = execute(tmp_path / "run", "dies", "5", search={"children": 6})
    store = FolderStore(tmp_path / "run")
    assert list(store.list(keys.QUARANTINE)) == [keys.quarantine(5)]
    assert len(list(store.list("deaths/"))) == FailurePolicy().attempts
    log = ResultLog(store)
    log.refresh()
    assert log.done == set(range(3 + 6))
    assert report_in(tmp_path / "run").quarantined == (5,)
    assert any("Child 5 was given up" in message for message in notes.said)


def test_more_children_given_up_than_allowed_end_the_run(tmp_path: Path) -> None:
    policy = {"attempts": 2, "maxQuarantined": 0}
    with pytest.raises(PermanentError, match=r"1 children were given up, and spec\.failurePolicy\.maxQuarantined is 0"):
        execute(tmp_path / "run", "dies", "5", search={"children": 6}, failurePolicy=policy)
    store = FolderStore(tmp_path / "run")
    assert len(list(store.list("deaths/"))) == 2
    assert list(store.list(keys.QUARANTINE)) == [keys.quarantine(5)]


def test_a_temporary_failure_is_tried_again(tmp_path: Path) -> None:
    notes = execute(tmp_path / "run", "fails", "sql", search={"children": 1})
    assert notes.said == ["prepare-sql is tried again: The store was away for a moment: it is tried again."]
    assert report_in(tmp_path / "run").individuals


def test_more_children_continue_a_finished_run(tmp_path: Path) -> None:
    execute(tmp_path / "run", search={"children": 2})
    before = {key: FolderStore(tmp_path / "run").get(key) for key in FolderStore(tmp_path / "run").list(keys.RESULTS)}
    execute(tmp_path / "run", search={"children": 5})
    store = FolderStore(tmp_path / "run")
    assert len(report_in(tmp_path / "run").individuals) == 3 + 5
    assert {key: store.get(key) for key in before} == before


def test_a_finished_run_starts_no_worker(tmp_path: Path) -> None:
    execute(tmp_path / "run", search={"children": 2})
    notes = execute(tmp_path / "run", search={"children": 2})
    assert notes.phases == ["Succeeded"]
    assert notes.most_running == 0


def test_a_run_that_another_command_paused_ends(tmp_path: Path) -> None:
    with pytest.raises(PermanentError, match="desiredState was changed by another command"):
        execute(tmp_path / "run", "drains", "5", search={"children": 6})
    assert FolderStore(tmp_path / "run").exists(keys.result(4))


def test_finishing_early_reports_what_there_is(tmp_path: Path) -> None:
    notes = execute(tmp_path / "run", search={"children": 50}, desiredState="Finished")
    assert notes.phases[-2:] == ["Finalizing", "Succeeded"]
    assert len(report_in(tmp_path / "run").individuals) == 3


def test_another_manifest_is_refused_and_nothing_is_touched(tmp_path: Path) -> None:
    execute(tmp_path / "run", search={"children": 1})
    store = FolderStore(tmp_path / "run")
    before = {key: store.get(key) for key in store.list()}
    with pytest.raises(RunMismatch, match=r"search\.seed"):
        execute(tmp_path / "run", search={"children": 1, "seed": 7})
    assert {key: store.get(key) for key in store.list()} == before


def test_without_a_sandbox_nothing_is_begun(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(SOCKET_VARIABLE, raising=False)
    monkeypatch.setattr(client, "candidates", lambda kind: ("Sidecar",))  # as where there is nothing else
    with pytest.raises(UnsupportedHere, match=r"no sandbox for model-written code on this machine .*sandbox: Unsafe"):
        execute(tmp_path / "run")
    assert list(FolderStore(tmp_path / "run").list()) == []
    assert not (tmp_path / "logs").exists(), "no worker was started to find that out"


@pytest.mark.parametrize(
    ("fields", "error", "message"),
    [
        pytest.param({"desiredState": "Paused"}, PermanentError, "is Paused", id="paused"),
    ],
)
def test_a_run_that_cannot_go_on_says_why(
    tmp_path: Path, fields: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        execute(tmp_path / "run", **fields)
