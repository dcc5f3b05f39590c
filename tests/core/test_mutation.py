"""Mutation against a dense SVD in fp64, and its ablations."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from cycleqd.api.search import GaussianMutation, NoMutation, SvdMutation
from cycleqd.genome import Genome, expert_genome
from cycleqd.mutation import mutate
from cycleqd.rng import generator
from tests.core.experts import full_rank_world, lora_world

LAW = SvdMutation()


def _child(seed: int = 0) -> Genome:
    layout = full_rank_world().layout
    rng = np.random.default_rng(seed)
    return Genome(rng.normal(size=layout.size).astype(np.float32), rng.normal(size=(3, 1)).astype(np.float32))


@pytest.mark.parametrize("expert", [0, 1, 2])
def test_expert_basis_adds_u_ws_vt_of_the_experts_task_vector(expert: int) -> None:
    world, child = full_rank_world(), _child()
    mutated, size = mutate(child, world.layout, expert, LAW, generator(0, 5, "mutation"))
    weights = (mutated.values - child.values)[world.layout.gains_of(expert)].astype(np.float64)
    before, bias_before = world.weights(child)
    after, bias_after = world.weights(mutated)
    start = 0
    for m, (old, new) in enumerate(zip(before, after, strict=True)):
        left, scales, right = world.svd(expert, m)
        w = weights[start : start + len(scales)]
        start += len(scales)
        np.testing.assert_allclose(new - old, left @ np.diag(w * scales) @ right, atol=1e-5)
    assert start == len(weights)
    np.testing.assert_array_equal(bias_after, bias_before)
    assert size == pytest.approx(np.sqrt(np.mean((mutated.values - child.values).astype(np.float64) ** 2)), rel=1e-5)


def test_expert_basis_leaves_the_other_experts_directions_alone() -> None:
    layout, child = full_rank_world().layout, _child()
    mutated, _ = mutate(child, layout, 1, LAW, generator(0, 5, "mutation"))
    changed = np.flatnonzero(mutated.values != child.values)
    own = layout.gains_of(1)
    assert changed.min() == own.start
    assert changed.max() == own.stop - 1


def test_weights_are_uniform_up_to_max_scale() -> None:
    layout = full_rank_world().layout
    zero = Genome(np.zeros(layout.size, np.float32), np.zeros((3, 1), np.float32))
    draws = [
        mutate(zero, layout, 0, LAW, generator(0, n, "mutation"))[0].values[layout.gains_of(0)] for n in range(300)
    ]
    assert stats.kstest(np.concatenate(draws) / 0.3, "uniform").pvalue > 1e-3


def test_it_adds_and_does_not_replace() -> None:
    """The paper's printed formula would shrink an expert to about 15 %; the authors' code makes it about 115 %."""
    layout = full_rank_world().layout
    mutated, _ = mutate(expert_genome(layout, 0), layout, 0, LAW, generator(0, 1, "mutation"))
    assert 1.1 < mutated.values[layout.gains_of(0)].mean() < 1.2


def test_child_basis_adds_u_ws_vt_of_the_childs_own_task_vector() -> None:
    world = lora_world()
    parents = [world.core_genome(k) for k in range(3)]
    child = Genome(sum((p.values for p in parents[1:]), parents[0].values) / np.float32(3), parents[0].coefficients)
    mutated, _ = mutate(child, world.layout, 0, SvdMutation(basis="Child"), generator(0, 5, "mutation"))
    before, _ = world.weights(child)
    after, _ = world.weights(mutated)
    for old, new, base in zip(before, after, world.base, strict=True):
        left, scales, right = np.linalg.svd(old - base, full_matrices=False)
        # In the child's own singular bases the step is diag(w S), with w in [0, 0.3] and nothing beside the diagonal.
        step = left.T @ (new - old) @ right.T
        np.testing.assert_allclose(step, np.diag(np.diag(step)), atol=1e-5 * scales[0])
        rank = 6
        w = np.diag(step)[:rank] / scales[:rank]
        assert w.min() > 0
        assert w.max() < 0.3
        assert len(np.unique(w.round(6))) == rank
        np.testing.assert_allclose(
            new - old, (left * np.append(w, np.zeros(len(scales) - rank)) * scales) @ right, atol=1e-4
        )


def test_child_basis_of_one_expert_equals_its_expert_basis() -> None:
    """An expert's own task vector has the same directions in either basis, so the step stays in its rank-r span."""
    world = lora_world(rank=2)
    expert = world.core_genome(1)
    mutated, _ = mutate(expert, world.layout, 1, SvdMutation(basis="Child"), generator(0, 5, "mutation"))
    after, _ = world.weights(mutated)
    for m, new in enumerate(after):
        left, scales, right = world.svd(1, m)
        w = np.diag(left.T @ (new - world.base[m]) @ right.T) / scales - 1
        np.testing.assert_allclose(new - world.base[m], (left * (1 + w) * scales) @ right, atol=1e-4)
        assert ((w > 0) & (w < 0.3)).all()


@pytest.mark.parametrize("form", ["Gains", "Core"])
def test_gaussian_mutation_is_normal_on_every_number(form: str) -> None:
    world = full_rank_world() if form == "Gains" else lora_world()
    zero = Genome(np.zeros(world.layout.size, np.float32), np.zeros((3, 1), np.float32))
    law = GaussianMutation(type="Gaussian", standard_deviation=0.05)
    draws = [mutate(zero, world.layout, 0, law, generator(0, n, "mutation"))[0].values for n in range(100)]
    assert stats.kstest(np.concatenate(draws) / 0.05, "norm").pvalue > 1e-3


@pytest.mark.parametrize("form", ["Gains", "Core"])
def test_no_mutation_changes_nothing(form: str) -> None:
    world = full_rank_world() if form == "Gains" else lora_world()
    genome = expert_genome(world.layout, 0) if form == "Gains" else world.core_genome(0)
    mutated, size = mutate(genome, world.layout, 0, NoMutation(type="None"), generator(0, 5, "mutation"))
    assert mutated.digest == genome.digest
    assert size == 0.0


@pytest.mark.parametrize("seed", range(5))
def test_unsigned_and_dense_is_the_papers_bit_for_bit(seed: int) -> None:
    """What the paper's setting computed before there were signs and densities."""
    layout, child = full_rank_world().layout, _child(seed)
    law = SvdMutation(signed=False, density=1.0)
    mutated, _ = mutate(child, layout, 1, law, generator(seed, 5, "mutation"))
    own, expected = layout.gains_of(1), child.values.copy()
    expected[own] += generator(seed, 5, "mutation").random(own.stop - own.start, np.float32) * np.float32(0.3)
    assert mutated.digest == Genome(expected, child.coefficients).digest


def test_signed_weights_are_uniform_on_both_sides() -> None:
    layout = full_rank_world().layout
    zero = Genome(np.zeros(layout.size, np.float32), np.zeros((3, 1), np.float32))
    law = SvdMutation(signed=True)
    draws = [mutate(zero, layout, 0, law, generator(0, n, "m"))[0].values[layout.gains_of(0)] for n in range(300)]
    assert stats.kstest((np.concatenate(draws) / 0.3 + 1) / 2, "uniform").pvalue > 1e-3


@pytest.mark.parametrize("signed", [False, True])
def test_sparse_mutation_changes_that_share_of_the_directions(signed: bool) -> None:
    layout = full_rank_world().layout
    zero = Genome(np.zeros(layout.size, np.float32), np.zeros((3, 1), np.float32))
    law = SvdMutation(density=0.2, signed=signed)
    draws = [mutate(zero, layout, 0, law, generator(0, n, "m"))[0].values[layout.gains_of(0)] for n in range(300)]
    weights = np.concatenate(draws)
    changed = weights[weights != 0]
    assert stats.binomtest(len(changed), len(weights), 0.2).pvalue > 1e-3
    scaled = (changed / 0.3 + 1) / 2 if signed else changed / 0.3
    assert stats.kstest(scaled, "uniform").pvalue > 1e-3, "those that change are drawn as without sparsity"


def test_sparse_signed_mutation_of_the_childs_own_directions() -> None:
    world = lora_world()
    child = world.core_genome(1)
    law = SvdMutation(basis="Child", signed=True, density=0.5)
    weights = []
    for n in range(20):
        mutated, _ = mutate(child, world.layout, 1, law, generator(0, n, "mutation"))
        after, _ = world.weights(mutated)
        for m, new in enumerate(after):
            left, scales, right = world.svd(1, m)
            step = left.T @ (new - world.base[m] - world.tasks[1][m]) @ right.T
            np.testing.assert_allclose(step, np.diag(np.diag(step)), atol=1e-5 * scales[0])
            weights += list(np.diag(step) / scales)
    found = np.array(weights)
    still = np.abs(found) < 1e-4
    assert 0.3 < still.mean() < 0.7
    assert found.min() < -0.1
    assert found.max() > 0.1
    assert np.abs(found).max() <= 0.3 + 1e-4
