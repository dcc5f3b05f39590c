"""Genomes: what the numbers mean, and that they survive being written."""

from __future__ import annotations

import numpy as np
import pytest
import safetensors.numpy
from hypothesis import given
from hypothesis import strategies as st

from cycleqd.errors import BadData
from cycleqd.genome import Genome, Layout, Matrix, combine, expert_genome
from tests.core.experts import full_rank_world, lora_world

LAYOUT = Layout(("a", "b"), (Matrix("first", (2, 3)), Matrix("second", (0, 4))), ("bias", "norm"))
CORE = Layout(LAYOUT.experts, LAYOUT.matrices, LAYOUT.others, "Core")


def _random(layout: Layout, seed: int) -> Genome:
    rng = np.random.default_rng(seed)
    values = rng.normal(size=layout.size).astype(np.float32)
    return Genome(values, rng.normal(size=(len(layout.experts), len(layout.others))).astype(np.float32))


def test_gains_are_ordered_by_expert_matrix_direction() -> None:
    assert LAYOUT.size == 9
    assert [LAYOUT.gains_of(*where) for where in ((0, 0), (0, 1), (1, 0), (1, 1))] == [
        slice(0, 2),
        slice(2, 2),
        slice(2, 5),
        slice(5, 9),
    ]
    assert [LAYOUT.gains_of(0), LAYOUT.gains_of(1)] == [slice(0, 2), slice(2, 9)]


def test_cores_are_square_blocks_by_matrix() -> None:
    assert CORE.size == 25 + 16
    assert [CORE.core_of(0), CORE.core_of(1)] == [slice(0, 25), slice(25, 41)]


@pytest.mark.parametrize("expert", [0, 1, 2])
def test_an_experts_genome_materialises_to_the_expert(expert: int) -> None:
    world = full_rank_world()
    matrices, vector = world.weights(expert_genome(world.layout, expert))
    for matrix, base, task in zip(matrices, world.base, world.tasks[expert], strict=True):
        np.testing.assert_allclose(matrix, base + task, atol=1e-12)
    np.testing.assert_allclose(vector, world.vectors[expert], atol=1e-12)


@pytest.mark.parametrize("world", [full_rank_world(3), lora_world(3)], ids=["Gains", "Core"])
def test_combine_is_a_linear_merge_of_the_models(world: object) -> None:
    assert isinstance(world, type(full_rank_world()))
    genomes = [world.core_genome(k) if world.form == "Core" else expert_genome(world.layout, k) for k in range(3)]
    weights = [0.5, 0.75, -0.25]
    matrices, vector = world.weights(combine(genomes, weights))
    for m, matrix in enumerate(matrices):
        merged = world.base[m] + sum(w * world.tasks[k][m] for k, w in enumerate(weights))
        np.testing.assert_allclose(matrix, merged, atol=1e-5)
    np.testing.assert_allclose(vector, weights @ world.vectors, atol=1e-6)


@given(seed=st.integers(0, 2**32), weights=st.lists(st.floats(-4, 4, width=32), min_size=1, max_size=4))
def test_combine_is_linear(seed: int, weights: list[float]) -> None:
    genomes = [_random(LAYOUT, seed + n) for n in range(len(weights))]
    merged = combine(genomes, weights)
    expected = sum(w * g.values.astype(np.float64) for w, g in zip(weights, genomes, strict=True))
    np.testing.assert_allclose(merged.values, expected, atol=1e-5)
    twice = combine([merged, merged], [2.0, 0.0])
    np.testing.assert_allclose(twice.values, combine(genomes, [2 * w for w in weights]).values, rtol=1e-6, atol=1e-30)


@given(seed=st.integers(0, 2**32), core=st.booleans())
def test_written_and_read_back_is_bit_for_bit_the_same(seed: int, core: bool) -> None:
    layout = CORE if core else LAYOUT
    genome = _random(layout, seed)
    again = Genome.load(genome.save(layout), layout)
    assert again.values.tobytes() == genome.values.tobytes()
    assert again.coefficients.tobytes() == genome.coefficients.tobytes()
    assert again.digest == genome.digest
    assert again.save(layout, "notes") == genome.save(layout, "notes")


def test_notes_travel_with_the_genome() -> None:
    data = _random(LAYOUT, 0).save(LAYOUT, 'any "text" \u00e4')
    assert Genome.notes(data) == 'any "text" \u00e4'
    assert Genome.load(data, LAYOUT).digest == _random(LAYOUT, 0).digest


def test_the_digest_tells_the_smallest_difference() -> None:
    genome = _random(LAYOUT, 0)
    values = genome.values.copy()
    values[3] = np.nextafter(values[3], np.float32(9))
    assert Genome(values, genome.coefficients).digest != genome.digest


def test_layouts_differ_in_every_part() -> None:
    others = [
        CORE,
        Layout(("a", "c"), LAYOUT.matrices, LAYOUT.others),
        Layout(LAYOUT.experts, LAYOUT.matrices[::-1], LAYOUT.others),
        Layout(LAYOUT.experts, LAYOUT.matrices, ("norm", "bias")),
    ]
    assert len({layout.digest for layout in [LAYOUT, *others]}) == 5


GOOD = _random(LAYOUT, 0).save(LAYOUT)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        pytest.param(b"", "damaged", id="empty"),
        pytest.param(GOOD[: len(GOOD) // 2], "damaged", id="truncated"),
        pytest.param(b"no safetensors at all", "damaged", id="something else"),
        pytest.param(safetensors.numpy.save({"values": np.zeros(9, np.float32)}), "damaged", id="a tensor missing"),
        pytest.param(
            _random(Layout(("a", "b"), (Matrix("first", (2, 3)),), ("bias", "norm")), 0).save(LAYOUT),
            "another run",
            id="other shapes",
        ),
        pytest.param(_random(CORE, 0).save(CORE), "another run", id="the other form"),
        pytest.param(
            GOOD.replace(LAYOUT.digest.encode(), CORE.digest.encode()), "another run", id="same shapes, another layout"
        ),
    ],
)
def test_what_is_not_a_genome_of_this_run_is_refused(data: bytes, message: str) -> None:
    with pytest.raises(BadData, match=message):
        Genome.load(data, LAYOUT)
