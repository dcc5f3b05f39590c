"""Gradient steps on genomes of one run, with the engine's own model. Whose answers are learned is not known here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
import torch

from cycleqd.api.search import GuidedEmitter
from cycleqd.genome import Genome
from cycleqd_runner.engines.contract import Lent
from cycleqd_runner.guide.descent import Descended, Law, Parametrise, descend
from cycleqd_runner.guide.effort import Watch
from cycleqd_runner.guide.lessons import Lesson
from cycleqd_runner.guide.overlay import Overlay
from cycleqd_runner.guide.regression import Grams, observe, regress
from cycleqd_runner.guide.targets import batches, targets_of
from cycleqd_runner.session import Session


@dataclass(frozen=True)
class Improved:
    """A genome after its steps.

    Attributes:
        genome: of the run's layout.
        teachers: ids of the individuals whose answers were shown, ascending.
        tokens: passed forward and backward.
        losses: (steps,) before each step, in nats per answer token.
    """

    genome: Genome
    teachers: tuple[int, ...]
    tokens: int
    losses: tuple[float, ...]


class Regression(NamedTuple):
    """Where guidance starts, and the tokens that were passed forward for it."""

    genome: Genome
    tokens: int


class Guide:
    """Improves genomes of one run.

    The engine holds the base's weights meanwhile; whoever asks it next loads an individual first, as always.
    """

    def __init__(self, session: Session) -> None:
        """``session``: of this worker; its engine is opened with the first improvement."""
        self._session = session
        self._overlay: Overlay | None = None
        self._regressions: dict[tuple[tuple[int, str, str], ...], Regression] = {}

    def watch(self) -> Watch:
        """Begin to measure what guidance takes; what scoring a child opens anyway is opened before."""
        _ = self._session.engine, self._session.materialiser
        return Watch()

    def improve(
        self, start: Genome, lessons: Sequence[Lesson], shares: Sequence[float], steps: int, rng: np.random.Generator
    ) -> Improved:
        """Take the manifest's steps from ``start``.

        Args:
            start: of the run's layout.
            lessons: right answers.
            shares: (n_tasks,) each task's share of the loss.
            steps: how many.
            rng: of the order in which lessons come.

        Raises:
            UnsupportedHere: the model has matrices that guidance does not know, or the memory does not suffice.
            BadManifest: full-rank experts without ``search.basis.rank``.
        """
        law = Law(steps, self.law.learning_rate)
        moves, moved = self.moves(start)
        done = self.descend(start, moves, lessons, shares, law, self.law.batch_items, rng, moved)
        teachers = tuple(sorted({lessons[source].teacher for source in done.shown}))
        return Improved(done.genome(start), teachers, done.tokens, done.losses)

    def moves(self, start: Genome) -> tuple[torch.Tensor, Parametrise]:
        """Return moves from ``start``, (layout.size,) zeros, and what makes the genome's numbers of moves.

        A move of 1 is 1 for a gain; in a core it is an expert's root mean square singular value of that matrix.
        """
        ground, units = torch.from_numpy(start.values), self._units
        return torch.zeros_like(ground), lambda moves: ground.to(moves.device) + units.to(moves.device) * moves

    def descend(
        self,
        ground: Genome,
        start: torch.Tensor,
        lessons: Sequence[Lesson],
        shares: Sequence[float],
        law: Law,
        batch_items: int,
        rng: np.random.Generator,
        parametrise: Parametrise = lambda numbers: numbers,
    ) -> Descended:
        """Descend from ``start``, whatever it is made of; ``ground`` gives the coefficients, which stay as they are."""
        session = self._session
        tasks = [task.name for task in session.spec.tasks]

        def work(lent: Lent) -> Descended:
            overlay = self._overlay_of(lent)
            targets = targets_of([lesson.transcript for lesson in lessons], tasks, lent)
            return descend(lent, overlay, start, batches(targets, shares, batch_items, rng), law, parametrise)

        return session.engine.lend(work, session.individual(Genome(np.zeros_like(ground.values), ground.coefficients)))

    def regression(self, lessons: Sequence[Lesson]) -> Regression:
        """Return the genome that answers as each expert on its own lessons, layer by layer (:mod:`.regression`).

        Args:
            lessons: right answers; each expert sees those of its own task. The latest regression is remembered.
        """
        key = tuple((lesson.teacher, lesson.transcript.task, lesson.transcript.item) for lesson in lessons)
        if key not in self._regressions:
            self._regressions = {key: self._regress(lessons)}
        return self._regressions[key]

    def _regress(self, lessons: Sequence[Lesson]) -> Regression:
        session = self._session
        experts = [session.genome_of(k) for k in range(session.n_experts)]
        seen, tokens = zip(*(self._seen_by(k, lessons) for k in range(session.n_experts)), strict=True)
        genome = session.engine.lend(
            lambda lent: regress(session.layout, experts, self._overlay_of(lent), seen, self.law.first_gain)
        )
        return Regression(genome, sum(tokens))

    def _seen_by(self, expert: int, lessons: Sequence[Lesson]) -> tuple[Grams, int]:
        """Return what an expert's layers see of the lessons of its task, and how many tokens these have."""
        spec = self._session.spec
        names = [task.name for task in spec.tasks]
        own = next(task.name for task in spec.tasks if task.expert == spec.experts[expert].name)
        shown = [lesson.transcript for lesson in lessons if lesson.transcript.task == own]

        def work(lent: Lent) -> tuple[Grams, int]:
            targets = targets_of(shown, names, lent)
            seen = observe(lent, self._overlay_of(lent), targets, spec.engine.args.max_batch_tokens)
            return seen, sum(len(target.tokens) for target in targets)

        return self._session.engine.lend(work, self._session.individual(self._session.genome_of(expert)))

    def _overlay_of(self, lent: Lent) -> Overlay:
        self._overlay = self._overlay or Overlay(lent.model, self._session.materialiser)
        return self._overlay

    @cached_property
    def law(self) -> GuidedEmitter:
        """The manifest's settings, or the defaults where the emitter is another one."""
        law = self._session.spec.search.emitter
        return law if isinstance(law, GuidedEmitter) else GuidedEmitter(type="Guided")

    @cached_property
    def _units(self) -> torch.Tensor:
        """(layout.size,) what a move of 1 means for each number."""
        layout, experts = self._session.layout, self._session.experts
        units = np.ones(layout.size, np.float32)
        if layout.form == "Core":
            for index, matrix in enumerate(layout.matrices):
                block = layout.core_of(index)
                squares = sum(float(np.square(expert.values[block]).sum()) for expert in experts)
                units[block] = np.sqrt(squares / sum(matrix.ranks))
        return torch.from_numpy(units)
