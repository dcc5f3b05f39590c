"""The word for a run, and what comes first among its troubles."""

from __future__ import annotations

from typing import Any

import pytest

from cycleqd.api.status import RunStatus
from cycleqd_operator.standing import Standing, Trouble, state_of
from tests.operator.standings import blind, standing

FATAL = ("BadModel", "The expert sql does not fit.")
CASES: tuple[tuple[str, str | None, Standing, str], ...] = (
    ("a new run whose store was not read is pending", None, blind(), "Pending"),
    ("a new run that is paused says so", None, blind("Paused"), "Paused"),
    ("it shows the planner's phase", "Pending", standing(phase="Evaluating"), "Evaluating"),
    ("finishing is breeding as long as workers breed", "Breeding", standing("Finished"), "Breeding"),
    ("finishing finalizes", "Breeding", standing("Finished", phase="Finalizing"), "Finalizing"),
    ("pausing shows at once", "Breeding", standing("Paused", active_jobs=2), "Paused"),
    ("suspending shows at once", "Breeding", standing("Suspended", active_jobs=2), "Suspended"),
    ("cancelling shows at once", "Breeding", standing("Cancelled", phase="Cancelled", active_jobs=2), "Cancelled"),
    ("cancelling needs no store", "Breeding", blind("Cancelled"), "Cancelled"),
    ("a success cannot be cancelled", "Succeeded", standing("Cancelled", phase="Cancelled"), "Succeeded"),
    ("nor can a failure", "Failed", standing("Cancelled", phase="Cancelled"), "Failed"),
    ("a success cannot be paused", "Succeeded", standing("Paused", phase="Succeeded"), "Succeeded"),
    ("what is finished while paused has succeeded", "Paused", standing("Paused", phase="Succeeded"), "Succeeded"),
    ("what is fatal fails the run", "Breeding", standing(fatal=FATAL), "Failed"),
    ("also when the store cannot be read", None, blind(fatal=FATAL), "Failed"),
    ("also when it is paused", "Paused", standing("Paused", fatal=FATAL), "Failed"),
    ("a finished model outweighs a used-up budget", "Breeding", standing(phase="Succeeded", fatal=FATAL), "Succeeded"),
    ("a failed run goes on when nothing is fatal any more", "Failed", standing(), "Breeding"),
    ("a finished run goes on when children are raised", "Succeeded", standing(generation=2), "Breeding"),
    ("a cancelled run goes on when it is wanted again", "Cancelled", standing(generation=2), "Breeding"),
    ("an outage of the store hides no phase", "Breeding", blind(), "Breeding"),
    ("the phase of a plan without a store says nothing", "Breeding", blind(phase="Preparing"), "Breeding"),
    ("nor does the outage unmake a success", "Succeeded", blind(), "Succeeded"),
    ("nor a failure", "Failed", blind(), "Failed"),
    ("nor a success that somebody pauses", "Succeeded", blind("Paused"), "Succeeded"),
    ("but a success under an older spec is not yet one under this", "Succeeded", blind(generation=2), "Pending"),
    ("what was paused and is wanted again is pending", "Paused", blind(generation=2), "Pending"),
)


@pytest.mark.parametrize(("before", "found", "expected"), [pytest.param(*case[1:], id=case[0]) for case in CASES])
def test_state(before: Any, found: Standing, expected: str) -> None:
    previous = RunStatus(state=before, observed_generation=1) if before else None
    assert state_of(previous, found) == expected


@pytest.mark.parametrize(
    ("troubles", "found", "expected"),
    [
        pytest.param((), {}, [], id="nothing"),
        pytest.param(
            (("WorkersNotStarting", "b"), ("Other", "c"), ("SecretMissing", "a")),
            {},
            ["SecretMissing", "WorkersNotStarting", "Other"],
            id="the worst comes first, unknown ones last",
        ),
        pytest.param(
            (("Other", "c"),),
            {"quarantined": (7, 8), "damaged": {"results/2.json": "b", "results/1.json": "a"}},
            ["Other", "Quarantined", "DamagedObjects", "DamagedObjects"],
            id="what costs single children comes after what stops the run",
        ),
    ],
)
def test_order_of_troubles(troubles: tuple[Trouble, ...], found: dict[str, Any], expected: list[str]) -> None:
    assert [reason for reason, _ in standing(done=9, troubles=troubles, **found).all_troubles] == expected


@pytest.mark.parametrize(
    ("quarantined", "message"),
    [
        pytest.param((7,), "Child 7 was given up because it killed its workers.", id="one child"),
        pytest.param(
            (4, 5, 8), "3 children were given up because they killed their workers: 4-5,8.", id="several as ranges"
        ),
    ],
)
def test_quarantined_children_are_named(quarantined: tuple[int, ...], message: str) -> None:
    assert standing(done=9, quarantined=quarantined).all_troubles == (("Quarantined", message),)


def test_damaged_objects_are_told_in_the_order_of_their_keys() -> None:
    found = standing(damaged={"results/2.json": "b", "results/1.json": "a"})
    assert [message for _, message in found.all_troubles] == ["a", "b"]


@pytest.mark.parametrize(
    ("done", "quarantined", "expected"),
    [
        pytest.param((), (), 0, id="nothing"),
        pytest.param((0, 2), (), 0, id="experts are no children"),
        pytest.param((0, 1, 2, 3, 5), (), 2, id="children"),
        pytest.param((0, 1, 2, 3, 5), (5,), 1, id="a child that was given up has no result"),
        pytest.param((0, 1, 2, 3), (5,), 1, id="a child that is about to be given up is not counted twice"),
    ],
)
def test_count_of_children(done: tuple[int, ...], quarantined: tuple[int, ...], expected: int) -> None:
    assert standing(done=done, quarantined=quarantined).n_children == expected
