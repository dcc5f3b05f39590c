"""Intervals: against scipy, by how often they hold the truth, and at the ends where formulas break."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from cycleqd.rng import generator
from cycleqd.statistics import Z, grouped_difference, grouped_interval, mean_interval, paired_ratio

Floats = npt.NDArray[np.float64]

outcomes = st.lists(st.sampled_from([0.0, 1.0]), min_size=1, max_size=80).map(np.array)
graded = st.lists(st.floats(0.0, 1.0), min_size=1, max_size=80).map(np.array)


def draw(rng: np.random.Generator, p: float, n: int) -> Floats:
    return (rng.random(n) < p).astype(np.float64)


@pytest.mark.parametrize(("solved", "items"), [(0, 1), (1, 1), (0, 50), (50, 50), (1, 50), (31, 50), (480, 500)])
def test_a_proportion_has_wilsons_interval(solved: int, items: int) -> None:
    found = mean_interval(np.repeat([1.0, 0.0], [solved, items - solved]))
    oracle = stats.binomtest(solved, items).proportion_ci(0.95, method="wilson")
    assert found.items == items
    assert (found.mean, found.low, found.high) == pytest.approx((solved / items, oracle.low, oracle.high), abs=1e-12)


def test_the_level_is_95_percent() -> None:
    assert pytest.approx(stats.norm.ppf(0.975)) == Z


@given(graded)
def test_an_interval_holds_its_mean_and_stays_in_range(scores: Floats) -> None:
    found = mean_interval(scores)
    assert 0.0 <= found.low <= found.mean <= found.high <= 1.0
    assert found.low < found.high


@given(st.lists(outcomes, min_size=1, max_size=4))
def test_a_mean_over_tasks_holds_its_mean_and_stays_in_range(groups: list[Floats]) -> None:
    found = grouped_interval(groups)
    assert 0.0 <= found.low <= found.mean <= found.high <= 1.0
    assert found.mean == pytest.approx(np.mean([group.mean() for group in groups]))
    assert found.items == sum(map(len, groups))


@given(outcomes)
def test_one_task_alone_is_its_own_mean(scores: Floats) -> None:
    assert grouped_interval([scores]) == pytest.approx(mean_interval(scores))


def test_tasks_count_the_same_whatever_their_items() -> None:
    assert grouped_interval([np.ones(10), np.zeros(1000)]).mean == pytest.approx(0.5)


def test_solving_nothing_is_not_certain() -> None:
    found = grouped_interval([np.zeros(60)] * 3)
    assert (found.mean, found.low) == (0.0, 0.0)
    assert 0.02 < found.high < mean_interval(np.zeros(60)).high


@pytest.mark.parametrize(
    ("truth", "items"),
    [((0.6, 0.5, 0.7), 60), ((0.9, 0.05, 0.02), 60), ((0.95, 0.97, 0.99), 60), ((0.5, 0.5, 0.5), 20), ((0.3,), 40)],
)
def test_intervals_hold_the_truth_as_often_as_they_say(truth: tuple[float, ...], items: int) -> None:
    """Of 1000 draws, 95 %: with a standard error of 0.7 points, and the steps of counting at few items."""
    rng = np.random.default_rng(7)
    held = 0
    for _ in range(1000):
        found = grouped_interval([draw(rng, p, items) for p in truth])
        held += bool(found.low <= np.mean(truth) <= found.high)
    assert 0.925 <= held / 1000 <= 0.98


def test_paired_differences_are_sharper_than_unpaired_ones() -> None:
    """Two models that solve nearly the same items: the pairs tell them apart, the separate intervals do not."""
    rng = np.random.default_rng(1)
    first = [draw(rng, 0.5, 200) for _ in range(3)]
    second = [np.where(rng.random(200) < 0.04, 0.0, group) for group in first]
    found = grouped_difference(first, second, generator(0, -1, "difference"))
    assert found.mean == pytest.approx(np.mean([a.mean() - b.mean() for a, b in zip(first, second, strict=True)]))
    assert 0.0 < found.low < found.mean < found.high
    assert grouped_interval(first).low < grouped_interval(second).high


def test_a_difference_agrees_with_the_normal_approximation() -> None:
    rng = np.random.default_rng(2)
    first, second = (
        [draw(rng, p, n) for p, n in zip(row, (400, 300), strict=True)] for row in ((0.6, 0.4), (0.5, 0.45))
    )
    found = grouped_difference(first, second, generator(0, -1, "difference"))
    pairs = [a - b for a, b in zip(first, second, strict=True)]
    error = np.sqrt(sum(pair.var() / len(pair) for pair in pairs)) / len(pairs)
    assert (found.low, found.high) == pytest.approx((found.mean - Z * error, found.mean + Z * error), abs=0.05 * error)


def test_a_difference_has_a_direction() -> None:
    rng = np.random.default_rng(3)
    first, second = [draw(rng, 0.7, 100)], [draw(rng, 0.4, 100)]
    forth = grouped_difference(first, second, generator(0, -1, "d"))
    back = grouped_difference(second, first, generator(0, -1, "d"))
    assert forth[:3] == pytest.approx((-back.mean, -back.high, -back.low))


def test_the_same_generator_gives_the_same_interval() -> None:
    first, second = [np.array([1.0, 0.0, 1.0, 1.0])], [np.array([0.0, 0.0, 1.0, 0.0])]
    again = [grouped_difference(first, second, generator(5, -1, "d")) for _ in range(2)]
    assert again[0] == again[1]


def test_a_model_is_no_better_than_itself() -> None:
    scores = [draw(np.random.default_rng(4), 0.5, 50)]
    assert grouped_difference(scores, scores, generator(0, -1, "d"))[:3] == (0.0, 0.0, 0.0)


@given(st.lists(st.tuples(*[st.sampled_from([0.0, 0.2, 0.5, 1.0])] * 2), min_size=1, max_size=80))
def test_a_ratio_holds_its_mean(pairs: list[tuple[float, float]]) -> None:
    first, second = np.array(pairs).T
    found = paired_ratio(first, second)
    assert (found is None) == (not second.any())
    if found:
        assert found.mean == pytest.approx(first.sum() / second.sum())
        assert 0.0 <= found.low <= found.mean <= found.high
        assert found.low < found.high, "not even a model that answers exactly alike is certain to go on so"
        assert found.items == len(pairs)


@pytest.mark.parametrize("steps", [1, 4], ids=["right or wrong", "graded"])
@pytest.mark.parametrize(
    ("first", "second", "alike", "items"),
    [(0.5, 0.6, 0.7, 60), (0.5, 0.6, 0.0, 60), (0.8, 0.9, 0.5, 200), (0.1, 0.6, 0.2, 60), (0.95, 0.95, 0.9, 60)],
)
def test_ratios_hold_the_truth_as_often_as_they_say(
    first: float, second: float, alike: float, items: int, steps: int
) -> None:
    """Of 500 draws, 95 % or more: with a standard error of 1 point. ``alike``: how often both models draw the same."""
    rng, held = np.random.default_rng(11), 0
    for _ in range(500):
        own = rng.random((steps, items))
        other = np.where(rng.random((steps, items)) < alike, own, rng.random((steps, items)))
        found = paired_ratio((own < first).mean(axis=0), (other < second).mean(axis=0))
        held += found is not None and found.low <= first / second <= found.high
    assert held / 500 > 0.92


def test_the_same_items_make_a_ratio_sharper() -> None:
    """With 200 items, of which both models solve the same ones but for a few, or not."""
    second = np.repeat([1.0, 0.0], 100)
    same, shuffled = second.copy(), np.roll(second, 50)
    same[:10] = 0.0
    shuffled[np.flatnonzero(shuffled)[:10]] = 0.0
    sharp, blunt = paired_ratio(same, second), paired_ratio(shuffled, second)
    assert sharp
    assert blunt
    assert sharp.mean == blunt.mean == 0.9
    assert (sharp.high - sharp.low) < 0.5 * (blunt.high - blunt.low)


@pytest.mark.parametrize(
    "ask",
    [
        lambda rng: mean_interval(np.array([])),
        lambda rng: grouped_interval([]),
        lambda rng: grouped_interval([np.ones(3), np.array([])]),
        lambda rng: grouped_difference([], [], rng),
        lambda rng: grouped_difference([np.array([])], [np.array([])], rng),
        lambda rng: grouped_difference([np.ones(3)], [np.ones(4)], rng),
        lambda rng: grouped_difference([np.ones(3)], [np.ones(3), np.ones(3)], rng),
        lambda _: paired_ratio(np.array([]), np.array([])),
        lambda _: paired_ratio(np.ones(3), np.ones(4)),
    ],
)
def test_no_scores_no_interval(ask: Callable[[np.random.Generator], object]) -> None:
    with pytest.raises(ValueError, match=r"at least one|same items"):
        ask(np.random.default_rng(0))
