"""What the operator reads of a run's store and writes to it. All calls block: they belong into threads.

Everything kept here is derived: it is read again by an operator that starts.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from dataclasses import dataclass, field

from pydantic import ValidationError

from cycleqd import keys
from cycleqd.affinity import read_affinity
from cycleqd.api import CycleQDRun, RunSpec
from cycleqd.archives import compares_items
from cycleqd.errors import MissingObject, RunMismatch
from cycleqd.failures import Failure
from cycleqd.fold import Population
from cycleqd.identity import claim, read_identity
from cycleqd.log import ResultLog
from cycleqd.report import is_finalized
from cycleqd.store import ObjectStore
from cycleqd.store.transfer import probe
from cycleqd_operator.tally import Tally


@dataclass(frozen=True)
class StoreView:
    """How a run stands by its store.

    Attributes:
        prepared: experts whose basis is complete.
        verdict: how close the experts are to each other, in words; empty until that is known.
        done: ids that have a result or were given up.
        quarantined: those that were given up, ascending.
        n_broken: how many children are numerically broken.
        damaged: what is wrong with objects that should be results, by key.
        population: everybody that has scores.
        finalized: whether the final report is about all that is done.
        seconds_per_child, evaluation_share: means over the children; None without any.
    """

    prepared: frozenset[str]
    verdict: str
    done: frozenset[int]
    quarantined: tuple[int, ...]
    n_broken: int
    damaged: dict[str, str]
    population: Population
    finalized: bool
    seconds_per_child: float | None
    evaluation_share: float | None


@dataclass
class RunStore:
    """One run's store.

    Attributes:
        store: of the run.
        claimed: generation of the spec that the workers find there; None before the first claim.
        tally: of all results read so far; None before the first look.
    """

    store: ObjectStore
    claimed: int | None = None
    tally: Tally | None = None
    _log: ResultLog = field(init=False)
    _prepared: set[str] = field(default_factory=set)
    _verdict: str | None = None
    _failures: dict[str, Failure] = field(default_factory=dict)
    _population: tuple[int, Population] | None = None

    def __post_init__(self) -> None:
        self._log = ResultLog(self.store)

    @property
    def failures(self) -> tuple[Failure, ...]:
        """Notes about failed workers, those of this process included."""
        return tuple(self._failures.values())

    def claim(self, run: CycleQDRun, generation: int) -> None:
        """Make the run the store's owner and tell the workers its present spec, once for each generation.

        Raises:
            RunMismatch: the store holds another run.
            UnsupportedHere: the store does not protect what is written.
        """
        if self.claimed is None:
            probe(self.store)
        if self.claimed != generation:
            claim(self.store, run)
            self.claimed = generation

    def look(self, spec: RunSpec, *, idle: bool) -> StoreView:
        """Read what is new.

        Args:
            spec: of the run.
            idle: whether no worker runs. While one does, the final report is not finished and not read.
        """
        self._log.items = compares_items(spec.search.archive)
        self._log.refresh()
        self._log.compact()
        self._count()
        self._read_failures()
        self._prepared |= {
            expert.name
            for expert in spec.experts
            if expert.name not in self._prepared and self.store.exists(keys.basis_manifest(expert.name))
        }
        done = frozenset(self._log.done)
        everybody = len(spec.experts) + spec.search.children
        complete = len(done) >= everybody or spec.desired_state == "Finished"
        seconds, share = self._timings(len(spec.experts))
        return StoreView(
            prepared=frozenset(self._prepared),
            verdict=self._read_verdict(spec),
            done=done,
            quarantined=tuple(sorted(self._log.quarantined)),
            n_broken=len(self._log.broken),
            damaged=dict(self._log.damaged),
            population=self._fold(spec),
            finalized=idle and complete and is_finalized(self.store, done),
            seconds_per_child=seconds,
            evaluation_share=share,
        )

    def note(self, job_uid: str, failure: Failure) -> None:
        """Write down that a worker failed; a second note about the same Job changes nothing."""
        key = keys.failure(job_uid)
        self.store.put_once(key, failure.model_dump_json().encode())
        self._failures.setdefault(key, failure)

    def give_up(self, children: Iterable[int], reason: str) -> None:
        """Quarantine children."""
        for child in children:
            self.store.put_once(keys.quarantine(child), reason.encode())

    def _read_failures(self) -> None:
        for key in self.store.list(keys.FAILURES):
            if key in self._failures:
                continue
            try:
                self._failures[key] = Failure.model_validate_json(self.store.get(key))
            except (ValidationError, MissingObject):
                continue  # a note that cannot be read accuses nobody

    def _read_verdict(self, spec: RunSpec) -> str:
        """Return what the experts' comparison says; it is written before the last of them is prepared, or never."""
        if self._verdict is None and len(self._prepared) >= len(spec.experts):
            found = read_affinity(self.store)
            self._verdict = found.verdict if found else ""
        return self._verdict or ""

    def _count(self) -> None:
        """Add what is new to the tally; entries stay in the order in which they were read."""
        before = self.tally or Tally()
        self.tally = before.plus(itertools.islice(self._log.entries.values(), before.results, None))

    def _fold(self, spec: RunSpec) -> Population:
        entries = len(self._log.entries)
        if self._population is None or self._population[0] != entries:
            self._population = entries, self._log.population(spec)
        return self._population[1]

    def _timings(self, n_experts: int) -> tuple[float | None, float | None]:
        """Return what a child takes a worker in seconds, and the share of it that is evaluation."""
        children = [entry for entry in self._log.entries.values() if entry.id >= n_experts and entry.seconds]
        if not children:
            return None, None
        seconds = sum(entry.seconds for entry in children)
        individuals = len({entry.id for entry in children})  # a second evaluation makes children dearer, not more
        return seconds / individuals, sum(entry.evaluate_seconds for entry in children) / seconds


def delete_everything(store: ObjectStore, run_uid: str) -> None:
    """Delete what a run stored, and nothing else below its prefix.

    Raises:
        RunMismatch: the store was claimed by another run, and is left alone.
    """
    if not store.exists(keys.RUN):
        return
    identity = read_identity(store)
    if identity.uid != run_uid:
        raise RunMismatch(f"{store.uri} was claimed by another run named {identity.name}: it is left alone.")
    for folder in keys.FOLDERS:
        store.delete_prefix(folder)
    for key in (keys.SPEC, keys.SPLITS, keys.RUN):  # the identity last: an interrupted deletion can go on
        store.delete(key)
