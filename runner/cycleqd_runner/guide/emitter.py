"""The Guided emitter: elites' midpoint, then a few gradient steps towards right answers of the run's individuals.

Every expert solves most of its own search items, and what it answered is the target: no reference answers are needed.
Only transcripts of search items exist, so validation and test items are never seen. Which child is guided is the
schedule's business (:mod:`cycleqd.schedule`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from cycleqd.api.run import RunSpec
from cycleqd.api.search import GuidedEmitter
from cycleqd.archive import Archive
from cycleqd.crossover import cross
from cycleqd.cycle import active_task, child_number
from cycleqd.emitter import Emitter, GenomeOf, Proposal
from cycleqd.fold import Population
from cycleqd.genome import Genome, Layout, combine
from cycleqd.rng import generator
from cycleqd.sampling import sample_parents
from cycleqd_runner.guide.guide import Guide
from cycleqd_runner.guide.lessons import Lesson, Lessons

LEAST_TO_LOSE = 0.1
"""What a task counts at least among those that a child must not lose: a skill that is not there yet has to begin."""
REGRESSION_LESSONS = 48
"""Lessons of each expert that the first child's regression sees: four times as many made it no better."""


@dataclass(frozen=True)
class _Start:
    """Where a child begins.

    Attributes:
        genome: to be improved.
        parents: ids.
        scores: (n_tasks,) what the parents have to lose.
        steps: to take.
        draws: the random numbers worth recording.
        tokens: passed to find it.
        teachers: ids of those whose answers were shown for it.
    """

    genome: Genome
    parents: tuple[int, ...]
    scores: npt.NDArray[np.float64]
    steps: int
    draws: dict[str, float]
    tokens: int = 0
    teachers: frozenset[int] = frozenset()


@dataclass(frozen=True)
class Guided:
    """Gradient steps towards right answers.

    Attributes:
        spec: of the run.
        layout: of the run's genomes.
        guide: takes the steps.
        lessons: of the run.
        law: the manifest's settings.
        unguided: proposes where there is nothing to learn from.
        name: as results record it.
    """

    spec: RunSpec
    layout: Layout
    guide: Guide
    lessons: Lessons
    law: GuidedEmitter
    unguided: Emitter
    name: str = "Guided"

    def propose(self, individual: int, population: Population, genome_of: GenomeOf) -> Proposal:
        """Return the child; the same one for the same population on the same kind of machine."""
        search, n_experts = self.spec.search, len(self.spec.experts)
        task = active_task(child_number(individual, n_experts), len(self.spec.tasks), search)
        lessons = self.lessons.of(population)
        if not lessons:  # nobody has answered anything rightly yet
            return self.unguided.propose(individual, population, genome_of)
        watch = self.guide.watch()
        archive = _children(population.archives[task], n_experts)
        if len(archive.members):
            start = self._midpoint(individual, archive, genome_of)
        else:
            start = self._first([genome_of(k) for k in range(n_experts)], lessons)
        rng = generator(search.seed, individual, "guidance")
        improved = self.guide.improve(
            start.genome, lessons, shares(start.scores, task, self.law.lean), start.steps, rng
        )
        told = {"steps": float(start.steps), "firstLoss": improved.losses[0], "lastLoss": improved.losses[-1]}
        return Proposal(
            improved.genome,
            start.parents,
            task,
            self.name,
            len(population.ids),
            start.draws | told,
            teachers=tuple(sorted(start.teachers.union(improved.teachers))),
            tokens=start.tokens + improved.tokens,
            guidance=watch.taken(),
        )

    def _first(self, experts: Sequence[Genome], lessons: Sequence[Lesson]) -> _Start:
        """Start from the experts: the same for all of a run's children, because only experts teach it."""
        tokens, shown = 0, list[Lesson]()
        if self.law.start == "Uniform":
            genome = combine(experts, [self.law.first_gain] * len(experts))
        else:
            shown = few_of_each(lessons, len(experts))
            genome, tokens = self.guide.regression(shown)
        parents, scores = tuple(range(len(experts))), np.zeros(len(self.spec.tasks))
        teachers = frozenset(lesson.teacher for lesson in shown)
        return _Start(genome, parents, scores, self.law.first_steps, {}, tokens, teachers)

    def _midpoint(self, individual: int, archive: Archive, genome_of: GenomeOf) -> _Start:
        """Start from two elites' crossover."""
        search = self.spec.search
        rows = list(sample_parents(archive, search.sampling, generator(search.seed, individual, "sampling")))
        parents = tuple(int(archive.members[row]) for row in rows)
        first, second = (genome_of(parent) for parent in parents)
        rng = generator(search.seed, individual, "crossover")
        genome, draws = cross(first, second, self.layout, search.crossover, rng)
        return _Start(genome, parents, archive.scores[rows].mean(axis=0), self.law.steps, draws)


def planned_steps(individual: int, population: Population, spec: RunSpec, law: GuidedEmitter) -> int:
    """Return how many steps a guided child takes: more where no child is in the archive that parents come from."""
    n_experts = len(spec.experts)
    task = active_task(child_number(individual, n_experts), len(spec.tasks), spec.search)
    return law.steps if len(_children(population.archives[task], n_experts).members) else law.first_steps


def few_of_each(lessons: Sequence[Lesson], n_experts: int) -> list[Lesson]:
    """Return the experts' first lessons of each task: what a regression needs, however many there are."""
    by_expert = [[lesson for lesson in lessons if lesson.teacher == k] for k in range(n_experts)]
    return [lesson for own in by_expert for lesson in own[:REGRESSION_LESSONS]]


def _children(archive: Archive, n_experts: int) -> Archive:
    """Return the archive without the experts: from their midpoint, a few steps lead nowhere near what is there."""
    return archive.only(archive.members >= n_experts)


def shares(scores: npt.NDArray[np.float64], task: int, lean: float) -> list[float]:
    """Return each task's share of the loss: ``lean`` for the active one, the others by what there is to lose.

    Args:
        scores: (n_tasks,) of the parents, in [0, 1].
        task: index of the active task.
        lean: its share, in [0, 1].
    """
    rest = np.maximum(scores, LEAST_TO_LOSE)
    rest[task] = 0.0
    wanted = (1.0 - lean) * rest / rest.sum()
    wanted[task] = lean
    return [float(share) for share in wanted]
