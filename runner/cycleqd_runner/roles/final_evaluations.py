"""Evaluations of models that are no individuals, kept in the store under their digest: nothing is asked twice."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from cycleqd import keys
from cycleqd.errors import MissingObject
from cycleqd.genome import Genome
from cycleqd.records import FinalEvaluation, Split, TaskEvaluation
from cycleqd_runner.assess import Weights, assess, refuse_unscored
from cycleqd_runner.report.costs import FinalUsage, Usage
from cycleqd_runner.roles.patience import patiently
from cycleqd_runner.roles.writing import SCORED
from cycleqd_runner.sandbox import Sandbox
from cycleqd_runner.session import Session
from cycleqd_runner.tasks.benchmark import OpenBenchmark

_LOG = logging.getLogger(__name__)


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
        benchmarks = [one for one in self.found.values() if one.evaluations[0].split == "benchmark"]
        others = [one for one in self.found.values() if one.evaluations[0].split != "benchmark"]
        return FinalUsage(Usage.of(others), Usage.of(benchmarks))

    async def on(self, split: Split, name: str, model: Genome | Weights) -> FinalEvaluation:
        """Return the evaluation of ``model`` on ``split``.

        Raises:
            Unscored, NumericallyBroken: see :func:`~cycleqd_runner.assess.refuse_unscored`.
        """
        key = keys.final_evaluation(model.digest, split)
        if key not in self.found:
            self.found[key] = await self._remember(key) or await self._ask(key, split, name, model)
        return self.found[key]

    async def on_benchmarks(
        self, benchmarks: Sequence[OpenBenchmark], name: str, genome: Genome
    ) -> list[TaskEvaluation]:
        """Return the evaluations of ``genome`` on benchmarks, which choose nothing: items may be without a score.

        What the infrastructure failed at is not written down, so that a later finalize asks it again.
        """
        evaluations, model = [], None
        for benchmark in benchmarks:
            key = keys.benchmark(genome.digest, benchmark.digest)
            if key not in self.found and (known := await self._remember(key)):
                self.found[key] = known
            if key not in self.found:
                start = time.perf_counter()
                model = model or self.session.engine.serve([self.session.individual(genome)])[0]
                evaluation = await benchmark.score(model, self.sandbox)
                self.found[key] = await self._note(key, name, (evaluation,), time.perf_counter() - start)
                _LOG.info(_told(benchmark.spec.name, self.found[key]))
            # What asked the same items under another name is not asked again.
            evaluations.append(self.found[key].evaluations[0].model_copy(update={"task": benchmark.spec.name}))
        return evaluations

    async def _remember(self, key: str) -> FinalEvaluation | None:
        try:
            return FinalEvaluation.model_validate_json(await patiently(self.session.store.get, key))
        except MissingObject:
            return None

    async def _ask(self, key: str, split: Split, name: str, model: Genome | Weights) -> FinalEvaluation:
        assessment = await assess(self.session, model, split, self.sandbox)
        refuse_unscored(f"Model {name}", assessment.evaluations)
        seconds = assessment.open_seconds + assessment.load_seconds + assessment.evaluate_seconds
        return await self._note(key, name, assessment.evaluations, seconds)

    async def _note(
        self, key: str, name: str, evaluations: tuple[TaskEvaluation, ...], seconds: float
    ) -> FinalEvaluation:
        """Write down what asking again would not change."""
        made = FinalEvaluation(name=name, evaluations=evaluations, seconds=seconds, gpus=self.session.gpus)
        if all(evaluation.unscored == evaluation.broken for evaluation in evaluations):
            await patiently(self.session.store.put_once, key, made.model_dump_json().encode())
        return made


def _told(benchmark: str, found: FinalEvaluation) -> str:
    """Return one line about an evaluation on a benchmark, for the log of its worker."""
    (own,) = found.evaluations
    score = f"not scored ({own.unscored[0].reason})" if own.unscored else f"{own.score:.3f}"
    return f"{SCORED}{found.name} on benchmark {benchmark} in {found.seconds:.0f} s: {score}"
