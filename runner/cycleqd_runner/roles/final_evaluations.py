"""Evaluations of models that are no individuals, kept in the store under their digest: nothing is asked twice."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

from cycleqd import keys
from cycleqd.errors import MissingObject
from cycleqd.genome import Genome
from cycleqd.records import FinalEvaluation, Split, TaskEvaluation
from cycleqd_runner.assess import Weights, assess, refuse_unscored
from cycleqd_runner.report.costs import FinalUsage
from cycleqd_runner.roles.patience import patiently
from cycleqd_runner.sandbox import Sandbox
from cycleqd_runner.session import Session
from cycleqd_runner.tasks.benchmark import OpenBenchmark


@dataclass(frozen=True)
class FinalEvaluations:
    """Asks the engine, or remembers.

    Attributes:
        session: of this worker.
        sandbox: for model-written code.
        found: all that was asked for, by key; also what an interrupted finalize had written.
    """

    session: Session
    sandbox: Sandbox
    found: dict[str, FinalEvaluation] = field(default_factory=dict)

    @property
    def usage(self) -> FinalUsage:
        """What the evaluations have used."""
        own = self.found.values()
        outcomes = [outcome for one in own for evaluation in one.evaluations for outcome in evaluation.outcomes]
        return FinalUsage(
            seconds=sum(one.seconds for one in own),
            gpu_seconds=sum(one.gpus * one.seconds for one in own),
            prompt_tokens=sum(outcome.prompt_tokens for outcome in outcomes),
            answer_tokens=sum(outcome.answer_tokens for outcome in outcomes),
            evaluations=len(own),
        )

    async def on(self, split: Split, name: str, model: Genome | Weights) -> FinalEvaluation:
        """Return the evaluation of ``model`` on ``split``.

        Raises:
            Unscored, NumericallyBroken: see :func:`~cycleqd_runner.assess.refuse_unscored`.
        """
        key = keys.final_evaluation(model.digest, split)
        if key not in self.found:
            self.found[key] = await self._remember(key) or await self._ask(key, split, name, model)
        return self.found[key]

    async def on_benchmark(self, benchmark: OpenBenchmark, name: str, genome: Genome) -> TaskEvaluation:
        """Return the evaluation of ``genome`` on a benchmark.

        Raises:
            Unscored, NumericallyBroken: see :func:`~cycleqd_runner.assess.refuse_unscored`.
        """
        key = keys.benchmark(genome.digest, benchmark.digest)
        if key not in self.found:
            self.found[key] = await self._remember(key) or await self._ask_benchmark(key, benchmark, name, genome)
        return self.found[key].evaluations[0]

    async def _ask_benchmark(self, key: str, benchmark: OpenBenchmark, name: str, genome: Genome) -> FinalEvaluation:
        start = time.perf_counter()
        (model,) = self.session.engine.serve([self.session.individual(genome)])
        evaluation = await benchmark.score(model, self.sandbox)
        refuse_unscored(f"Model {name}", [evaluation])
        return await self._write(key, name, (evaluation,), time.perf_counter() - start)

    async def _remember(self, key: str) -> FinalEvaluation | None:
        try:
            return FinalEvaluation.model_validate_json(await patiently(self.session.store.get, key))
        except MissingObject:
            return None

    async def _ask(self, key: str, split: Split, name: str, model: Genome | Weights) -> FinalEvaluation:
        assessment = await assess(self.session, model, split, self.sandbox)
        refuse_unscored(f"Model {name}", assessment.evaluations)
        seconds = assessment.open_seconds + assessment.load_seconds + assessment.evaluate_seconds
        return await self._write(key, name, assessment.evaluations, seconds)

    async def _write(
        self, key: str, name: str, evaluations: tuple[TaskEvaluation, ...], seconds: float
    ) -> FinalEvaluation:
        made = FinalEvaluation(name=name, evaluations=evaluations, seconds=seconds, gpus=self.session.gpus)
        await patiently(self.session.store.put_once, key, made.model_dump_json().encode())
        return made
