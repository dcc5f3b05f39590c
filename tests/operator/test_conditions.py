"""Conditions as a table of looks, their times, their lengths; and the events that changes of them cause."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cycleqd.api.status import ConditionType, RunStatus
from cycleqd.fold import Population
from cycleqd_operator.conditions import LONGEST_MESSAGE, Event, bounded, timestamp, transitions
from cycleqd_operator.standing import Standing
from cycleqd_operator.status import next_status, refused
from tests.operator.standings import NOON, blind, condition, population, spec, standing

FATAL = ("BadModel", "The expert sql does not fit.")
LATER = NOON + 60

CASES: tuple[tuple[str, Standing, ConditionType, str, str, str], ...] = (
    ("nothing is known before the store is read", blind(), "Prepared", "Unknown", "NotObserved", "not read"),
    ("nor of breeding", blind(), "Breeding", "Unknown", "NotObserved", "not read"),
    (
        "experts being prepared are counted",
        standing(phase="Preparing", n_prepared=2, done=0),
        "Prepared",
        "False",
        "InProgress",
        "2 of 3 experts are prepared.",
    ),
    ("prepared experts", standing(), "Prepared", "True", "ExpertsPrepared", "All 3 experts are prepared."),
    (
        "prepared experts that were compared",
        standing(verdict="All experts are apart."),
        "Prepared",
        "True",
        "ExpertsPrepared",
        "All 3 experts are prepared. All experts are apart.",
    ),
    (
        "experts being evaluated are counted",
        standing(phase="Evaluating", done=(0, 2)),
        "ExpertsEvaluated",
        "False",
        "InProgress",
        "2 of 3 experts are evaluated.",
    ),
    ("evaluated experts", standing(), "ExpertsEvaluated", "True", "ExpertsEvaluated", "All 3 experts are evaluated."),
    (
        "an expert without scores is named",
        standing(population=population(spec(), (0, 2))),
        "ExpertsEvaluated",
        "False",
        "ExpertsUnscored",
        "Some items of shell have no score",
    ),
    (
        "breeding waits for experts",
        standing(phase="Evaluating", done=2),
        "Breeding",
        "False",
        "WaitingForExperts",
        "when all experts are evaluated",
    ),
    ("breeding", standing(), "Breeding", "True", "Breeding", "status.progress counts them"),
    ("finishing", standing("Finished"), "Breeding", "True", "Finishing", "workers finish their child"),
    (
        "finished early",
        standing("Finished", phase="Finalizing"),
        "Breeding",
        "False",
        "FinishedEarly",
        "before child 6",
    ),
    (
        "finished when there was nothing more to do",
        standing("Finished", phase="Finalizing", done=9),
        "Breeding",
        "False",
        "Complete",
        "All 6 children",
    ),
    (
        "children that were given up count as settled",
        standing(phase="Finalizing", done=9, quarantined=(7, 8)),
        "Breeding",
        "False",
        "Complete",
        "All 6 children have a result or were given up.",
    ),
    (
        "a paused run says how many workers drain",
        standing("Paused", active_jobs=2),
        "Breeding",
        "False",
        "Paused",
        "2 workers will stop after the present child.",
    ),
    ("and when none is left", standing("Paused"), "Breeding", "False", "Paused", "no worker runs."),
    (
        "suspended workers stop now",
        standing("Suspended", active_jobs=1),
        "Breeding",
        "False",
        "Suspended",
        "1 worker will stop now.",
    ),
    ("a failed run breeds no more", standing(fatal=FATAL), "Breeding", "False", "Failed", FATAL[1]),
    ("a run on its way", standing(), "Succeeded", "False", "Breeding", "Children are bred"),
    (
        "success names the model",
        standing(phase="Succeeded", done=9, model_uri="s3://runs/test/final/model"),
        "Succeeded",
        "True",
        "Succeeded",
        "The final model is s3://runs/test/final/model.",
    ),
    ("cancelling", standing("Cancelled", phase="Cancelled"), "Succeeded", "False", "Cancelled", "no worker runs"),
    (
        "a pending run says what it waits for",
        blind(troubles=(("SecretMissing", "There is no Secret s3."),)),
        "Succeeded",
        "False",
        "Pending",
        "There is no Secret s3.",
    ),
    ("nothing failed", standing(), "Failed", "False", "NotFailed", ""),
    ("a failure has its own reason", standing(fatal=FATAL), "Failed", "True", *FATAL),
    ("healthy", standing(), "Degraded", "False", "Healthy", ""),
    (
        "one trouble",
        standing(troubles=(("MissingInput", "There is no bucket x."),)),
        "Degraded",
        "True",
        "MissingInput",
        "There is no bucket x.",
    ),
    (
        "several troubles",
        standing(done=9, quarantined=(7,), damaged={"a": "A.", "b": "B."}, troubles=(("Odd", "It is odd."),)),
        "Degraded",
        "True",
        "Odd",
        "It is odd (and 3 more: Quarantined, DamagedObjects).",
    ),
    (
        "a reason that a worker made up is made harmless",
        standing(fatal=("3 Bad\nthings!" * 50, "no")),
        "Failed",
        "True",
        ("Badthings" + "3Badthings" * 50)[:64],
        "no",
    ),
)


@pytest.mark.parametrize(
    ("found", "kind", "status", "reason", "message"), [pytest.param(*case[1:], id=case[0]) for case in CASES]
)
def test_condition(found: Standing, kind: ConditionType, status: str, reason: str, message: str) -> None:
    after = condition(next_status(None, found), kind)
    assert (after.status, after.reason) == (status, reason)
    assert message in after.message
    assert after.observed_generation == 1


def test_every_condition_is_always_there() -> None:
    kinds = ["Prepared", "ExpertsEvaluated", "Breeding", "Succeeded", "Failed", "Degraded"]
    statuses = (next_status(None, blind()), next_status(None, standing()), refused(None, 1, "Bad.", NOON))
    assert [[found.type for found in status.conditions] for status in statuses] == [kinds] * 3


@pytest.mark.parametrize(
    ("second", "moves"),
    [
        pytest.param(standing(now=LATER), False, id="nothing happened"),
        pytest.param(standing(now=LATER, phase="Preparing", n_prepared=2), True, id="another status"),
        pytest.param(blind(now=LATER), False, id="a look that cannot know"),
    ],
)
def test_the_time_of_a_transition_moves_with_the_status(second: Standing, moves: bool) -> None:
    after = condition(next_status(next_status(None, standing()), second), "Prepared")
    assert after.last_transition_time == timestamp(LATER if moves else NOON)


def test_another_reason_is_no_transition() -> None:
    first = next_status(None, standing(troubles=(("Odd", "It is odd."),)))
    second = condition(next_status(first, standing(now=LATER, troubles=(("Even", "It is even."),))), "Degraded")
    assert (second.reason, second.last_transition_time) == ("Even", timestamp(NOON))


def test_an_outage_keeps_what_was_known_with_its_generation() -> None:
    known = next_status(None, standing())
    unread = next_status(known, blind(generation=2, now=LATER, troubles=(("StoreUnreachable", "S3 is silent."),)))
    kept: tuple[ConditionType, ...] = ("Prepared", "ExpertsEvaluated", "Breeding")
    assert [condition(unread, kind) for kind in kept] == [condition(known, kind) for kind in kept]
    assert condition(unread, "Degraded").reason == "StoreUnreachable"


def test_an_outage_does_not_keep_that_a_run_is_paused_which_is_wanted_again() -> None:
    paused = next_status(None, standing("Paused"))
    assert condition(next_status(paused, blind(generation=2)), "Breeding").status == "Unknown"


def test_an_outage_keeps_why_a_run_failed() -> None:
    failed = next_status(None, standing(fatal=FATAL))
    assert condition(next_status(failed, blind(now=LATER)), "Failed") == condition(failed, "Failed")


def test_messages_do_not_change_with_every_child() -> None:
    before, after = (next_status(None, standing(done=done)) for done in (4, 5))
    assert before.progress != after.progress
    assert before.conditions == after.conditions


@given(text=st.text(max_size=20) | st.text("ä\U0001f600\n\x00\ud800", max_size=9).map(lambda text: text * 300))
def test_messages_are_bounded(text: str) -> None:
    line = bounded(text)
    assert len(line.encode()) <= LONGEST_MESSAGE
    assert line.isprintable()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param("short", "short", id="short ones stay"),
        pytest.param(" two\n\tlines ", "two lines", id="lines are joined"),
        pytest.param("x" * 1024, "x" * 1024, id="the longest"),
        pytest.param("x" * 1025, "x" * 1021 + "…", id="longer ones are cut"),
        pytest.param("ä" * 600, "ä" * 510 + "…", id="letters are not cut in two"),
    ],
)
def test_bounded(text: str, expected: str) -> None:
    assert bounded(text) == expected


def test_what_else_is_wrong_survives_a_long_message() -> None:
    troubles = (("Odd", "x" * 5000), *((f"Trouble{n}" * 7, "y") for n in range(200)))
    message = condition(next_status(None, standing(troubles=troubles)), "Degraded").message
    assert "(and 200 more: Trouble0" in message
    assert len(message.encode()) <= LONGEST_MESSAGE


MODEL = "s3://runs/test/final/model"
EVENTS: tuple[tuple[str, Standing | None, Standing, list[tuple[str, str]]], ...] = (
    ("a new run", None, blind(), [("Normal", "Pending")]),
    ("an operator that restarts", standing(), standing(now=LATER), []),
    ("a child", standing(done=4), standing(done=5), []),
    ("an expert", standing(phase="Evaluating", done=1), standing(phase="Evaluating", done=2), []),
    (
        "experts were prepared",
        standing(phase="Preparing", n_prepared=2, done=0),
        standing(phase="Evaluating", done=0),
        [("Normal", "ExpertsPrepared"), ("Normal", "Evaluating")],
    ),
    (
        "experts were evaluated",
        standing(phase="Evaluating", done=2),
        standing(),
        [("Normal", "ExpertsEvaluated"), ("Normal", "Breeding")],
    ),
    (
        "also while it is paused",
        standing("Paused", phase="Evaluating", done=2),
        standing("Paused"),
        [("Normal", "ExpertsEvaluated")],
    ),
    ("finalizing", standing(), standing(phase="Finalizing", done=9), [("Normal", "Finalizing")]),
    (
        "success",
        standing(phase="Finalizing", done=9),
        standing(phase="Succeeded", done=9, model_uri=MODEL),
        [("Normal", "Succeeded")],
    ),
    ("children were raised", standing(phase="Succeeded"), standing(generation=2), [("Normal", "Breeding")]),
    ("paused", standing(), standing("Paused", active_jobs=3), [("Normal", "Paused")]),
    ("draining", standing("Paused", active_jobs=3), standing("Paused", active_jobs=2), []),
    ("wanted again", standing("Paused"), standing(), [("Normal", "Breeding")]),
    ("finishing", standing(), standing("Finished"), [("Normal", "Finishing")]),
    ("failed", standing(), standing(fatal=FATAL), [("Warning", "BadModel")]),
    (
        "failed for another reason",
        standing(fatal=FATAL),
        standing(fatal=("TooManyFailures", "50.")),
        [("Warning", "TooManyFailures")],
    ),
    ("degraded", standing(), standing(troubles=(("Odd", "Odd."),)), [("Warning", "Odd")]),
    (
        "degraded for another reason",
        standing(troubles=(("Odd", "Odd."),)),
        standing(troubles=(("Even", "Even."),)),
        [("Warning", "Even")],
    ),
    ("healthy again", standing(troubles=(("Odd", "Odd."),)), standing(), [("Normal", "Healthy")]),
    ("a first child given up", standing(done=9), standing(done=9, quarantined=(7,)), [("Warning", "Quarantined")]),
    ("a second one", standing(done=9, quarantined=(7,)), standing(done=9, quarantined=(7, 8)), []),
    (
        "a basis that vanished",
        standing(),
        standing(phase="Preparing", n_prepared=2),
        [
            ("Warning", "InProgress"),
            ("Normal", "Preparing"),
        ],
    ),
)


@pytest.mark.parametrize(("before", "after", "expected"), [pytest.param(*case[1:], id=case[0]) for case in EVENTS])
def test_events(before: Standing | None, after: Standing, expected: list[tuple[str, str]]) -> None:
    previous = next_status(None, before) if before else None
    events = transitions(previous, next_status(previous, after))
    assert [(event.type, event.reason) for event in events] == expected


def test_events_say_what_the_conditions_say() -> None:
    done = next_status(None, standing(phase="Succeeded", done=9, model_uri=MODEL))
    failed = next_status(None, standing(fatal=FATAL))
    assert transitions(failed, done) == (Event("Normal", "Succeeded", f"The final model is {MODEL}."),)
    assert transitions(done, failed) == (Event("Warning", *FATAL),)


def test_a_refused_manifest_is_told_once() -> None:
    first = refused(next_status(None, standing()), 2, "spec.experts is empty.", LATER)
    assert transitions(next_status(None, standing()), first) == (
        Event("Warning", "BadManifest", "spec.experts is empty."),
    )
    assert transitions(first, refused(first, 2, "spec.experts is empty.", LATER + 9)) == ()


def test_an_unscored_population_has_no_experts() -> None:
    wanted = spec()
    nobody = Population(np.empty(0, np.int64), np.empty((0, 0)), 3, wanted.search.archive)
    found = condition(next_status(None, standing(done=3, population=nobody)), "ExpertsEvaluated")
    assert found.message == "Some items of sql, shell, python have no score, so the archives have no limits."


def test_status_without_conditions_causes_the_event_of_its_state() -> None:
    assert transitions(None, RunStatus()) == (Event("Normal", "Pending", ""),)
