"""What one look at a run found, and the one word for it.

Everything here is a pure function of the spec and of what was observed. Who looks is the reconciler; how it is told is
:mod:`cycleqd_operator.conditions` (sentences) and :mod:`cycleqd_operator.status` (numbers).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from cycleqd.api.run import RunSpec
from cycleqd.api.status import RunStatus, State
from cycleqd.fold import Population
from cycleqd.ids import format_ids
from cycleqd.plan import Phase

Trouble = tuple[str, str]
"""CamelCase reason, and a sentence for people."""

TERMINAL: frozenset[State] = frozenset({"Succeeded", "Failed", "Cancelled"})
"""States of a run that has ended; it goes on when its spec allows it, for instance when ``children`` are raised."""

QUARANTINED = "Quarantined"
DAMAGED = "DamagedObjects"
SEVERITY = (
    "SecretMissing",
    "AccessDenied",
    "StoreUnreachable",
    "NoSpace",
    "StorageInUse",
    "MissingInput",
    "NameTaken",
    "WorkersNotStarting",
)
"""Reasons that keep the whole run from going on, worst first; other ones follow, then what costs single children."""


@dataclass(frozen=True)
class Standing:
    """Everything that a look at a run found.

    A look may be partial: without the store, :attr:`population` is None, and what only the store knows (the phase, all
    counts but those of Jobs) is not known either; then the figures of the previous status stay.

    Attributes:
        spec: what the user wants.
        generation: of the spec.
        now: Unix time in seconds.
        phase: where the run stands according to :func:`cycleqd.plan.plan`.
        n_prepared: experts whose basis is complete.
        verdict: how close the experts are to each other, in words; empty: not known.
        population: all individuals with scores; None if the store could not be read.
        done: ids that have a result or were given up.
        quarantined: ids of children that were given up, ascending.
        n_broken: children that are not scored because their numbers became NaN or infinite.
        damaged: what is wrong with stored objects, by key.
        failures: workers that failed.
        active_jobs: Jobs that are not finished.
        ready_jobs: those of them whose pod runs.
        stopping: whether workers of a run that ends are still stopping: then it has not ended yet.
        fatal: why the run has failed: bad input, a used-up budget, the deadline.
        troubles: what degrades the run, as far as the store and the cluster tell; damage and quarantine are added here.
        seconds_per_child: what a child takes one worker, mean.
        evaluation_share: share of that time which is asking and judging, in [0, 1].
        storage_uri: where the run's state lies.
        storage_root: where relative URIs start, once the run has its place.
        model_uri: where the final model lies, once it is written.
    """

    spec: RunSpec
    generation: int
    now: float
    phase: Phase | None = None
    n_prepared: int = 0
    verdict: str = ""
    population: Population | None = None
    done: frozenset[int] = frozenset()
    quarantined: tuple[int, ...] = ()
    n_broken: int = 0
    damaged: Mapping[str, str] = field(default_factory=dict)
    failures: int = 0
    active_jobs: int = 0
    ready_jobs: int = 0
    stopping: bool = False
    fatal: Trouble | None = None
    troubles: tuple[Trouble, ...] = ()
    seconds_per_child: float | None = None
    evaluation_share: float | None = None
    storage_uri: str = ""
    storage_root: str = ""
    model_uri: str = ""

    @property
    def known_phase(self) -> Phase | None:
        """The phase, unless the store was not read."""
        return None if self.population is None else self.phase

    @property
    def n_children(self) -> int:
        """Children with a result."""
        experts = sum(k in self.done for k in range(len(self.spec.experts)))
        return len(self.done) - experts - len(self.done.intersection(self.quarantined))

    @property
    def all_troubles(self) -> tuple[Trouble, ...]:
        """What degrades the run, the most important first."""
        rank = {reason: place for place, reason in enumerate(SEVERITY)}
        found = sorted(self.troubles, key=lambda trouble: rank.get(trouble[0], len(rank)))
        return (*found, *_quarantine(self.quarantined), *((DAMAGED, self.damaged[key]) for key in sorted(self.damaged)))


def _quarantine(ids: tuple[int, ...]) -> tuple[Trouble, ...]:
    if not ids:
        return ()
    if len(ids) == 1:
        return ((QUARANTINED, f"Child {ids[0]} was given up because it killed its workers."),)
    return ((QUARANTINED, f"{len(ids)} children were given up because they killed their workers: {format_ids(ids)}."),)


def state_of(previous: RunStatus | None, standing: Standing) -> State:
    """Return the word for the printer column.

    Pausing, suspending and cancelling show at once, although workers may need a while: people look there whether they
    were heard, and the conditions say how many workers are still busy. Ending what has ended changes nothing.
    """
    desired, phase = standing.spec.desired_state, standing.known_phase
    before: State = previous.state if previous else "Pending"
    if desired == "Cancelled":
        return before if before in ("Succeeded", "Failed") else "Cancelled"
    if phase == "Succeeded":
        return "Succeeded"
    if standing.fatal:
        return "Failed"
    same_spec = previous is not None and previous.observed_generation == standing.generation
    if phase is None and before in TERMINAL and same_spec:
        return before
    if desired in ("Paused", "Suspended"):
        return desired
    if phase is None:
        return before if before in ("Preparing", "Evaluating", "Breeding", "Finalizing") else "Pending"
    return phase
