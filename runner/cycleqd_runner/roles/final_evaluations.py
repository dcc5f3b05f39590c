"""Evaluations that finalize makes, kept in the store under the digest of the genome: nothing is asked twice."""

from __future__ import annotations

from dataclasses import dataclass

from cycleqd import keys
from cycleqd.errors import MissingObject, Unscored
from cycleqd.genome import Genome
from cycleqd.records import Record, Split, TaskEvaluation
from cycleqd_runner.assess import assess
from cycleqd_runner.roles.patience import patiently
from cycleqd_runner.sandbox import Sandbox
from cycleqd_runner.session import Session


class FinalEvaluation(Record):
    """One genome on one split."""

    name: str
    """Of the candidate or model that was evaluated first with this genome; for people."""
    evaluations: tuple[TaskEvaluation, ...]
    """One per task, in cycle order."""
    seconds: float = 0.0

    @property
    def mean(self) -> float:
        """Mean over the tasks, in [0, 1]."""
        return sum(evaluation.score for evaluation in self.evaluations) / len(self.evaluations)


@dataclass(frozen=True)
class FinalEvaluations:
    """Asks the engine, or remembers.

    Attributes:
        session: of this worker.
        sandbox: for model-written code.
    """

    session: Session
    sandbox: Sandbox

    async def on(self, split: Split, name: str, genome: Genome) -> FinalEvaluation:
        """Return the evaluation of ``genome`` on ``split``.

        Raises:
            Unscored: items could not be scored; a mean without them would compare unlike things.
        """
        key, store = keys.final_evaluation(genome.digest, split), self.session.store
        try:
            return FinalEvaluation.model_validate_json(await patiently(store.get, key))
        except MissingObject:
            pass
        assessment = await assess(self.session, genome, split, self.sandbox)
        for evaluation in assessment.evaluations:
            if evaluation.unscored:
                raise Unscored(f"{name} could not be scored on {evaluation.task}: {evaluation.unscored[0].reason}.")
        seconds = assessment.load_seconds + assessment.evaluate_seconds
        found = FinalEvaluation(name=name, evaluations=assessment.evaluations, seconds=seconds)
        await patiently(store.put_once, key, found.model_dump_json().encode())
        return found
