"""What users do to a run: pause, suspend, go on, finish, cancel, scale, extend, delete, limit."""

from __future__ import annotations

import time

import pytest

from cycleqd import keys
from tests.e2e.checker import check
from tests.e2e.scene import Scene

pytestmark = [pytest.mark.e2e, pytest.mark.together, pytest.mark.timeout(3000)]

SUSPEND_SECONDS = 30
"""From the change of the spec to the last pod's end."""
GUIDED = {
    "spec.search.emitter": {"type": "Guided", "steps": 1, "firstSteps": 1, "batchItems": 2},
    "spec.finalize.polishSteps": 1,
}
TWO_WORKERS = {"spec.workers.parallelism": 2, "spec.workers.childrenPerJob": 3}


def test_a_run_goes_from_preparing_to_a_model_and_on_when_children_are_raised(scene: Scene) -> None:
    run = scene.tiny_run("whole", GUIDED | {"spec.search.children": 4}, knows_experts=False)
    run.apply()
    run.reach_state("Succeeded")
    first = check(run)
    for kind in ("Prepared", "ExpertsEvaluated", "Succeeded"):
        assert run.condition(kind)[0] == "True"
    for kind in ("Failed", "Degraded", "Breeding"):
        assert run.condition(kind)[0] == "False"
    status = run.status()
    assert status["progress"] == "4/4"
    assert status["modelUri"] == f"{run.uri}/{keys.MODEL}"
    told = [event["reason"] for event in run.objects("events")]
    assert sorted(told) == sorted(set(told)), "one event per transition"

    run.steer({"search": {"children": 7}})
    run.reach_state("Succeeded")
    after = check(run)
    assert {individual: after[individual] for individual in first} == first
    assert run.status()["progress"] == "7/7"
    assert {child.emitter for child in after.values()} == {"Expert", "Guided"}
    assert all(child.teachers for child in after.values() if child.emitter == "Guided")
    assert run.failures() == []


def test_a_paused_run_drains_and_goes_on(scene: Scene) -> None:
    run = scene.tiny_run("paused", TWO_WORKERS | {"spec.search.children": 10})
    run.apply()
    run.reach_children(2)
    run.steer({"desiredState": "Paused"})
    run.reach_state("Paused")
    run.reach_calm()
    before = check(run, complete=False)
    assert len(before) < 12, "it was paused too late to show anything"
    time.sleep(5)
    assert run.results() == before
    assert run.active_jobs() == []
    # A drained worker finished its child: no genome is without a result.
    assert len(list(run.store.list("genomes/"))) == len(before)

    run.steer({"desiredState": "Running"})
    run.reach_state("Succeeded")
    after = check(run)
    assert {individual: after[individual] for individual in before} == before
    assert run.failures() == []


def test_a_suspended_run_stops_at_once_and_loses_nothing(scene: Scene) -> None:
    run = scene.tiny_run("suspended", TWO_WORKERS | {"spec.search.children": 10})
    run.apply()
    run.reach_children(2)
    run.steer({"desiredState": "Suspended"})
    since = time.monotonic()
    run.reach("the end of all pods", lambda: run.objects("pods") == [], seconds=SUSPEND_SECONDS)
    assert time.monotonic() - since <= SUSPEND_SECONDS
    run.reach_state("Suspended")
    before = check(run, complete=False)
    assert len(before) < 12, "it was suspended too late to show anything"

    run.steer({"desiredState": "Running"})
    run.reach_state("Succeeded")
    after = check(run)
    assert {individual: after[individual] for individual in before} == before
    assert run.failures() == [], "stopping a worker is not its failure"


def test_a_cancelled_run_stops_keeps_its_results_and_is_deleted_after_its_time(scene: Scene) -> None:
    run = scene.tiny_run("cancelled")
    run.apply()
    run.reach_children(1)
    run.steer({"desiredState": "Cancelled"})
    run.reach("the end of all pods", lambda: run.objects("pods") == [], seconds=SUSPEND_SECONDS)
    run.reach_state("Cancelled")
    kept = check(run, complete=False)
    assert len(kept) < 8, "it was cancelled too late to show anything"
    assert run.condition("Succeeded")[0] == "False"

    run.steer({"ttlSecondsAfterFinished": 2})
    run.reach("its deletion", lambda: run.body() == {}, seconds=60)
    assert run.results() == kept


def test_a_run_beyond_its_deadline_fails_and_its_workers_stop(scene: Scene) -> None:
    run = scene.tiny_run("late", {"spec.search.children": 500, "spec.activeDeadlineSeconds": 20})
    run.apply()
    run.reach("its failure", run.has_failed, seconds=90)
    assert run.condition("Failed") == (
        "True",
        "DeadlineExceeded",
        "The run is not finished after 20 s: raise activeDeadlineSeconds.",
    )
    run.reach("the end of all pods", lambda: run.objects("pods") == [], seconds=SUSPEND_SECONDS)
    check(run, complete=False)


def test_parallelism_changes_while_a_run_runs(scene: Scene) -> None:
    run = scene.tiny_run("scaled", {"spec.search.children": 16, "spec.workers.childrenPerJob": 4})
    run.apply()
    run.reach("the first worker", run.running_pods)
    assert len(run.active_jobs()) == 1
    run.steer({"workers": {"parallelism": 3}})
    run.reach("three workers", lambda: len(run.running_pods()) == 3)
    run.steer({"workers": {"parallelism": 1}})
    run.reach("one worker", lambda: len(run.busy_pods()) <= 1, seconds=SUSPEND_SECONDS)
    assert len(run.active_jobs()) <= 1
    run.reach_state("Succeeded")
    check(run)
    assert run.failures() == [], "workers that are not needed any more have not failed"


def test_a_run_that_shall_finish_ends_with_the_children_it_has(scene: Scene) -> None:
    run = scene.tiny_run("finished", {"spec.search.children": 200})
    run.apply()
    run.reach_children(2)
    run.steer({"desiredState": "Finished"})
    run.reach_state("Succeeded")
    kept = check(run, complete=False)
    assert 4 <= len(kept) < 200
    assert run.condition("Breeding")[:2] == ("False", "FinishedEarly")
    assert run.store.exists(keys.REPORT)


def test_a_deleted_run_takes_its_jobs_and_pods_with_it_and_leaves_its_results(scene: Scene) -> None:
    run = scene.tiny_run("deleted")
    run.apply()
    run.reach_children(1)
    assert run.body()["metadata"].get("finalizers", []) == [], "it can be deleted whether or not an operator is there"
    run.delete()
    run.reach("the end of its Jobs", lambda: not run.objects("jobs") + run.objects("pods"), seconds=60)
    kept = run.results()
    assert len(kept) >= 3
    time.sleep(5)
    assert run.results() == kept


def test_a_deleted_run_takes_its_storage_along_if_it_says_so(scene: Scene) -> None:
    run = scene.tiny_run("forgotten", {"spec.storage.deleteOnRemoval": True})
    run.store.put("notes.txt", b"somebody else's")
    run.apply()
    run.reach_children(1)
    run.delete()
    assert list(run.store.list()) == ["notes.txt"]
    run.reach("the end of its Jobs", lambda: not run.objects("jobs") + run.objects("pods"), seconds=60)
    assert list(run.store.list()) == ["notes.txt"], "no worker wrote afterwards"
