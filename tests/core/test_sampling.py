"""Who becomes a parent: the law of the paper, by hand and by chi-square."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from itertools import permutations

import numpy as np
import numpy.typing as npt
import pytest
from scipy import stats

from cycleqd.api.search import EliteSampling, RandomSampling
from cycleqd.archive import GridArchive
from cycleqd.limits import bin_edges
from cycleqd.rng import generator
from cycleqd.sampling import elite_probabilities, sample_parents

LAW = EliteSampling()
SCORES = np.array([[0.1, 0.9, 0.3], [0.5, 0.5, 0.3], [0.9, 0.1, 0.3], [0.9, 0.8, 0.3]])
DRAWS = 20_000


def _archive(scores: npt.NDArray[np.float64]) -> GridArchive:
    empty = GridArchive.empty(0, bin_edges(np.array([[0.0, 1.0]] * 3), 15))
    return replace(empty, cells=np.arange(len(scores)), members=np.arange(len(scores)) + 10, scores=scores)


@pytest.mark.parametrize(
    ("scores", "gammas"),
    [
        pytest.param([[0.0], [1.0]], [0.5, 0.8], id="weakest 0.5, strongest 0.8"),
        pytest.param([[0.2], [0.4], [0.3]], [0.5, 0.8, 0.65], id="linear between"),
        pytest.param([[0.7], [0.7]], [1.0, 1.0], id="all equal: factor 1"),
        pytest.param([[0.7, 0.0], [0.7, 1.0]], [0.5, 0.8], id="an equal task does not count"),
        pytest.param([[0.0, 1.0], [1.0, 0.0]], [0.4, 0.4], id="product over all tasks"),
        pytest.param([[0.0, 0.0, 0.0], [1.0, 1.0, 1.0]], [0.125, 0.512], id="three tasks"),
        pytest.param([[0.3, 0.6]], [1.0], id="a sole member"),
    ],
)
def test_probabilities_by_hand(scores: list[list[float]], gammas: list[float]) -> None:
    expected = np.array(gammas) / np.sum(gammas)
    np.testing.assert_allclose(elite_probabilities(np.array(scores), LAW), expected, rtol=1e-12)


def _pair_law(single: npt.NDArray[np.float64]) -> dict[tuple[int, int], float]:
    """Probability of each ordered pair when the second parent is drawn from who is left."""
    return {(a, b): single[a] * single[b] / (1 - single[a]) for a, b in permutations(range(len(single)), 2)}


def _gammas() -> npt.NDArray[np.float64]:
    """The law of the paper, written out for SCORES: task 2 is equal for all, so it has factor 1."""
    factors = (
        [0.5 + 0.3 * (f - 0.1) / 0.8 for f in (0.1, 0.5, 0.9, 0.9)],
        [0.5 + 0.3 * (f - 0.1) / 0.8 for f in (0.9, 0.5, 0.1, 0.8)],
    )
    gamma: npt.NDArray[np.float64] = np.prod(factors, axis=0)
    return gamma / float(gamma.sum())


@pytest.mark.parametrize(
    ("law", "single"),
    [
        pytest.param(LAW, _gammas(), id="elite"),
        pytest.param(RandomSampling(type="Random"), np.full(4, 0.25), id="random"),
    ],
)
def test_pairs_follow_the_law_without_replacement(
    law: EliteSampling | RandomSampling, single: npt.NDArray[np.float64]
) -> None:
    archive = _archive(SCORES)
    pairs = Counter(sample_parents(archive, law, generator(0, child, "sampling")) for child in range(DRAWS))
    expected = _pair_law(single)
    assert set(pairs) <= set(expected)
    counts = [pairs[pair] for pair in expected]
    assert stats.chisquare(counts, [p * DRAWS for p in expected.values()]).pvalue > 1e-4
    # The test has the power to tell the laws apart: the other law's pairs are refused on the same draws.
    other = np.full(4, 0.25) if law == LAW else _gammas()
    assert stats.chisquare(counts, [p * DRAWS for p in _pair_law(other).values()]).pvalue < 1e-9


def test_a_sole_member_is_both_parents() -> None:
    archive = _archive(SCORES[:1])
    assert sample_parents(archive, LAW, generator(0, 0, "sampling")) == (0, 0)
    assert sample_parents(archive, RandomSampling(type="Random"), generator(0, 0, "sampling")) == (0, 0)


def test_two_members_are_always_both_drawn() -> None:
    archive = _archive(SCORES[:2])
    assert {frozenset(sample_parents(archive, LAW, generator(1, n, "sampling"))) for n in range(50)} == {
        frozenset({0, 1})
    }
