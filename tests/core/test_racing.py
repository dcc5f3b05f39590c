"""Racing: admission as the fold has it, probabilities that mean what they say, and nothing decided without outcomes."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import betabinom, kstest

from cycleqd.api.search import Racing
from cycleqd.archive import GridArchive
from cycleqd.limits import bin_edges
from cycleqd.pooling import Pooling
from cycleqd.racing import DRAWS, Race, draw_means, ease
from cycleqd.records import ItemOutcome, TaskEvaluation

ITEMS = 24
SPECIALISTS = np.eye(3)[:, :, None] * np.ones(ITEMS)
"""(3, 3, ITEMS) Each solves all items of a task of its own."""
EDGES = bin_edges(np.array([[0.0, 1.0]] * 3), 4)
lattice = st.tuples(*[st.integers(0, 8).map(lambda n: n / 8)] * 3)


def _archives(members: list[int], scores: np.ndarray) -> tuple[GridArchive, ...]:
    return tuple(GridArchive.empty(task, EDGES).admit(members, scores) for task in range(3))


def _race(incumbents: np.ndarray, **fields: object) -> Race:
    """Return a race of child 99 against ``incumbents`` (n, 3, ITEMS), ids 0, 1, ..."""
    archives = _archives(list(range(len(incumbents))), incumbents.mean(axis=2))
    settings = {
        "settings": Racing(enabled=True, min_items=6, threshold=0.05),
        "individual": 99,
        "seed": 0,
        "archives": archives,
        "incumbents": tuple(incumbents.swapaxes(0, 1)),
        "pooling": Pooling((ITEMS,) * 3, (ITEMS,) * 3),
        "expected": np.full(3, np.nan),
    }
    return Race(**{**settings, **fields})  # type: ignore[arg-type]


def _evaluations(scores: np.ndarray) -> list[TaskEvaluation]:
    return [
        TaskEvaluation(
            task=f"t{k}",
            split="search",
            outcomes=tuple(
                ItemOutcome(item=str(n), score=None if np.isnan(score) else score, reason="down")
                for n, score in enumerate(own)
            ),
        )
        for k, own in enumerate(scores)
    ]


@given(
    members=st.dictionaries(st.integers(0, 40), lattice, min_size=1, max_size=20),
    offered=st.lists(lattice, min_size=1, max_size=10),
    individual=st.integers(50, 60) | st.integers(-10, -1),
)
def test_who_enters_is_who_admission_keeps(
    members: dict[int, tuple[float, ...]], offered: list[tuple[float, ...]], individual: int
) -> None:
    ids = sorted(members)
    for archive in _archives(ids, np.array([members[one] for one in ids])):
        told = archive.enters(individual, np.array(offered))
        for scores, answer in zip(offered, told, strict=True):
            everybody = {**members, individual: scores}  # the fold offers by id
            order = sorted(everybody)
            (whole,) = (a for a in _archives(order, np.array([everybody[o] for o in order])) if a.task == archive.task)
            assert answer == (individual in whole.members)


def test_an_empty_archive_takes_everybody() -> None:
    empty = GridArchive.empty(0, EDGES)
    assert empty.enters(5, np.zeros((3, 3))).tolist() == [True] * 3


def test_without_a_difference_between_items_the_draws_are_beta_binomial() -> None:
    asked, rng = np.array([1.0, 0.0, 1.0, 1.0]), np.random.default_rng(0)
    draws = draw_means(asked, np.ones((2, 20)), rng) * 20 - asked.sum()
    expected = betabinom(16, 0.5 + 3, 0.5 + 1)
    assert draws.mean() == pytest.approx(expected.mean(), abs=4 * expected.std() / DRAWS**0.5)
    assert kstest(draws, expected.cdf).statistic < 0.15  # a discrete law cannot be closer than its atoms
    np.testing.assert_allclose([np.mean(draws <= k) for k in range(17)], expected.cdf(range(17)), atol=0.04)


def test_incumbents_that_are_like_the_child_say_most_about_an_item() -> None:
    incumbents = np.array([[1.0, 1, 1, 1, 0], [0, 0, 0, 0, 1]])
    share = ease(np.array([1.0, 1, 1]), incumbents)
    np.testing.assert_allclose(share[3:], [8 / 9, 1 / 9])


def test_drawn_means_lie_between_the_least_and_the_most_that_is_possible() -> None:
    asked = np.array([1.0, 0.25, 0.0])
    draws = draw_means(asked, np.random.default_rng(1).random((4, 10)), np.random.default_rng(2))
    assert draws.min() >= 1.25 / 10
    assert draws.max() <= 8.25 / 10


def test_hopeless_and_promising_children() -> None:
    race = _race(SPECIALISTS)
    nothing, everything = np.zeros((3, 12)), np.ones((3, 12))
    assert race.probability(list(everything)) > 0.99
    assert race.stop(_evaluations(everything)) is None
    stop = race.stop(_evaluations(nothing))
    assert stop is not None
    assert (stop.asked, stop.items, stop.saved, stop.threshold) == ((12,) * 3, (ITEMS,) * 3, 36, 0.05)
    assert stop.probability < 0.05
    assert stop == race.stop(_evaluations(nothing)), "the same draws"


def test_a_child_with_an_unscored_item_is_asked_everything() -> None:
    outcomes = np.zeros((3, 12))
    outcomes[1, 3] = np.nan
    assert _race(SPECIALISTS).stop(_evaluations(outcomes)) is None
    assert _race(SPECIALISTS).stop(_evaluations(np.nan_to_num(outcomes))) is not None


def test_a_threshold_of_nothing_stops_nobody() -> None:
    race = _race(SPECIALISTS, settings=Racing(enabled=True, threshold=0.0))
    assert race.stop(_evaluations(np.zeros((3, 23)))) is None


def test_parents_count_where_scores_are_posterior_means() -> None:
    """The best of a cell stays the best if its parents were bad: the child's score is drawn down before it competes."""
    incumbents = np.ones((1, 3, ITEMS))
    incumbents[:, :, -2:] = 0.0
    asked = [np.ones(ITEMS - 1)] * 3
    plain = _race(incumbents)
    doubted = _race(incumbents, pooling=Pooling((ITEMS,) * 3, (ITEMS,) * 3, prior_items=12.0), expected=np.full(3, 0.5))
    assert plain.probability(asked) > 0.9
    (elsewhere,) = {int(archive.cells_of(np.full((1, 3), 0.8))[0]) for archive in _archives([0], np.ones((1, 3)))}
    assert elsewhere == 15, "the incumbent's cell"
    assert doubted.probability(asked) == 0.0


@pytest.mark.parametrize(
    ("min_items", "expected"), [(6, [6, 12]), (5, [5, 10, 20]), (24, []), (100, []), (1, [1, 2, 4, 8, 16])]
)
def test_rounds_double_and_end_before_the_last_item(min_items: int, expected: list[int]) -> None:
    race = _race(np.ones((1, 3, ITEMS)), settings=Racing(enabled=True, min_items=min_items))
    assert list(race.checkpoints) == expected


@settings(max_examples=5, deadline=None)
@given(seed=st.integers(0, 1000))
def test_the_probability_is_that_of_entering(seed: int) -> None:
    """Children whose items are exchangeable with what was asked enter about as often as they are told to."""
    rng = np.random.default_rng(seed)
    incumbents = (rng.random((6, 3, ITEMS)) < rng.random((6, 3, 1))).astype(float)
    race = _race(incumbents)
    told, true = [], []
    for _ in range(60):
        skill = rng.beta(0.5, 0.5, 3)
        child = (rng.random((3, ITEMS)) < skill[:, None]).astype(float)
        told.append(race.probability(list(child[:, :12])))
        scores = child.mean(axis=1)[None]
        true.append(any(archive.enters(99, scores)[0] for archive in race.archives))
    spread = float(np.sqrt(np.mean(np.array(told) * (1 - np.array(told))) / len(told))) + 0.02
    assert abs(np.mean(told) - np.mean(true)) < 4 * spread
