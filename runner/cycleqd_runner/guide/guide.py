"""Gradient steps on genomes of one run, with the engine's own model. Whose answers are learned is not known here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from cycleqd.api.search import GuidedEmitter
from cycleqd.genome import Genome
from cycleqd_runner.engines.contract import Lent
from cycleqd_runner.guide.descent import Descended, Law, Parametrise, descend
from cycleqd_runner.guide.lessons import Lesson
from cycleqd_runner.guide.overlay import Overlay
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


class Guide:
    """Improves genomes of one run.

    The engine holds the base's weights meanwhile; whoever asks it next loads an individual first, as always.
    """

    def __init__(self, session: Session) -> None:
        """``session``: of this worker; its engine is opened with the first improvement."""
        self._session = session
        self._overlay: Overlay | None = None

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
        law = self._session.spec.search.emitter
        law = law if isinstance(law, GuidedEmitter) else GuidedEmitter(type="Guided")
        done = self.descend(
            start, torch.from_numpy(start.values), lessons, shares, Law(steps, law.learning_rate), law.batch_items, rng
        )
        teachers = tuple(sorted({lesson.teacher for lesson in lessons}))
        return Improved(done.genome(start), teachers, done.tokens, done.losses)

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
            self._overlay = self._overlay or Overlay(lent.model, session.materialiser)
            targets = targets_of([lesson.transcript for lesson in lessons], tasks, lent)
            return descend(lent, self._overlay, start, batches(targets, shares, batch_items, rng), law, parametrise)

        nothing = Genome(np.zeros_like(ground.values), ground.coefficients)
        session.engine.load(session.materialiser.tensors(nothing, changed_only=True))
        return session.engine.lend(work)
