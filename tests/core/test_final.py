from __future__ import annotations

import asyncio
import math

import numpy as np
import pytest

from cycleqd.api.search import Grid
from cycleqd.final import Blend, aggregate, average, best_members, greedy, mix
from cycleqd.fold import Population
from cycleqd.genome import Genome

SCORES = np.array(
    [
        [0.9, 0.0],  # expert 0
        [0.0, 0.8],  # expert 1
        [0.9, 0.3],  # as good as expert 0 on task 0, and more recent
        [0.5, 0.5],
        [0.5, 0.5],
    ]
)


def population() -> Population:
    return Population(np.arange(5), SCORES, n_experts=2, settings=Grid())


def test_the_aggregate_is_the_softmax_over_the_best_member_of_each_archive() -> None:
    e0, e1 = math.exp(0.9), math.exp(0.8)
    assert aggregate(population()).weights == pytest.approx({2: e0 / (e0 + e1), 1: e1 / (e0 + e1)})


def test_a_member_that_is_best_in_two_archives_has_both_shares() -> None:
    scores = np.array([[0.5, 0.1], [0.1, 0.5], [0.9, 0.9]])
    blend = aggregate(Population(np.arange(3), scores, n_experts=2, settings=Grid()))
    assert blend.weights == pytest.approx({2: 1.0})


def test_best_members_come_by_mean_and_the_most_recent_first_among_equals() -> None:
    assert [blend.weights for blend in best_members(population(), 3)] == [{2: 1.0}, {4: 1.0}, {3: 1.0}]


def test_a_blend_is_the_weighted_mean_of_genomes() -> None:
    genomes = {i: Genome(np.full(3, float(i), np.float32), np.zeros((2, 0), np.float32)) for i in range(2)}
    assert average(2).genome(genomes.__getitem__).values.tolist() == [0.5, 0.5, 0.5]


def test_a_mix_counts_a_shared_individual_twice() -> None:
    mixed = mix("m", [Blend("a", {1: 1.0}), Blend("b", {1: 0.5, 2: 0.5})])
    assert mixed.weights == pytest.approx({1: 0.75, 2: 0.25})


@pytest.mark.parametrize(
    ("reached", "steps", "tried"),
    [
        pytest.param([0.6, 0.7], 4, [{1, 2}, {1, 2, 3}], id="each one helps and stays"),
        pytest.param([0.5, 0.7], 4, [{1, 2}, {1, 3}], id="no better is not taken in"),
        pytest.param([0.4, 0.4], 4, [{1, 2}, {1, 3}], id="worse is not taken in"),
        pytest.param([0.6, 0.7], 1, [{1, 2}], id="as many steps as allowed"),
        pytest.param([], 0, [], id="none"),
    ],
)
def test_greedy_takes_in_what_helps(reached: list[float], steps: int, tried: list[set[int]]) -> None:
    ranked = [Blend(str(i), {i: 1.0}) for i in (1, 2, 3)]
    answers = iter(reached)

    async def score(blend: Blend) -> float:
        return next(answers)

    found = asyncio.run(greedy(ranked, 0.5, score, steps))
    assert [set(blend.weights) for blend in found] == tried
    assert all(sum(blend.weights.values()) == pytest.approx(1.0) for blend in found)
