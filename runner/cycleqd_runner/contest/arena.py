"""What the methods of one seed share: items, the experts' factors and scores, one warm engine.

All of it lies in a run without children (``seeds/<seed>/shared``), so the roles that make it are those of every run.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from cycleqd import keys
from cycleqd.errors import BadData
from cycleqd.genome import Genome, combine
from cycleqd.identity import claim
from cycleqd.records import Result, Split, read_result
from cycleqd.rng import generator
from cycleqd.store import open_store
from cycleqd_runner.contest.entries import Contest
from cycleqd_runner.contest.spec import LoraOnTrainingData, MethodBase, Taught
from cycleqd_runner.contest.training_data import training_data
from cycleqd_runner.guide.emitter import few_of_each
from cycleqd_runner.guide.guide import Guide, Regression
from cycleqd_runner.guide.lessons import Lesson, Lessons
from cycleqd_runner.guide.targets import Target, targets_of
from cycleqd_runner.roles.evaluate import evaluate
from cycleqd_runner.roles.final_evaluations import FinalEvaluations
from cycleqd_runner.roles.patience import patiently
from cycleqd_runner.roles.prepare import prepare
from cycleqd_runner.sandbox import Sandbox, open_sandbox
from cycleqd_runner.session import Session
from cycleqd_runner.unsupported import require_machines

SPLITS: tuple[Split, Split] = ("search", "validation")


@dataclass(frozen=True)
class Arena:
    """One seed of a contest.

    Attributes:
        contest: of all seeds.
        seed: this one.
        session: of the run that holds what is shared.
        scoring: evaluates models, and remembers.
    """

    contest: Contest
    seed: int
    session: Session
    scoring: FinalEvaluations

    @property
    def sandbox(self) -> Sandbox:
        """For model-written code."""
        return self.scoring.sandbox

    @property
    def n_experts(self) -> int:
        """How many experts, and tasks, there are."""
        return self.session.n_experts

    @property
    def names(self) -> tuple[str, ...]:
        """The experts' names."""
        return tuple(expert.name for expert in self.session.spec.experts)

    @cached_property
    def experts(self) -> tuple[Genome, ...]:
        """The experts' genomes."""
        return tuple(self.session.genome_of(k) for k in range(self.n_experts))

    @cached_property
    def expert_results(self) -> tuple[Result, ...]:
        """The experts' evaluations on the search split, paid for once and charged to every method that uses them."""
        own = (keys.result(k) for k in range(self.n_experts))
        return tuple(read_result(self.session.store.get(key), key) for key in own)

    @cached_property
    def expert_tokens(self) -> int:
        """Tokens of the experts' evaluations."""
        return sum(own.tokens for result in self.expert_results for own in result.evaluations)

    @cached_property
    def lesson_tokens(self) -> int:
        """Tokens of the experts' answers to the lessons."""
        return sum(result.lessons.tokens for result in self.expert_results if result.lessons)

    @property
    def best_expert(self) -> float:
        """Best mean search score of an expert, in [0, 1]."""
        return max(float(np.mean(result.scores)) for result in self.expert_results)

    @property
    def evaluation_tokens(self) -> float:
        """Tokens of one evaluation on the search split: the experts' mean, the unit of budgets in children."""
        return self.expert_tokens / self.n_experts

    @property
    def validation_tokens(self) -> float:
        """Tokens that one evaluation on the validation split will take, judged by the experts on the search split."""
        tasks = self.session.tasks
        search, validation = (sum(len(task.splits[split]) for task in tasks) for split in SPLITS)
        return self.evaluation_tokens * validation / search

    @cached_property
    def guide(self) -> Guide:
        """Takes gradient steps on genomes."""
        return Guide(self.session)

    def lessons(self, method: Taught) -> list[Lesson]:
        """Return what the experts answered rightly: the transcripts that a method may learn from.

        Raises:
            BadData: nothing was right.
        """
        if method.lessons:
            return self._lessons
        searched = {(task.spec.name, item.id) for task in self.session.tasks for item in task.splits["search"]}
        return [one for one in self._lessons if (one.transcript.task, one.transcript.item) in searched]

    @cached_property
    def _lessons(self) -> list[Lesson]:
        found = Lessons(self.session.store, self.session.spec).of(self.session.population())
        if not found:
            raise BadData(
                "No expert answered a search item rightly, so there is nothing to learn from: "
                "leave out the methods that learn, or give easier items or better experts."
            )
        return found

    def targets(self, method: Taught | LoraOnTrainingData) -> list[Target]:
        """Return the right answers that a method learns, as tokens.

        Raises:
            BadData: nothing was right, or training data are broken or too long for the model.
        """
        names = [task.spec.name for task in self.session.tasks]
        if isinstance(method, Taught):
            said = [lesson.transcript for lesson in self.lessons(method)]
            return self.session.engine.lend(lambda lent: targets_of(said, names, lent))
        trained = [
            one
            for task in self.session.tasks
            for one in training_data(task, method.data.get(task.spec.name), method.generated)
        ]
        found = self.session.engine.lend(lambda lent: targets_of(trained, names, lent))
        without = set(range(len(names))) - {target.task for target in found}
        if without:
            raise BadData(
                f"No training example of task {names[min(without)]} fits into the model's context: give shorter ones."
            )
        return found

    def regression(self, method: Taught) -> Regression:
        """Return where guidance starts, and the tokens that were passed for it."""
        return self.guide.regression(few_of_each(self.lessons(method), self.n_experts))

    def blend(self, coefficients: list[float]) -> Genome:
        """Return ``theta0 + sum_k c_k tau_k`` for (n_experts,) coefficients."""
        return combine(self.experts, coefficients)

    def random_seed(self, method: MethodBase) -> int:
        """Return the seed of a method's library, in [0, 2**31)."""
        return int(generator(self.seed, -1, f"contest/{method.name}").integers(2**31))


@contextlib.asynccontextmanager
async def open_arena(contest: Contest, seed: int) -> AsyncIterator[Arena]:
    """Open the arena of a seed, after having made what is missing of it.

    Raises:
        RunMismatch: the storage holds a comparison of another manifest.
        CycleQDError: what reading, factorising and scoring the experts raises.
    """
    run = contest.run(seed, None)
    store = open_store(run.spec.storage.uri)
    claim(store, run)
    session = Session(store)
    async with open_sandbox(session.spec.sandbox) as sandbox:
        require_machines(session.spec, sandbox)
        for expert in session.spec.experts:
            await asyncio.to_thread(prepare, session, expert.name)
        await evaluate(session, range(session.n_experts), sandbox)
        await patiently(session.log.refresh)
        try:
            yield Arena(contest, seed, session, FinalEvaluations(session, sandbox))
        finally:
            session.engine.close()
