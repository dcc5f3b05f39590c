from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cycleqd_runner.contest.meter import Meter


@pytest.mark.parametrize(
    ("spent", "training", "expected"),
    [
        pytest.param([], 0, True, id="the first evaluation"),
        pytest.param([300, 300], 0, True, id="exactly what is left"),
        pytest.param([300, 301], 0, False, id="a token too much"),
        pytest.param([300, 300], 1, False, id="training counts, too"),
        pytest.param([200, 200, 200], 0, True, id="judged by what evaluations have taken"),
        pytest.param([500, 500, 100], 0, False, id="nothing is left"),
    ],
)
def test_another_evaluation_has_to_fit(spent: list[int], training: int, expected: bool) -> None:
    meter = Meter(limit=1000, reserve=100, typical=300)
    for tokens in spent:
        meter.evaluated(tokens)
    assert meter.affords(training) is expected


def test_lessons_are_paid_for_but_are_no_part_of_what_an_evaluation_takes() -> None:
    meter = Meter(limit=1000, reserve=0, typical=300)
    meter.evaluated(300, count=3)
    meter.taught(500)
    assert meter.spending.search == 800
    assert meter.affords(training=100)
    assert not meter.affords(training=101)


def test_everything_counts() -> None:
    meter = Meter(limit=1000, reserve=0, typical=300)
    meter.evaluated(300, count=3)
    meter.training, meter.validation = 20, 7
    assert (meter.spent, meter.spending.tokens, meter.spending.evaluations) == (327, 327, 3)


@given(st.lists(st.integers(90, 110), min_size=30, max_size=30), st.integers(200, 3000), st.integers(0, 100))
def test_a_method_never_exceeds_its_budget_by_more_than_the_last_evaluation_was_dear(
    costs: list[int], limit: int, reserve: int
) -> None:
    meter = Meter(limit, reserve, typical=100)
    for cost in costs:
        if not meter.affords():
            break
        meter.evaluated(cost)
    assert meter.spent <= limit - reserve + 20
