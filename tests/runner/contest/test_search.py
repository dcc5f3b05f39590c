"""The choice of a final model among finalists, with evaluations that are made up."""

from __future__ import annotations

from typing import Any, cast

import numpy as np
import pytest

from cycleqd.genome import Genome
from cycleqd.records import FinalEvaluation, ItemOutcome, TaskEvaluation
from cycleqd_runner.contest.meter import Meter
from cycleqd_runner.contest.search import Final, chosen


class Scoring:
    """Knows the validation score of every finalist by its label."""

    def __init__(self, **scores: float) -> None:
        self._scores = scores

    async def on(self, split: str, name: str, model: Genome) -> FinalEvaluation:
        assert split == "validation"
        outcome = ItemOutcome(item="i", score=self._scores[name], prompt_tokens=5, answer_tokens=2)
        return FinalEvaluation(
            name=name, evaluations=(TaskEvaluation(task="t", split="validation", outcomes=(outcome,)),)
        )


@pytest.mark.parametrize(
    ("scores", "best"),
    [
        ({"a": 0.1, "b": 0.9, "c": 0.3}, "b"),
        ({"a": 0.9, "b": 0.1, "c": 0.3}, "a"),
        ({"a": 0.5, "b": 0.5, "c": 0.5}, "c"),
    ],
    ids=["in the middle", "the worst by search score", "the best by search score among equals"],
)
async def test_validation_chooses(scores: dict[str, float], best: str) -> None:
    scoring, meter = cast(Any, Scoring(**scores)), Meter(100, 21, 7)
    genome = Genome(np.zeros(1, np.float32), np.zeros((1, 0), np.float32))
    found = await chosen([Final(label, genome, scoring) for label in scores], meter)
    assert found.label == best
    assert found.validation
    assert found.validation.mean == scores[best]
    assert meter.validation == 3 * 7
