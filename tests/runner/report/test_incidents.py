"""What went wrong is told, also where the notes about it are damaged."""

from __future__ import annotations

from pathlib import Path

from cycleqd import keys
from cycleqd.failures import Failure
from cycleqd.plan import Role
from cycleqd.records import Result
from cycleqd.store import ObjectStore, open_store
from cycleqd_runner.report.incidents import MAX_FAILURES, failed_work, notes_on, versions_of


def note(store: ObjectStore, number: int, message: str, role: Role = "breed") -> None:
    failure = Failure(job=f"job-{number}", role=role, individual=5, message=message)
    store.put(keys.failure(f"uid-{number}"), failure.model_dump_json().encode())


def made_with(individual: int, **versions: str) -> Result:
    return Result(
        id=individual, genome_sha256="0" * 64, evaluations=(), versions=versions, finished_at=100.0 - individual
    )


def test_failures_that_are_alike_are_counted(tmp_path: Path) -> None:
    store = open_store(str(tmp_path))
    for number, message in enumerate(("Out of memory.", "", "Out of memory.")):
        note(store, number, message)
    note(store, 3, "Out of memory.", role="finalize")
    store.put(keys.failure("damaged"), b"{")
    found = {(one.role, one.message): one.count for one in failed_work(store)}
    assert found == {
        ("breed", "Out of memory."): 2,
        ("breed", "The worker died without a word."): 1,
        ("finalize", "Out of memory."): 1,
    }
    assert failed_work(store)[0].count == 2


def test_many_kinds_of_failures_are_summed_up(tmp_path: Path) -> None:
    store = open_store(str(tmp_path))
    for number in range(MAX_FAILURES + 5):
        note(store, number, f"Pod {number} was lost.")
    found = failed_work(store)
    assert len(found) == MAX_FAILURES + 1
    assert (found[-1].role, found[-1].count) == ("other", 5)


def test_versions_that_changed_are_all_told_in_the_order_of_time() -> None:
    results = [made_with(0, torch="2.9", device="H100"), made_with(1, torch="2.8", device="H100")]
    assert versions_of(results) == {"torch": "2.8, 2.9", "device": "H100"}
    assert notes_on(results, []) == (
        "Not all results were made alike (torch 2.8 and 2.9), so scores may differ a little.",
    )


def test_one_result_without_a_sandbox_is_enough_for_a_note() -> None:
    results = [made_with(0, sandbox="Unsafe"), made_with(1, sandbox="Landlock")]
    assert notes_on(results, [])[0] == "Model-written code ran without a sandbox (spec.sandbox: Unsafe)."


def test_objects_that_were_set_aside_are_told() -> None:
    assert notes_on([], ["The object a is not a result.", "b"]) == ("The object a is not a result. (1 more like it.)",)
    assert notes_on([], []) == ()
