"""Crossover against theta0 + (w1 tau1 + w2 tau2) / (w1 + w2), dense in fp64."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from cycleqd.api.search import LinearCrossover
from cycleqd.crossover import cross
from cycleqd.genome import expert_genome
from cycleqd.rng import generator
from tests.core.experts import World, full_rank_world, lora_world

LAW = LinearCrossover()


@pytest.mark.parametrize("world", [full_rank_world(), lora_world()], ids=["Gains", "Core"])
@pytest.mark.parametrize("law", [LAW, LinearCrossover(standard_deviation=1.0)], ids=["paper", "wide"])
def test_equals_the_papers_formula_on_dense_weights(world: World, law: LinearCrossover) -> None:
    parents = [world.core_genome(k) if world.form == "Core" else expert_genome(world.layout, k) for k in (0, 2)]
    child, share = cross(parents[0], parents[1], law, generator(0, 7, "crossover"))
    w1, w2 = generator(0, 7, "crossover").normal(law.mean, law.standard_deviation, size=2)
    assert share == pytest.approx(w1 / (w1 + w2))
    matrices, vector = world.weights(child)
    for m, matrix in enumerate(matrices):
        dense = world.base[m] + (w1 * world.tasks[0][m] + w2 * world.tasks[2][m]) / (w1 + w2)
        np.testing.assert_allclose(matrix, dense, atol=1e-5)
    np.testing.assert_allclose(vector, (w1 * world.vectors[0] + w2 * world.vectors[2]) / (w1 + w2), atol=1e-6)


def test_weights_are_normal_around_the_mean() -> None:
    world = full_rank_world()
    first, second = expert_genome(world.layout, 0), expert_genome(world.layout, 1)
    shares = [cross(first, second, LAW, generator(0, child, "crossover"))[1] for child in range(2000)]
    # For small sd, w1 / (w1 + w2) is normal with mean 1/2 and standard deviation sd / (2 sqrt 2).
    assert stats.kstest((np.array(shares) - 0.5) / (0.03 / np.sqrt(8)), "norm").pvalue > 1e-3


@settings(max_examples=30)
@given(child=st.integers(3, 10**6), deviation=st.floats(0, 2))
def test_identical_parents_have_an_identical_child(child: int, deviation: float) -> None:
    genome = expert_genome(full_rank_world().layout, 1)
    law = LinearCrossover(standard_deviation=deviation)
    crossed, _ = cross(genome, genome, law, generator(0, child, "crossover"))
    np.testing.assert_allclose(crossed.values, genome.values, atol=1e-5)
    np.testing.assert_allclose(crossed.coefficients, genome.coefficients, atol=1e-5)


def test_without_deviation_it_is_the_midpoint() -> None:
    world = full_rank_world()
    law = LinearCrossover(standard_deviation=0.0)
    child, share = cross(expert_genome(world.layout, 0), expert_genome(world.layout, 1), law, generator(0, 3, "x"))
    assert share == 0.5
    assert set(np.unique(child.values)) == {np.float32(0), np.float32(0.5)}


def test_weights_that_nearly_cancel_are_drawn_again() -> None:
    world = full_rank_world()
    law = LinearCrossover(mean=0.01, standard_deviation=1.0)
    first, second = expert_genome(world.layout, 0), expert_genome(world.layout, 1)
    shares = [cross(first, second, law, generator(0, child, "x"))[1] for child in range(500)]
    # |w1 + w2| >= (|w1| + |w2|) / 10 bounds the share to [-4.5, 5.5].
    assert -4.5 <= min(shares) < -1
    assert 2 < max(shares) <= 5.5
