"""What guidance will take in training tokens, told before it is done: the emitter's steps, times what a step takes."""

from __future__ import annotations

from functools import cached_property
from statistics import fmean

from cycleqd.api.run import Finalize
from cycleqd.api.search import GuidedEmitter
from cycleqd.records import Result
from cycleqd_runner.emitters import Emitters
from cycleqd_runner.guide.emitter import planned_steps
from cycleqd_runner.guide.lessons import Lessons
from cycleqd_runner.guide.targets import targets_of
from cycleqd_runner.session import Session


class Prices:
    """The prices of one run. A step is judged by the lessons until elites' children were guided, then by theirs."""

    def __init__(self, session: Session) -> None:
        """``session``: of the run; its experts have their results."""
        self._session, self._emitters = session, Emitters(session)
        self._steps, self._tokens = 0.0, 0

    def learn(self, child: Result) -> None:
        """Note what a guided child took, unless it started from the experts: then a regression is part of it."""
        if max(child.parents) >= self._session.n_experts and "steps" in child.draws:
            self._steps += child.draws["steps"]
            self._tokens += child.training_tokens

    def child(self, individual: int) -> float:
        """Return the tokens that guiding the next child will take; 0 where another emitter proposes it."""
        spec, law = self._session.spec, self._session.spec.search.emitter
        if not isinstance(law, GuidedEmitter):
            return 0.0
        population = self._session.population()
        name, _ = self._emitters.choice(individual, population)
        return planned_steps(individual, population, spec, law) * self._step if name == "Guided" else 0.0

    def polish(self) -> float:
        """Return the tokens that finalize's polishing will take at most."""
        steps = self._session.spec.finalize.polish_steps
        return polished_at_most(self._session.spec.finalize) * steps * self._step if steps else 0.0

    @property
    def _step(self) -> float:
        return self._tokens / self._steps if self._steps else self._first_step

    @cached_property
    def _first_step(self) -> float:
        """Tokens of a batch of the experts' right answers, all tasks alike; 0 where nothing was right."""
        session, law = self._session, self._session.spec.search.emitter
        names = [task.name for task in session.spec.tasks]
        said = [lesson.transcript for lesson in Lessons(session.store, session.spec).of(session.population())]
        targets = session.engine.lend(lambda lent: targets_of(said, names, lent))
        by_task = [[len(one.tokens) for one in targets if one.task == task] for task in range(len(names))]
        items = law.batch_items if isinstance(law, GuidedEmitter) else GuidedEmitter(type="Guided").batch_items
        return items * fmean(fmean(own) for own in by_task if own) if targets else 0.0


def polished_at_most(settings: Finalize) -> int:
    """Return how many candidates finalize polishes: the aggregate, the best individual and the best combination."""
    kinds = 2 + min(1, settings.greedy_steps)
    return kinds if settings.polish_steps else 0
