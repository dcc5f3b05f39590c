"""What the paper's emitter proposes and records, in its variants."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from cycleqd.emitter import Proposal
from cycleqd.genome import expert_genome
from cycleqd.records import Guidance
from tests.core.toy_search import LAYOUT, toy_search

SVD = {"type": "Svd"}
VARIANTS: dict[str, tuple[dict[str, Any], dict[str, Any], set[str]]] = {
    "paper": (SVD, {}, set()),
    "layers": (SVD, {"crossover": {"type": "Linear", "granularity": "Direction"}}, {"firstParentShareDeviation"}),
    "uniform": (SVD, {"crossover": {"type": "Uniform"}}, {"firstParentShareDeviation"}),
    "sparse": ({"type": "Svd", "signed": True, "density": 0.3}, {}, set()),
    "learned": ({"type": "Svd", "stepLearningRate": 0.3}, {}, {"stepFactor"}),
    "none": ({"type": "None"}, {}, set()),
}


@pytest.mark.parametrize(("mutation", "search", "recorded"), VARIANTS.values(), ids=VARIANTS)
def test_searches_repeat_bit_for_bit_and_record_their_draws(
    mutation: dict[str, Any], search: dict[str, Any], recorded: set[str]
) -> None:
    once, again, other = (toy_search(seed, mutation, 12, **search) for seed in (3, 3, 4))
    assert [genome.digest for genome in once.genomes.values()] == [genome.digest for genome in again.genomes.values()]
    assert once.draws == again.draws
    assert once.draws != other.draws
    for draws in once.draws.values():
        assert set(draws) == {"firstParentShare", "mutationStep"} | recorded


def test_the_recorded_factor_is_the_step_size() -> None:
    """w ~ U[0, 0.3 factor] on one expert's half of the numbers: at most 0.3 factor / sqrt 2 in the root mean square."""
    found = toy_search(0, {"type": "Svd", "stepLearningRate": 0.5}, 60)
    factors = np.array([draws["stepFactor"] for draws in found.draws.values()])
    most = 0.3 * factors / np.sqrt(2)
    steps = np.array([draws["mutationStep"] for draws in found.draws.values()])
    assert factors.min() < 0.6
    assert factors.max() > 1.6
    assert (steps <= most * 1.0001).all()
    assert np.mean(steps / most) == pytest.approx(1 / np.sqrt(3), rel=0.1)


def test_a_proposal_survives_being_written() -> None:
    proposal = Proposal(expert_genome(LAYOUT, 1), (4, 7), 1, "Paper", 9, {"stepFactor": 0.7})
    assert replace(proposal, guidance=Guidance(seconds=3.0)).save(LAYOUT) == proposal.save(LAYOUT), (
        "the same bits again"
    )
    back = Proposal.load(proposal.save(LAYOUT), LAYOUT)
    assert back.genome.digest == proposal.genome.digest
    assert (back.parents, back.active_task, back.emitter, back.seen, back.draws) == (
        (4, 7),
        1,
        "Paper",
        9,
        proposal.draws,
    )
