"""Means, differences and intervals over seeds and items: numbers worked out by hand, and scipy's own."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from cycleqd.statistics import grouped_interval, mean_interval
from cycleqd_runner.contest.estimates import Seeds, difference, level, p_value

TASKS = ["sql", "shell"]


def seeds(*tables: tuple[list[float], list[float]], own_items: bool = False) -> dict[int, dict[str, dict[str, float]]]:
    """Return scores of two tasks per seed; with ``own_items`` no seed shares an item with another one."""
    return {
        seed: {
            task: {f"{seed if own_items else 0}-{i}": score for i, score in enumerate(scores)}
            for task, scores in zip(TASKS, table, strict=True)
        }
        for seed, table in enumerate(tables)
    }


def test_the_mean_weighs_tasks_and_seeds_alike() -> None:
    found = level(seeds(([1, 1, 0, 0], [1, 0]), ([1, 1, 1, 0], [1, 1])), TASKS)
    assert found.mean == pytest.approx(((0.5 + 0.5) / 2 + (0.75 + 1.0) / 2) / 2)


def test_with_one_seed_the_intervals_are_those_of_the_items() -> None:
    scores = ([1.0, 0.0, 1.0, 1.0], [0.0, 0.0, 1.0])
    assert level(seeds(scores), ["sql"]) == pytest.approx(mean_interval(np.array(scores[0])))
    assert level(seeds(scores), TASKS) == pytest.approx(grouped_interval([np.array(own) for own in scores]))


def test_seeds_that_agree_are_no_more_certain_than_their_items() -> None:
    """The plain average does the same with every seed: five of them say no more than one."""
    same = ([1.0, 0.0, 1.0, 1.0], [0.0, 0.0, 1.0, 1.0])
    assert level(seeds(*[same] * 5), TASKS) == pytest.approx(level(seeds(same), TASKS))


def test_seeds_that_differ_are_judged_by_students_t() -> None:
    """400 items would give a narrow interval; three seeds that disagree do not."""
    shares = (0.2, 0.5, 0.8)
    tables = [([1.0] * round(400 * share) + [0.0] * round(400 * (1 - share)),) * 2 for share in shares]
    found = level(seeds(*tables, own_items=True), TASKS)
    expected = stats.t.interval(0.95, 2, loc=0.5, scale=stats.sem(shares))
    assert (found.mean, found.low, found.high) == pytest.approx((0.5, max(0.0, expected[0]), min(1.0, expected[1])))


def test_differences_are_paired_by_seed_and_item() -> None:
    first = seeds(([1, 1, 1, 0], [1, 1]), ([1, 1, 0, 0], [1, 0]))
    second = seeds(([0, 1, 1, 0], [1, 1]), ([0, 1, 0, 0], [1, 0]))
    found = difference(first, second, ["sql"])
    assert found.mean == pytest.approx(0.25)
    assert found.low >= 0.0, "the first is never worse on an item, so no resample is"
    assert p_value(first, second, ["sql"]) is None, "both seeds differ alike"


def test_the_p_value_is_scipys() -> None:
    first = seeds(([1, 1, 1, 0], [1, 1]), ([1, 1, 1, 1], [1, 0]), ([1, 0, 1, 1], [1, 1]))
    second = seeds(([0, 1, 1, 0], [1, 1]), ([0, 1, 0, 0], [1, 0]), ([1, 0, 1, 1], [1, 0]))
    means = [
        [np.mean([np.mean(list(s[task].values())) for task in TASKS]) for s in m.values()] for m in (first, second)
    ]
    assert p_value(first, second, TASKS) == pytest.approx(stats.ttest_rel(*means).pvalue)
    found = difference(first, second, TASKS)
    interval = stats.ttest_rel(*means).confidence_interval()
    assert found.low <= interval.low + 1e-12
    assert found.high >= interval.high - 1e-12


def test_only_common_seeds_are_compared() -> None:
    first: Seeds = {0: {"sql": {"a": 1.0}}, 1: {"sql": {"a": 0.0}}}
    second: Seeds = {1: {"sql": {"a": 1.0}}}
    assert difference(first, second, ["sql"]).mean == -1.0
    assert p_value(first, second, ["sql"]) is None


scores = st.lists(st.sampled_from([0.0, 0.5, 1.0]), min_size=3, max_size=3)


@settings(max_examples=20)
@given(st.lists(st.tuples(scores, scores), min_size=1, max_size=4), st.lists(st.tuples(scores, scores), min_size=4))
def test_a_difference_turned_round_changes_its_sign(
    one: list[tuple[list[float], list[float]]], two: list[tuple[list[float], list[float]]]
) -> None:
    first, second = seeds(*one), seeds(*two)
    there, back = difference(first, second, TASKS), difference(second, first, TASKS)
    assert there.mean == pytest.approx(-back.mean, abs=1e-12)
    assert there.low <= there.mean + 1e-12
    assert there.mean <= there.high + 1e-12
    assert (there.low, there.high) == pytest.approx((-back.high, -back.low), abs=0.05), "up to the resampling"
