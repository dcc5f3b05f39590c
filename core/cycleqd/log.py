"""The log of results as the store holds it, read incrementally. What they mean is :mod:`cycleqd.fold`'s knowledge.

A compaction (``archive/<n>.json``) repeats what the fold needs of n results in one object. It is derived: deleting it
costs time, never knowledge.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from cycleqd import keys
from cycleqd.api.run import RunSpec
from cycleqd.errors import BadData
from cycleqd.fold import Entry, Population, entry_of, fold
from cycleqd.pooling import Pooling
from cycleqd.records import Record, read_result
from cycleqd.store import ObjectStore

COMPACT_EVERY = 100
"""Results between two compactions: reading 100 small objects takes about as long as breeding one child."""
READERS = 16
"""Results read at one time; S3 answers one GET in about 10 ms."""


class Compaction(Record):
    """What the fold needs of the results with these keys."""

    entries: dict[str, Entry]


@dataclass
class ResultLog:
    """All results seen so far.

    Attributes:
        store: of the run.
        items: whether the archives compare outcomes item by item, so that entries must keep them.
        entries: by key.
        damaged: what is wrong with the objects that are not results, by key; reported, never fatal. They are read
            again each time, because the child is bred again and its result replaces the damaged one.
        quarantined: ids of children that were given up because they kill their workers.
    """

    store: ObjectStore
    items: bool = False
    entries: dict[str, Entry] = field(default_factory=dict)
    damaged: dict[str, str] = field(default_factory=dict)
    quarantined: set[int] = field(default_factory=set)
    _compacted: int = 0

    def refresh(self) -> int:
        """Read what is new in the store and return how many results that were."""
        if not self.entries:
            self._read_compaction()
        before = len(self.entries)
        fresh = [key for key in self.store.list(keys.RESULTS) if key not in self.entries]
        if len(fresh) > 1:
            with ThreadPoolExecutor(min(READERS, len(fresh))) as readers:
                list(readers.map(self._read, fresh))
        elif fresh:
            self._read(fresh[0])
        notes = (keys.parse_quarantine(key) for key in self.store.list(keys.QUARANTINE))
        self.quarantined = {individual for individual in notes if individual is not None}
        return len(self.entries) - before

    def _read(self, key: str) -> None:
        try:
            result = read_result(self.store.get(key), key)
        except BadData as error:
            self.damaged[key] = str(error)
            return
        if keys.parse_result(key) != (result.id, result.evaluation):
            self.damaged[key] = f"The object {key} holds result {result.id}-{result.evaluation}: it was set aside."
            return
        self.entries[key] = entry_of(result, items=self.items)
        self.damaged.pop(key, None)

    def _read_compaction(self) -> None:
        for key in sorted(self.store.list(keys.ARCHIVE), reverse=True):
            try:
                entries = Compaction.model_validate_json(self.store.get(key)).entries
            except ValueError:
                continue  # derived data: an older compaction, or none, serves as well
            # Without their items, entries are of no use where these are compared: their results are read again.
            usable = {k: entry for k, entry in entries.items() if not self.items or entry.items or entry.scores is None}
            self.entries = usable
            self._compacted = len(usable)
            return

    def compact(self) -> None:
        """Write a compaction if enough results have come since the last one."""
        if len(self.entries) - self._compacted < COMPACT_EVERY:
            return
        ordered = dict(sorted(self.entries.items()))
        self.store.put(keys.compaction(len(ordered)), Compaction(entries=ordered).model_dump_json().encode())
        self._compacted = len(ordered)

    @property
    def done(self) -> set[int]:
        """Ids of individuals that need no (more) evaluation: they have a result, or were given up."""
        return {entry.id for entry in self.entries.values()} | self.quarantined

    @property
    def stopped(self) -> set[int]:
        """Ids of children whose evaluation racing ended early."""
        return {entry.id for entry in self.entries.values() if entry.saved}

    @property
    def broken(self) -> set[int]:
        """Ids of individuals with numerically broken answers: they are in no archive."""
        return {entry.id for entry in self.entries.values() if entry.broken}

    def population(self, spec: RunSpec, below: int | None = None) -> Population:
        """Return the fold of all results, or of those that a child of a strict run sees.

        Args:
            spec: of the run.
            below: only results of ids below it, and repeated evaluations made before such children.
        """
        chosen, n_experts = [], len(spec.experts)
        for key, entry in self.entries.items():
            if entry.scores is not None and len(entry.scores) != n_experts:  # there is one task per expert
                self.damaged[key] = f"The object {key} has {len(entry.scores)} scores for {n_experts} tasks."
            elif below is None or entry.turn < below:
                chosen.append(entry)
        return fold(chosen, n_experts, spec.search.archive, Pooling.of(spec))
