"""The emitters of one worker: pure ones from core, guided ones with the worker's engine, chosen child by child."""

from __future__ import annotations

from dataclasses import replace
from functools import cached_property

from cycleqd.api.search import GuidedEmitter
from cycleqd.emitter import Emitter, Paper, Proposal
from cycleqd.fold import Population
from cycleqd.schedule import EmitterName, emitter_of
from cycleqd_runner.session import Session


class Emitters:
    """What proposes the children of a run."""

    def __init__(self, session: Session) -> None:
        """``session``: of this worker; its engine is opened when the first child is guided."""
        self._session = session

    def propose(self, individual: int, population: Population) -> Proposal:
        """Return a child; the same one for the same population."""
        session = self._session
        name, chance = self.choice(individual, population)
        emitter = self._guided if name == "Guided" else self._paper
        proposal = emitter.propose(individual, population, session.genome_of)
        if session.spec.search.emitter.type == "Paper":
            return proposal
        return replace(proposal, draws={**proposal.draws, "emitterChance": chance})

    def choice(self, individual: int, population: Population) -> tuple[EmitterName, float]:
        """Return which emitter proposes a child, and its chance (:func:`cycleqd.schedule.emitter_of`)."""
        made_by = {entry.id: entry.emitter for entry in self._session.log.entries.values()}
        return emitter_of(individual, self._session.spec.search, population, made_by)

    @cached_property
    def _paper(self) -> Emitter:
        return Paper(self._session.spec, self._session.layout, self._session.draws_of)

    @cached_property
    def _guided(self) -> Emitter:
        # Imports transformers' machinery: only where something is guided.
        from cycleqd_runner.guide.emitter import Guided  # noqa: PLC0415 - see above
        from cycleqd_runner.guide.guide import Guide  # noqa: PLC0415
        from cycleqd_runner.guide.lessons import Lessons  # noqa: PLC0415

        spec = self._session.spec
        law = spec.search.emitter
        assert isinstance(law, GuidedEmitter)  # noqa: S101 - the schedule has asked
        lessons = Lessons(self._session.store, spec)
        return Guided(spec, self._session.layout, Guide(self._session), lessons, law, self._paper)
