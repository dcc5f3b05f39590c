"""Crossover against theta0 + (w1 tau1 + w2 tau2) / (w1 + w2), dense in fp64."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from cycleqd.api.search import Crossover, Granularity, LinearCrossover, UniformCrossover
from cycleqd.crossover import cross
from cycleqd.genome import Genome, Layout, Matrix, combine, expert_genome
from cycleqd.groups import groups_of
from cycleqd.rng import generator
from tests.core.experts import World, full_rank_world, lora_world

LAW = LinearCrossover()


def _share(first: Genome, second: Genome, law: Crossover, child: int) -> float:
    rng = generator(0, child, "crossover")
    return cross(first, second, full_rank_world().layout, law, rng)[1]["firstParentShare"]


@pytest.mark.parametrize("world", [full_rank_world(), lora_world()], ids=["Gains", "Core"])
@pytest.mark.parametrize("law", [LAW, LinearCrossover(standard_deviation=1.0)], ids=["paper", "wide"])
def test_equals_the_papers_formula_on_dense_weights(world: World, law: LinearCrossover) -> None:
    parents = [world.core_genome(k) if world.form == "Core" else expert_genome(world.layout, k) for k in (0, 2)]
    child, draws = cross(parents[0], parents[1], world.layout, law, generator(0, 7, "crossover"))
    w1, w2 = generator(0, 7, "crossover").normal(law.mean, law.standard_deviation, size=2)
    assert draws == {"firstParentShare": pytest.approx(w1 / (w1 + w2))}
    matrices, vector = world.weights(child)
    for m, matrix in enumerate(matrices):
        dense = world.base[m] + (w1 * world.tasks[0][m] + w2 * world.tasks[2][m]) / (w1 + w2)
        np.testing.assert_allclose(matrix, dense, atol=1e-5)
    np.testing.assert_allclose(vector, (w1 * world.vectors[0] + w2 * world.vectors[2]) / (w1 + w2), atol=1e-6)


def test_weights_are_normal_around_the_mean() -> None:
    world = full_rank_world()
    first, second = expert_genome(world.layout, 0), expert_genome(world.layout, 1)
    shares = [_share(first, second, LAW, child) for child in range(2000)]
    # For small sd, w1 / (w1 + w2) is normal with mean 1/2 and standard deviation sd / (2 sqrt 2).
    assert stats.kstest((np.array(shares) - 0.5) / (0.03 / np.sqrt(8)), "norm").pvalue > 1e-3


@settings(max_examples=30)
@given(child=st.integers(3, 10**6), deviation=st.floats(0, 2))
def test_identical_parents_have_an_identical_child(child: int, deviation: float) -> None:
    layout = full_rank_world().layout
    genome = expert_genome(layout, 1)
    law = LinearCrossover(standard_deviation=deviation)
    crossed, _ = cross(genome, genome, layout, law, generator(0, child, "crossover"))
    np.testing.assert_allclose(crossed.values, genome.values, atol=1e-5)
    np.testing.assert_allclose(crossed.coefficients, genome.coefficients, atol=1e-5)


def test_without_deviation_it_is_the_midpoint() -> None:
    world = full_rank_world()
    law = LinearCrossover(standard_deviation=0.0)
    parents = expert_genome(world.layout, 0), expert_genome(world.layout, 1)
    child, draws = cross(*parents, world.layout, law, generator(0, 3, "x"))
    assert draws["firstParentShare"] == 0.5
    assert set(np.unique(child.values)) == {np.float32(0), np.float32(0.5)}


def test_weights_that_nearly_cancel_are_drawn_again() -> None:
    world = full_rank_world()
    law = LinearCrossover(mean=0.01, standard_deviation=1.0)
    first, second = expert_genome(world.layout, 0), expert_genome(world.layout, 1)
    shares = [_share(first, second, law, child) for child in range(500)]
    # |w1 + w2| >= (|w1| + |w2|) / 10 bounds the share to [-4.5, 5.5].
    assert -4.5 <= min(shares) < -1
    assert 2 < max(shares) <= 5.5


LAYERS = Layout(
    experts=("a", "b"),
    matrices=(
        Matrix("model.layers.0.q.weight", (2, 3)),
        Matrix("model.layers.0.k.weight", (1, 0)),
        Matrix("head", (2, 2)),
    ),
    others=("model.layers.0.q.bias", "model.layers.0.norm.weight", "norm.weight"),
)
GRANULARITIES: tuple[Granularity, ...] = ("Model", "Layer", "Module", "Direction")
LAWS = [
    *(LinearCrossover(granularity=each, standard_deviation=0.1) for each in GRANULARITIES),
    *(UniformCrossover(type="Uniform", granularity=each) for each in GRANULARITIES),
]
each_law = pytest.mark.parametrize("law", LAWS, ids=lambda law: f"{law.type}-{law.granularity}")


def _parents(layout: Layout, seed: int) -> tuple[Genome, Genome]:
    rng = np.random.default_rng(seed)
    shape = len(layout.experts), len(layout.others)
    first, second = (
        Genome(rng.normal(size=layout.size).astype(np.float32), rng.normal(size=shape).astype(np.float32))
        for _ in range(2)
    )
    return first, second


def _numbers(genome: Genome) -> np.ndarray:
    numbers: np.ndarray = np.concatenate([genome.values, genome.coefficients.ravel()])
    return numbers.astype(np.float64)


@settings(max_examples=30)
@given(child=st.integers(3, 10**6), deviation=st.floats(0, 2))
def test_whole_models_are_the_papers_bit_for_bit(child: int, deviation: float) -> None:
    """What the paper's setting computed before there was any other granularity."""
    parents = _parents(LAYERS, child)
    law = LinearCrossover(standard_deviation=deviation, mean=3.0)
    w1, w2 = generator(0, child, "crossover").normal(law.mean, law.standard_deviation, size=2)
    if abs(w1 + w2) < 0.1 * (abs(w1) + abs(w2)):
        return
    share = float(w1 / (w1 + w2))
    crossed, draws = cross(*parents, LAYERS, law, generator(0, child, "crossover"))
    assert crossed.digest == combine(parents, [share, 1.0 - share]).digest
    assert draws == {"firstParentShare": share}


@each_law
@settings(max_examples=20)
@given(child=st.integers(3, 10**6))
def test_every_number_lies_between_the_parents(law: Crossover, child: int) -> None:
    """Shares stay in [0, 1] as long as no weight is negative: at ten standard deviations from 0 none is."""
    first, second = _parents(LAYERS, child)
    crossed, _ = cross(first, second, LAYERS, law, generator(0, child, "crossover"))
    low = np.minimum(_numbers(first), _numbers(second))
    high = np.maximum(_numbers(first), _numbers(second))
    assert (_numbers(crossed) >= low - 1e-6).all()
    assert (_numbers(crossed) <= high + 1e-6).all()


@each_law
@settings(max_examples=20)
@given(child=st.integers(3, 10**6))
def test_numbers_of_a_group_share_one_weight_and_groups_differ(law: Crossover, child: int) -> None:
    """Of parents that are 1 and 0 everywhere, a child is its shares."""
    one, zero = (
        Genome(np.full(LAYERS.size, number, np.float32), np.full((2, 3), number, np.float32)) for number in (1, 0)
    )
    crossed, draws = cross(one, zero, LAYERS, law, generator(0, child, "crossover"))
    groups = groups_of(LAYERS, law.granularity)
    labels = np.concatenate(
        [np.broadcast_to(groups.values, LAYERS.size), np.broadcast_to(groups.coefficients, (2, 3)).ravel()]
    )
    shares = [set(_numbers(crossed)[labels == group]) for group in range(groups.count)]
    assert [len(each) for each in shares] == [1] * groups.count
    if law.type == "Linear":
        assert len(set.union(*shares)) == groups.count
    else:
        assert set.union(*shares) <= {0.0, 1.0}
    flat = [share for each in shares for share in each]
    assert draws["firstParentShare"] == pytest.approx(np.mean(flat), abs=1e-6)
    assert draws.get("firstParentShareDeviation", 0.0) == pytest.approx(np.std(flat), abs=1e-6)


@each_law
def test_the_same_draws_make_the_same_child_and_others_another(law: Crossover) -> None:
    parents = _parents(LAYERS, 0)
    children = [cross(*parents, LAYERS, law, generator(0, n, "crossover"))[0].digest for n in (5, 5, *range(6, 12))]
    assert children[0] == children[1]
    assert len(set(children)) > 1


def test_each_parent_gives_its_probability() -> None:
    law = UniformCrossover(type="Uniform", probability=0.3)
    shares = [cross(*_parents(LAYERS, 0), LAYERS, law, generator(0, n, "x"))[1]["firstParentShare"] for n in range(400)]
    assert stats.ttest_1samp(shares, 0.3).pvalue > 1e-3


def test_weights_per_module_on_dense_weights() -> None:
    """W = W0 + (w1 tau1 + w2 tau2) / (w1 + w2) with weights of each matrix's own; in Core form, too."""
    for world in (full_rank_world(), lora_world()):
        first, second = (
            world.core_genome(k) if world.form == "Core" else expert_genome(world.layout, k) for k in (0, 2)
        )
        law = LinearCrossover(granularity="Module", standard_deviation=0.4)
        child, _ = cross(first, second, world.layout, law, generator(0, 9, "crossover"))
        weights = generator(0, 9, "crossover").normal(1.0, 0.4, size=(3, 2))
        shares = weights[:, 0] / weights.sum(axis=1)
        matrices, vector = world.weights(child)
        for m, matrix in enumerate(matrices):
            dense = world.base[m] + shares[m] * world.tasks[0][m] + (1 - shares[m]) * world.tasks[2][m]
            np.testing.assert_allclose(matrix, dense, atol=1e-5)
        np.testing.assert_allclose(vector, shares[2] * world.vectors[0] + (1 - shares[2]) * world.vectors[2], atol=1e-6)
