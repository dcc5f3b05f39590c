"""Where guided children start, what they are asked to keep, and who proposes where there is nothing to learn from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, cast

import numpy as np
import pytest

from cycleqd.api.search import Grid, GuidedEmitter
from cycleqd.emitter import Paper, Proposal
from cycleqd.fold import Population
from cycleqd.genome import Genome, Layout, Matrix
from cycleqd.records import Guidance, Transcript
from cycleqd_runner.guide.emitter import Guided, planned_steps, shares
from cycleqd_runner.guide.guide import Improved, Regression
from cycleqd_runner.guide.lessons import Lesson
from tests.core.support import run_spec

LAYOUT = Layout(("sql", "shell"), (Matrix("w", (2, 1)),))
LAW = GuidedEmitter(type="Guided", steps=3, first_steps=7, lean=0.6)
SPEC = run_spec(2, search={"emitter": LAW.model_dump(), "crossover": {"standardDeviation": 0.0}})
EXPERTS = [[0.9, 0.1], [0.1, 0.9]]
CHILDREN = [[0.92, 0.4], [0.4, 0.92]]
LESSONS = [
    Lesson(teacher, Transcript(task=task.name, item=f"{teacher}", messages=(), answer="a", score=1.0))
    for teacher, task in ((0, SPEC.tasks[0]), (3, SPEC.tasks[1]))
]


class Watch:
    def taken(self) -> Guidance:
        return Guidance(seconds=1.0)


@dataclass
class Notes:
    """A guide that moves nothing and remembers what it was asked for; gradient steps have tests of their own."""

    asked: list[tuple[Genome, list[float], int]] = field(default_factory=list)

    def watch(self) -> Watch:
        return Watch()

    def improve(
        self, start: Genome, lessons: Sequence[Lesson], shares: list[float], steps: int, rng: np.random.Generator
    ) -> Improved:
        assert lessons == LESSONS
        self.asked.append((start, shares, steps))
        return Improved(start, (3,), 10, (0.5,) * steps)

    def regression(self, lessons: Sequence[Lesson]) -> Regression:
        assert [lesson.teacher for lesson in lessons] == [0], "only experts teach the regression"
        return Regression(genome_of(0), 5)


@dataclass
class Taught:
    lessons: list[Lesson]

    def of(self, population: Population) -> list[Lesson]:
        return self.lessons


def genome_of(individual: int) -> Genome:
    """Return a genome that no other individual has."""
    values = np.random.default_rng(individual).random(LAYOUT.size).astype(np.float32)
    return Genome(values, np.zeros((2, 0), np.float32))


def people(*scores: list[float]) -> Population:
    return Population(np.arange(len(scores)), np.array(scores), n_experts=2, settings=Grid())


def propose(population: Population, lessons: list[Lesson], individual: int) -> tuple[Proposal, Notes]:
    notes, paper = Notes(), Paper(SPEC, LAYOUT, lambda _: {})
    guided = Guided(SPEC, LAYOUT, cast(Any, notes), cast(Any, Taught(lessons)), LAW, paper)
    return guided.propose(individual, population, genome_of), notes


@pytest.mark.parametrize("individual", [4, 5], ids=["task sql", "task shell"])
def test_a_child_starts_at_the_midpoint_of_two_elites_and_leans_to_its_task(individual: int) -> None:
    population = people(*EXPERTS, *CHILDREN)
    child, notes = propose(population, LESSONS, individual)
    ((start, wanted, steps),) = notes.asked
    assert set(child.parents) == {2, 3}, "no expert is a parent once there are children"
    first, second = (genome_of(parent).values for parent in child.parents)
    np.testing.assert_allclose(start.values, (first + second) / 2, rtol=1e-6)
    assert steps == planned_steps(individual, population, SPEC, LAW) == 3
    assert wanted == shares(np.mean(CHILDREN, axis=0), child.active_task or 0, 0.6)
    assert wanted[child.active_task or 0] == 0.6
    assert (child.emitter, child.teachers, child.tokens) == ("Guided", (3,), 10)


def test_the_first_child_starts_from_the_experts_and_names_whoever_taught_its_start() -> None:
    population = people(*EXPERTS)
    child, notes = propose(population, LESSONS, 2)
    ((start, _, steps),) = notes.asked
    assert start.digest == genome_of(0).digest
    assert steps == planned_steps(2, population, SPEC, LAW) == 7
    assert (child.parents, child.teachers, child.tokens) == ((0, 1), (0, 3), 15)


def test_without_a_right_answer_the_papers_emitter_proposes() -> None:
    population = people(*EXPERTS)
    child, notes = propose(population, [], 2)
    paper = Paper(SPEC, LAYOUT, lambda _: {}).propose(2, population, genome_of)
    assert not notes.asked
    assert (child.emitter, child.genome.digest, child.parents) == ("Paper", paper.genome.digest, paper.parents)
    assert (child.teachers, child.tokens) == ((), 0)
