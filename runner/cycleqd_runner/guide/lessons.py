"""Whose answers guidance learns from: one right answer per search item. Making tokens of them is ``targets``' work."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from cycleqd.api.run import RunSpec
from cycleqd.errors import MissingObject
from cycleqd.fold import Population
from cycleqd.records import Transcript
from cycleqd.store import ObjectStore
from cycleqd_runner.transcripts import read_transcripts


@dataclass(frozen=True)
class Lesson:
    """A right answer and who gave it.

    Attributes:
        teacher: id of the individual.
        transcript: what it said.
    """

    teacher: int
    transcript: Transcript


class Lessons:
    """The successful transcripts of a run's experts and elites."""

    def __init__(self, store: ObjectStore, spec: RunSpec) -> None:
        """``store`` and ``spec`` are the run's; nothing is read yet."""
        self._store, self._spec = store, spec
        self._read = lru_cache(maxsize=None)(self._transcripts)

    def of(self, population: Population) -> list[Lesson]:
        """Return one lesson per item that anybody solved, in the order of tasks and items.

        An item's teacher is the task's own expert, or else the best elite on that task that solved it.
        """
        names = [task.name for task in self._spec.tasks]
        found: dict[tuple[int, str], Lesson] = {}
        for task, teacher in self._teachers(population):
            for transcript in self._read(teacher):
                if transcript.task == names[task]:
                    found.setdefault((task, transcript.item), Lesson(teacher, transcript))
        return [found[key] for key in sorted(found)]

    def _teachers(self, population: Population) -> Iterator[tuple[int, int]]:
        """Yield (task, individual), the most trustworthy individuals of each task first."""
        experts = [expert.name for expert in self._spec.experts]
        everybody = np.unique(np.concatenate([archive.members for archive in population.archives]))
        scores = population.scores[np.searchsorted(population.ids, everybody)]
        for task, spec in enumerate(self._spec.tasks):
            yield task, experts.index(spec.expert)
            for row in np.lexsort((everybody, -scores[:, task])):
                yield task, int(everybody[row])

    def _transcripts(self, individual: int) -> list[Transcript]:
        try:
            return [said for said in read_transcripts(self._store, individual) if said.is_success]
        except MissingObject:  # results of older versions came without
            return []
