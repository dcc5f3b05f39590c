"""What failed workers mean for a run: a pure function of the notes about them.

A note lies in the store, one for each Job that failed, so nothing is forgotten when an operator restarts. Lost nodes,
preemption, eviction and deleted pods leave none: Kubernetes replaces such pods by itself.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from cycleqd.api.workers import FailurePolicy
from cycleqd.errors import MissingInput
from cycleqd.plan import Observed, Role, Work
from cycleqd.records import Record

RETRY_SECONDS = 5
"""Wait before the second repetition of failed work; the first one starts at once, later waits double."""
MISSING_SECONDS = 30
"""Wait before work is repeated that found something missing; people create it, so seconds do not matter."""
LONGEST_SECONDS = 300


class Failure(Record):
    """One failed worker."""

    job: str
    """Name of its Job."""
    role: Role
    """Of the worker."""
    expert: str = ""
    """The expert it prepared."""
    individual: int | None = None
    """The individual it died with: of its block, the first one without result."""
    kind: str = ""
    """Class of :mod:`cycleqd.errors` that the worker told; empty if it died without a word."""
    permanent: bool = False
    """Whether the worker said that trying again cannot help."""
    message: str = ""
    """One sentence for people."""
    generation: int = 0
    """Generation of the spec that the Job was made from."""
    node: str = ""
    """Where it ran."""
    at: float = 0.0
    """Unix time in seconds."""

    @property
    def subject(self) -> str:
        """Key of the work that has to be tried again (:attr:`cycleqd.plan.Work.key`)."""
        return Work(self.role, self.expert, () if self.individual is None else (self.individual,)).key

    @property
    def is_missing_input(self) -> bool:
        """Whether something did not exist that may appear."""
        return self.kind == MissingInput.__name__

    @property
    def is_death(self) -> bool:
        """Whether the worker died without a word; who can still say why was not killed by its child."""
        return not self.kind and not self.permanent

    def is_settled(self, observed: Observed) -> bool:
        """Return whether the work was done in the meantime, or given up."""
        if self.role == "prepare":
            return self.expert in observed.prepared
        if self.role == "finalize":
            return observed.finalized
        return self.individual in observed.done


@dataclass(frozen=True)
class Verdict:
    """What the failures mean.

    Attributes:
        give_up: children that killed too many workers and have to be quarantined.
        held: keys of work that must wait before it is tried again.
        retry_at: when the first of them may be tried again, Unix time in seconds; None: nothing waits.
        fatal: (reason, message) if the run has failed.
        missing: the latest failure for want of something that does not exist yet.
    """

    give_up: tuple[int, ...] = ()
    held: frozenset[str] = frozenset()
    retry_at: float | None = None
    fatal: tuple[str, str] | None = None
    missing: Failure | None = None


def judge(
    failures: Iterable[Failure],
    policy: FailurePolicy,
    observed: Observed,
    *,
    generation: int,
    quarantined: int,
    now: float,
) -> Verdict:
    """Return what follows from the failures.

    Args:
        failures: all notes of the run.
        policy: how much may go wrong.
        observed: what is done by now.
        generation: of the spec; failures under an older one are history.
        quarantined: how many children were given up so far.
        now: Unix time in seconds.
    """
    current = sorted((failure for failure in failures if failure.generation >= generation), key=lambda note: note.at)
    open_ = [failure for failure in current if not failure.is_settled(observed)]
    deaths = Counter(failure.subject for failure in open_ if failure.is_death)
    exhausted = {failure.subject: failure for failure in open_ if deaths[failure.subject] >= policy.attempts}
    give_up = [f.individual for f in exhausted.values() if f.role == "breed" and f.individual is not None]
    held = {subject: until for subject, until in _waits(open_).items() if until > now}
    missing = [failure for failure in open_ if failure.is_missing_input]
    return Verdict(
        give_up=tuple(sorted(give_up)),
        held=frozenset(held),
        retry_at=min(held.values(), default=None),
        fatal=_fatal(current, exhausted.values(), policy, quarantined + len(give_up)),
        missing=missing[-1] if missing else None,
    )


def _fatal(
    current: Sequence[Failure], exhausted: Iterable[Failure], policy: FailurePolicy, quarantined: int
) -> tuple[str, str] | None:
    counted = [failure for failure in current if not failure.is_missing_input]
    for failure in counted:
        if failure.permanent:
            return failure.kind or "BadInput", failure.message
    for failure in exhausted:
        if failure.role != "breed":
            return "WorkersDied", f"{failure.subject} failed {policy.attempts} times: {failure.message}"
    if quarantined > policy.max_quarantined:
        return "TooManyQuarantined", (
            f"{quarantined} children killed {policy.attempts} workers each, and failurePolicy.maxQuarantined is "
            f"{policy.max_quarantined}: look at the failed pods' logs, then raise it or give the workers more memory."
        )
    if len(counted) > policy.max_failures:
        return "TooManyFailures", (
            f"{len(counted)} workers failed, and failurePolicy.maxFailures is {policy.max_failures}; the last one: "
            f"{counted[-1].message}"
        )
    return None


def _waits(failures: Iterable[Failure]) -> dict[str, float]:
    """Return until when the work of each subject has to wait; ``failures`` come in the order of time."""
    waits: dict[str, float] = {}
    counts: Counter[str] = Counter()
    for failure in failures:
        repetitions = counts[failure.subject]
        counts[failure.subject] += 1
        if failure.is_missing_input:
            delay = MISSING_SECONDS * 2 ** min(repetitions, 10)
        else:
            delay = RETRY_SECONDS * 2 ** min(repetitions - 1, 10) if repetitions else 0
        waits[failure.subject] = failure.at + min(delay, LONGEST_SECONDS)
    return waits
