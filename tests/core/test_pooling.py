"""Pooling: items count the same whenever they were asked, and parents count as much as the prior says."""

from __future__ import annotations

import random

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from cycleqd.api.search import Grid
from cycleqd.api.tasks import SplitSizes
from cycleqd.fold import Entry, fold
from cycleqd.pooling import Pooling, pool
from tests.core.support import run_spec

GRID = Grid(bins=4)
POOLING = Pooling(search=(48, 40, 16), reserve=(16, 10, 16), prior_items=8.0)
EXPERTS = [Entry(id=k, evaluation=0, scores=tuple(0.75 if k == j else 0.25 for j in range(3))) for k in range(3)]

scores = st.none() | st.tuples(*[st.integers(0, 7).map(lambda n: n / 7)] * 3)
parents = st.lists(st.integers(0, 40), max_size=2).map(tuple)
entries = st.dictionaries(
    st.tuples(st.integers(3, 30), st.integers(0, 1)), st.tuples(scores, parents), max_size=40
).map(lambda table: EXPERTS + [Entry(id=i, evaluation=n, scores=s, parents=p) for (i, n), (s, p) in table.items()])


@given(results=entries, seed=st.integers(0, 1000))
def test_neither_order_nor_repetition_matters(results: list[Entry], seed: int) -> None:
    rng = random.Random(seed)
    mixed = rng.sample(results, len(results)) + rng.choices(results, k=10)
    one, other = fold(results, 3, GRID, POOLING), fold(mixed, 3, GRID, POOLING)
    assert one.scores.tobytes() == other.scores.tobytes()
    for mine, theirs in zip(one.archives, other.archives, strict=True):
        assert mine.members.tolist() == theirs.members.tolist()


@given(results=entries)
def test_posterior_means_lie_between_the_own_mean_and_the_parents(results: list[Entry]) -> None:
    population = fold(results, 3, GRID, POOLING)
    assert population.pooled is not None
    means, expected = population.pooled.means, population.pooled.expected
    expected = np.where(np.isnan(expected), means, expected)
    slack = 1e-12
    assert (population.scores >= np.minimum(means, expected) - slack).all()
    assert (population.scores <= np.maximum(means, expected) + slack).all()


@given(results=entries)
def test_without_a_prior_and_a_second_evaluation_scores_stay_to_the_last_bit(results: list[Entry]) -> None:
    first = [entry for entry in results if entry.evaluation == 0]
    plain = fold(first, 3, GRID, Pooling((48, 40, 16), (1, 1, 1)))
    expected = {entry.id: entry.scores for entry in first if entry.scores is not None}
    assert {int(i): tuple(row) for i, row in zip(plain.ids, plain.scores, strict=True)} == expected


def test_an_item_counts_the_same_in_either_evaluation() -> None:
    rng = np.random.default_rng(0)
    outcomes = [rng.integers(0, 2, 48 + 16), rng.integers(0, 2, 50), rng.integers(0, 2, 32)]
    first = tuple(float(own[:n].mean()) for own, n in zip(outcomes, POOLING.search, strict=True))
    second = tuple(float(own[n:].mean()) for own, n in zip(outcomes, POOLING.search, strict=True))
    results = [*EXPERTS, Entry(3, 0, first), Entry(3, 1, second)]
    population = fold(results, 3, GRID, Pooling(POOLING.search, POOLING.reserve))
    np.testing.assert_allclose(population.scores[3], [own.mean() for own in outcomes])


def test_the_posterior_is_that_of_a_beta_prior() -> None:
    """Eight items of prior around the parents' mean: (8 m + successes) / (8 + items)."""
    child = Entry(3, 0, (0.75, 0.5, 1.0), parents=(0, 1))
    population = fold([*EXPERTS, child], 3, GRID, POOLING)
    prior = np.array([0.5, 0.5, 0.25])
    successes, items = np.array([36, 20, 16]), np.array([48, 40, 16])
    np.testing.assert_allclose(population.scores[3], (8 * prior + successes) / (8 + items))
    assert [tuple(row) for row in population.scores[:3]] == [entry.scores for entry in EXPERTS]


def test_parents_that_have_no_scores_say_nothing() -> None:
    children = [Entry(3, 0, (0.75, 0.5, 1.0), parents=(17, 18)), Entry(4, 0, (0.75, 0.5, 1.0), parents=(2, 17))]
    population = fold([*EXPERTS, *children], 3, GRID, POOLING)
    assert tuple(population.scores[3]) == children[0].scores
    assert population.pooled is not None
    assert tuple(population.pooled.expected[4]) == EXPERTS[2].scores


def test_a_lucky_incumbent_loses_its_cell() -> None:
    lucky = Entry(3, 0, (1.0, 0.5, 0.5), parents=(0, 1))
    solid = Entry(4, 0, (0.875, 0.5, 0.5), parents=(0, 1))
    again = Entry(3, 1, (0.25, 0.5, 0.5), with_child=9)
    pooling = Pooling((16,) * 3, (16,) * 3)
    before = fold([*EXPERTS, lucky, solid], 3, GRID, pooling).archives[0]
    after = fold([*EXPERTS, lucky, solid, again], 3, GRID, pooling).archives[0]
    assert 3 in before.members
    assert 4 not in before.members
    assert 3 not in after.members
    assert 4 in after.members


def test_the_manifest_says_how_to_pool() -> None:
    spec = run_spec(2, search={"noise": {"priorItems": 5.0}})
    assert Pooling.of(run_spec(2)) == Pooling((200, 200), (200, 200), 0.0)
    task = spec.tasks[0].model_copy(update={"items": SplitSizes(search=48, reserve=30)})
    assert Pooling.of(spec.model_copy(update={"tasks": (task, spec.tasks[1])})) == Pooling((48, 200), (30, 200), 5.0)


def test_pooled_rows_are_by_id() -> None:
    table = np.array([[0.5], [1.0], [0.0]])
    pooled = pool([2, 7, 7], table, np.array([[10.0], [10.0], [30.0]]), {7: (2, 2, 99)})
    assert pooled.ids.tolist() == [2, 7]
    assert pooled.means.tolist() == [[0.5], [0.25]]
    assert pooled.items.tolist() == [[10.0], [40.0]]
    assert pooled.expected_of((7, 2)).tolist() == [0.375]
    assert np.isnan(pooled.expected[0]).all()
    assert pooled.expected[1].tolist() == [0.5]
