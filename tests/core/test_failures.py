"""What failed workers mean: a table of stories, each a list of notes and what follows from them."""

from __future__ import annotations

import random
from typing import Any

import pytest

from cycleqd.api.workers import FailurePolicy
from cycleqd.failures import LONGEST_SECONDS, MISSING_SECONDS, RETRY_SECONDS, Failure, Verdict, judge
from cycleqd.plan import Observed, Work
from tests.core.support import SKILLS

NOW = 1000.0
POLICY = FailurePolicy(attempts=3, max_quarantined=1, max_failures=6)
BREEDING = Observed(frozenset(SKILLS), frozenset(range(3)))


def died(individual: int = 5, at: float = 0.0, **fields: Any) -> Failure:
    """Return the note of a worker that died with a child."""
    return Failure(**{"job": "j", "role": "breed", "individual": individual, "at": at, "message": "killed"} | fields)


def told(kind: str, individual: int = 5, at: float = 0.0, **fields: Any) -> Failure:
    """Return the note of a worker that could say what went wrong."""
    return died(individual, at, kind=kind, message=f"{kind}.", **fields)


def failed(role: str, at: float = 0.0, **fields: Any) -> Failure:
    """Return the note of a worker of another role that died."""
    return Failure.model_validate({"job": "j", "role": role, "at": at, "message": "killed", **fields})


def verdict(*failures: Failure, observed: Observed = BREEDING, **fields: Any) -> Verdict:
    usual: dict[str, Any] = {"policy": POLICY, "generation": 0, "quarantined": 0, "now": NOW}
    return judge(failures, observed=observed, **usual | fields)


MISSING = told("MissingInput", permanent=True)
TOO_MANY = "7 workers failed, and failurePolicy.maxFailures is 6; the last one: Unscored."
BAD = told("BadModel", permanent=True)


@pytest.mark.parametrize(
    ("failures", "expected"),
    [
        pytest.param([], Verdict(), id="nothing failed"),
        pytest.param([died()] * 2, Verdict(), id="two deaths: tried again"),
        pytest.param([died()] * 3, Verdict(give_up=(5,)), id="three deaths: given up"),
        pytest.param([died()] * 2 + [died(6)] * 2, Verdict(), id="deaths of two children are not added"),
        pytest.param([told("StoreUnreachable")] * 5, Verdict(), id="who says why was not killed by its child"),
        pytest.param(
            [told("StoreUnreachable")] * 2 + [died()] * 2, Verdict(), id="only deaths are counted against a child"
        ),
        pytest.param([BAD], Verdict(fatal=("BadModel", "BadModel.")), id="permanent: at once"),
        pytest.param(
            [died(permanent=True)], Verdict(fatal=("BadInput", "killed")), id="permanent without a word: at once"
        ),
        pytest.param([MISSING] * 9, Verdict(missing=MISSING), id="what is missing may appear: never fatal"),
        pytest.param(
            [told("Unscored")] * 7,
            Verdict(fatal=("TooManyFailures", TOO_MANY)),
            id="too many of any kind",
        ),
        pytest.param(
            [told("Unscored")] * 6 + [MISSING] * 9, Verdict(missing=MISSING), id="missing input is not counted"
        ),
    ],
)
def test_what_follows(failures: list[Failure], expected: Verdict) -> None:
    assert verdict(*failures) == expected


@pytest.mark.parametrize(
    ("note", "observed", "subject"),
    [
        pytest.param(failed("prepare", expert="sql"), Observed(), "prepare-sql", id="prepare"),
        pytest.param(failed("evaluate", individual=1), Observed(frozenset(SKILLS)), "evaluate-1", id="evaluate"),
        pytest.param(failed("finalize"), BREEDING, "finalize", id="finalize"),
    ],
)
def test_what_every_child_needs_cannot_be_given_up(note: Failure, observed: Observed, subject: str) -> None:
    assert verdict(note, note, observed=observed) == Verdict()
    expected = ("WorkersDied", f"{subject} failed 3 times: killed")
    assert verdict(note, note, note, observed=observed) == Verdict(fatal=expected)
    done = Observed(frozenset(SKILLS), frozenset(range(3)), finalized=True)
    assert verdict(note, note, note, observed=done) == Verdict(), "it worked in the end"


def test_failures_under_an_older_spec_are_history() -> None:
    notes = [died(generation=2)] * 3 + [told("BadModel", permanent=True, generation=2)] + [died(at=NOW, generation=2)]
    assert verdict(*notes, generation=3) == Verdict()
    assert verdict(*notes, generation=2).fatal is not None


def test_children_that_were_given_up_are_counted_and_not_waited_for() -> None:
    notes = [died(at=NOW - 1)] * 3
    given_up = Observed(frozenset(SKILLS), frozenset({0, 1, 2, 5}))
    assert verdict(*notes, observed=given_up, quarantined=1) == Verdict()
    another = verdict(*notes, *[died(6)] * 3, observed=given_up, quarantined=1)
    assert another.give_up == (6,)
    assert another.fatal is not None
    assert another.fatal[0] == "TooManyQuarantined"
    assert "2 children killed 3 workers each, and failurePolicy.maxQuarantined is 1" in another.fatal[1]


@pytest.mark.parametrize(
    ("kind", "permanent", "first", "second"),
    [
        pytest.param("", False, 0, RETRY_SECONDS, id="a death"),
        pytest.param("StoreUnreachable", False, 0, RETRY_SECONDS, id="a temporary failure"),
        pytest.param("MissingInput", True, MISSING_SECONDS, MISSING_SECONDS * 2, id="something missing"),
    ],
)
def test_each_repetition_waits_longer(kind: str, permanent: bool, first: float, second: float) -> None:
    ample = FailurePolicy(attempts=100, max_failures=100)
    waits = []
    for repetitions in range(1, 21):
        notes = [told(kind, at=NOW - 60 + n, permanent=permanent) for n in range(repetitions)]
        found = verdict(*notes, policy=ample, now=notes[-1].at)
        waits.append((found.retry_at or notes[-1].at) - notes[-1].at)
        assert found.held == ({"breed-5"} if waits[-1] else set())
    assert waits[:2] == [first, second]
    assert waits == sorted(waits)
    assert waits[3] == 2 * waits[2]
    assert waits[-1] == LONGEST_SECONDS


def test_held_work_is_free_when_its_time_has_come() -> None:
    notes = [told("MissingInput", 5, at=NOW, permanent=True), told("MissingInput", 6, at=NOW + 10, permanent=True)]
    both = verdict(*notes, now=NOW + 29)
    assert (set(both.held), both.retry_at) == ({"breed-5", "breed-6"}, NOW + MISSING_SECONDS)
    assert both.missing == notes[1], "the latest one is told"
    one = verdict(*notes, now=NOW + 30)
    assert (set(one.held), one.retry_at) == ({"breed-6"}, NOW + 10 + MISSING_SECONDS)
    assert verdict(*notes, now=NOW + 40).held == set()
    settled = Observed(frozenset(SKILLS), frozenset({0, 1, 2, 5, 6}))
    assert verdict(*notes, observed=settled, now=NOW) == Verdict(), "somebody else bred them"


def test_notes_are_judged_in_the_order_of_time() -> None:
    notes = [told(kind, 5 + n % 2, at=NOW - n) for n, kind in enumerate(["", "Unscored", "", "MissingInput", "", ""])]
    expected = verdict(*notes)
    for seed in range(5):
        assert verdict(*random.Random(seed).sample(notes, len(notes))) == expected


def test_a_note_names_the_work_as_the_plan_does() -> None:
    assert died(7).subject == Work("breed", ids=(7, 8, 9)).key
    assert failed("prepare", expert="sql").subject == Work("prepare", "sql").key
    assert failed("evaluate", individual=0).subject == Work("evaluate", ids=(0,)).key
    assert failed("finalize").subject == Work("finalize").key


def test_a_note_is_read_back() -> None:
    note = died(7, 12.5, kind="Unscored", permanent=True, generation=4, node="n", expert="")
    assert Failure.model_validate_json(note.model_dump_json()) == note
