"""What results add up to: every sum, and that order and portions change nothing, not even the last digit."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cycleqd.fold import Entry
from cycleqd_operator.tally import EVALUATION_BUCKETS, Tally

SECONDS = st.floats(0, 1e5)
RESULTS = st.lists(
    st.builds(
        Entry,
        id=st.integers(0, 9),
        evaluation=st.integers(0, 9),
        scores=st.none(),
        seconds=SECONDS,
        evaluate_seconds=SECONDS,
        gpus=st.integers(0, 8),
        prompt_tokens=st.integers(0, 10**9),
        answer_tokens=st.integers(0, 10**9),
        saved=st.integers(0, 10**6),
    )
)


def result(seconds: float = 0.0, evaluate: float = 0.0, gpus: int = 0, prompt: int = 0, answer: int = 0) -> Entry:
    return Entry(0, 0, None, seconds, evaluate, gpus, prompt, answer)


def test_sums() -> None:
    tally = Tally().plus([result(10.5, 8, 2, 100, 7), result(20, 16.25, 1, 50, 3), result(5, 5)])
    assert tally.results == 3
    assert tally.worker_microseconds == 35_500_000
    assert tally.evaluate_microseconds == 29_250_000
    assert tally.gpu_microseconds == 41_000_000
    assert tally.gpu_busy_microseconds == 32_250_000
    assert tally.busy_ratio == 29.25 / 35.5
    assert Tally().busy_ratio is None
    assert (tally.prompt_tokens, tally.answer_tokens) == (150, 10)


def test_stopped_children_and_what_they_saved() -> None:
    entries = [Entry(3, 0, None, saved=40), Entry(4, 0, (0.5,)), Entry(5, 0, None), Entry(6, 0, None, saved=2)]
    tally = Tally().plus(entries[:1]).plus(entries[1:])
    assert (tally.stopped, tally.items_saved) == (2, 42)


@pytest.mark.parametrize(
    ("seconds", "first"),
    [
        pytest.param(0, 0, id="none"),
        pytest.param(1, 0, id="a bound belongs to its bucket"),
        pytest.param(1.001, 1, id="beyond it"),
        pytest.param(7200, len(EVALUATION_BUCKETS) - 1, id="the last bound"),
        pytest.param(7201, len(EVALUATION_BUCKETS), id="beyond all"),
    ],
)
def test_buckets_hold_what_is_at_most_as_long(seconds: float, first: int) -> None:
    cumulative = Tally().plus([result(evaluate=seconds)]).cumulative
    assert cumulative == (0,) * first + (1,) * (len(EVALUATION_BUCKETS) + 1 - first)


@given(RESULTS, st.randoms(), st.integers(0, 20))
def test_order_and_portions_change_nothing(entries: list[Entry], random: Random, cut: int) -> None:
    shuffled = list(entries)
    random.shuffle(shuffled)
    assert Tally().plus(shuffled[:cut]).plus(shuffled[cut:]) == Tally().plus(entries)


@given(RESULTS, RESULTS)
def test_nothing_falls(before: list[Entry], more: list[Entry]) -> None:
    first = Tally().plus(before)
    second = first.plus(more)
    assert second.results == first.results + len(more)
    assert all(now >= then for now, then in zip(second.cumulative, first.cumulative, strict=True))
    assert second.worker_microseconds >= first.worker_microseconds
    assert second.gpu_busy_microseconds >= first.gpu_busy_microseconds
