"""The conditions of a run, as sentences, and the events that tell how they changed.

Messages hold no number that changes with every child, so that conditions are quiet: progress has its own field. What a
condition is made from is :mod:`cycleqd_operator.standing`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal, NamedTuple

from cycleqd.api.status import Condition, ConditionType, RunStatus, State
from cycleqd_operator.standing import Standing

LONGEST_MESSAGE = 1024
"""Bytes; the API server refuses longer notes of events."""
LONGEST_REASON = 64


class Finding(NamedTuple):
    """A condition without its times."""

    status: Literal["True", "False", "Unknown"]
    reason: str
    message: str


UNREAD = Finding("Unknown", "NotObserved", "The run's store was not read yet.")


@dataclass(frozen=True)
class Event:
    """One Kubernetes event about a run."""

    type: Literal["Normal", "Warning"]
    reason: str
    message: str


def timestamp(now: float) -> str:
    """Return Unix time ``now`` as RFC 3339, in whole seconds."""
    return datetime.fromtimestamp(now, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def bounded(text: str, limit: int = LONGEST_MESSAGE) -> str:
    """Return ``text`` on one line, in at most ``limit`` bytes: workers and stores may tell whole stories."""
    text = "".join(letter if letter.isprintable() else " " for letter in text[: 4 * limit])
    line = " ".join(text.split())
    if len(line.encode()) <= limit:
        return line
    return line.encode()[: limit - len("…".encode())].decode(errors="ignore").rstrip() + "…"


def findings(
    previous: RunStatus | None, standing: Standing, state: State, model_uri: str = ""
) -> dict[ConditionType, Finding | None]:
    """Return what a look says about each condition of a run in ``state``; None: what was known before still holds."""
    breeding = _breeding(standing, state)
    if breeding is None and previous is not None and previous.state != state:
        breeding = UNREAD  # what it said of another state, for instance that the run is paused, holds no longer
    return {
        "Prepared": _prepared(standing),
        "ExpertsEvaluated": _experts_evaluated(standing),
        "Breeding": breeding,
        "Succeeded": Finding("True" if state == "Succeeded" else "False", state, sentence(standing, state, model_uri)),
        "Failed": _failed(standing, state),
        "Degraded": _degraded(standing),
    }


def refusal(message: str) -> dict[ConditionType, Finding | None]:
    """Return what is to be said of a run whose manifest cannot be read."""
    failed = Finding("False", "Failed", message)
    return {
        "Prepared": None,
        "ExpertsEvaluated": None,
        "Breeding": failed,
        "Succeeded": failed,
        "Failed": Finding("True", "BadManifest", message),
        "Degraded": None,
    }


def conditions(
    previous: RunStatus | None, found: Mapping[ConditionType, Finding | None], generation: int, now: float
) -> tuple[Condition, ...]:
    """Return the conditions that follow from findings at Unix time ``now`` about a spec's ``generation``.

    The time of the last transition moves with ``status`` only. What a look could not know stays as it was, with the
    generation it was computed from.
    """
    before = {condition.type: condition for condition in previous.conditions} if previous else {}
    return tuple(_condition(kind, finding, before.get(kind), generation, now) for kind, finding in found.items())


def _condition(
    kind: ConditionType, finding: Finding | None, before: Condition | None, generation: int, now: float
) -> Condition:
    if finding is None and before is not None:
        return before
    status, reason, message = finding or UNREAD
    return Condition(
        type=kind,
        status=status,
        reason=_reason(reason),
        message=bounded(message),
        last_transition_time=before.last_transition_time if before and before.status == status else timestamp(now),
        observed_generation=generation,
    )


def _reason(text: str) -> str:
    """Return ``text`` as a CamelCase reason: some come from workers, which may write anything."""
    return re.sub(r"[^A-Za-z0-9]|^[^A-Za-z]+", "", text)[:LONGEST_REASON] or "Unknown"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def sentence(standing: Standing, state: State, model_uri: str = "") -> str:
    """Return what ``state`` means, for people."""
    busy, desired = standing.active_jobs, f"by spec.desiredState {standing.spec.desired_state}"
    texts: dict[State, Callable[[], str]] = {
        "Pending": lambda: standing.all_troubles[0][1] if standing.all_troubles else "The store was not read yet.",
        "Preparing": lambda: "The experts are read, checked and factorised.",
        "Evaluating": lambda: "The experts are evaluated: their scores set the limits of the archives.",
        "Breeding": lambda: "Children are bred and evaluated; status.progress counts them.",
        "Finalizing": lambda: "The final model is chosen, tested and written.",
        "Paused": lambda: f"Paused {desired}: " + _busy(busy, "will stop after the present child"),
        "Suspended": lambda: f"Suspended {desired}: " + _busy(busy, "will stop now"),
        "Succeeded": lambda: f"The final model is {model_uri}." if model_uri else "The final model is written.",
        "Failed": lambda: standing.fatal[1] if standing.fatal else "The run has failed.",
        "Cancelled": lambda: f"Cancelled {desired}: " + _busy(busy, "will stop now"),
    }
    return texts[state]()


def _busy(workers: int, what: str) -> str:
    return f"{_count(workers, 'worker')} {what}." if workers else "no worker runs."


def _prepared(standing: Standing) -> Finding | None:
    if standing.known_phase is None:
        return None
    experts = len(standing.spec.experts)
    if standing.n_prepared >= experts:
        told = f"All {experts} experts are prepared. {standing.verdict}"
        return Finding("True", "ExpertsPrepared", told.rstrip())
    return Finding("False", "InProgress", f"{standing.n_prepared} of {experts} experts are prepared.")


def _experts_evaluated(standing: Standing) -> Finding | None:
    if standing.known_phase is None or standing.population is None:
        return None
    experts = standing.spec.experts
    evaluated = [k for k in range(len(experts)) if k in standing.done]
    if len(evaluated) < len(experts):
        return Finding("False", "InProgress", f"{len(evaluated)} of {len(experts)} experts are evaluated.")
    scored = set(standing.population.ids[: len(experts)].tolist())
    unscored = [experts[k].name for k in evaluated if k not in scored]
    if unscored:
        message = f"Some items of {', '.join(unscored)} have no score, so the archives have no limits."
        return Finding("False", "ExpertsUnscored", message)
    return Finding("True", "ExpertsEvaluated", f"All {len(experts)} experts are evaluated.")


def _breeding(standing: Standing, state: State) -> Finding | None:
    phase = standing.known_phase
    if phase in ("Finalizing", "Succeeded"):
        wanted = standing.spec.search.children
        settled = standing.n_children + len(standing.quarantined)
        if settled >= wanted:
            return Finding("False", "Complete", f"All {wanted} children have a result or were given up.")
        return Finding("False", "FinishedEarly", f"Breeding ended by spec.desiredState Finished before child {wanted}.")
    if state in ("Paused", "Suspended", "Failed", "Cancelled"):
        return Finding("False", state, sentence(standing, state))
    if phase is None:
        return None
    if phase != "Breeding":
        return Finding("False", "WaitingForExperts", "Breeding begins when all experts are evaluated.")
    if standing.spec.desired_state == "Finished":
        return Finding("True", "Finishing", "Breeding ends by spec.desiredState Finished: workers finish their child.")
    return Finding("True", "Breeding", sentence(standing, "Breeding"))


def _failed(standing: Standing, state: State) -> Finding | None:
    if state != "Failed":
        return Finding("False", "NotFailed", "Nothing has ended the run before its time.")
    return Finding("True", *standing.fatal) if standing.fatal else None


def _degraded(standing: Standing) -> Finding | None:
    troubles = standing.all_troubles
    if not troubles:
        return None if standing.known_phase is None else Finding("False", "Healthy", "Nothing degrades the run.")
    (reason, message), others = troubles[0], troubles[1:]
    if not others:
        return Finding("True", reason, message)
    kinds = ", ".join(dict.fromkeys(_reason(kind) for kind, _ in others))
    more = bounded(f" (and {len(others)} more: {kinds}", LONGEST_MESSAGE // 4) + ")."
    head = bounded(message, LONGEST_MESSAGE - len(more.encode()) - 1).removesuffix(".")
    return Finding("True", reason, f"{head} {more}")


TOLD_BY_STATE: frozenset[ConditionType] = frozenset({"Breeding", "Succeeded", "Failed"})
"""Conditions that say the same as a change of state."""


def transitions(previous: RunStatus | None, status: RunStatus) -> tuple[Event, ...]:
    """Return one event per transition: the state became another, or a condition became, stayed no longer, true.

    Equal statuses give none, so an operator that restarts repeats nothing; children give none, either.
    """
    now = {condition.type: condition for condition in status.conditions}
    before = {condition.type: condition for condition in previous.conditions} if previous else {}
    moved = previous is None or previous.state != status.state
    events = [
        _event(condition)
        for kind, condition in now.items()
        if not (moved and kind in TOLD_BY_STATE) and _turned(before.get(kind), condition)
    ]
    if moved:
        failed = now.get("Failed") if status.state == "Failed" else None
        told = failed or now.get("Succeeded")
        event = Event("Warning" if failed else "Normal", status.state, "")
        events.append(Event(event.type, told.reason, told.message) if told else event)
    return tuple(events)


def _turned(before: Condition | None, condition: Condition) -> bool:
    was, is_ = before is not None and before.status == "True", condition.status == "True"
    return was != is_ or (is_ and before is not None and before.reason != condition.reason)


def _event(condition: Condition) -> Event:
    bad = (condition.status == "True") == (condition.type in ("Degraded", "Failed"))
    return Event("Warning" if bad else "Normal", condition.reason, condition.message)
