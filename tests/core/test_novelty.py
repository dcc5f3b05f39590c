"""Dominated novelty, against a loop over all pairs and against pyribs."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from ribs.archives import DNSArchive as PyribsArchive

from cycleqd.archive import Scores
from cycleqd.distances import between_scores
from cycleqd.novelty import NoveltyArchive

NEIGHBOURS = 3


def archive_of(scores: Scores, task: int = 0, size: int = 5, neighbours: int = NEIGHBOURS) -> NoveltyArchive:
    axes = [axis for axis in range(scores.shape[1]) if axis != task]
    return NoveltyArchive.of(task, np.arange(len(scores)), scores, between_scores(scores, axes), size, neighbours)


def by_hand(scores: Scores, task: int, size: int, neighbours: int) -> dict[int, float]:
    """Return the dominated novelty of those who stay, as the paper says it, pair by pair."""
    novelty = {}
    for me, mine in enumerate(scores):
        better = [o for o, own in enumerate(scores) if own[task] > mine[task] or (own[task] == mine[task] and o < me)]
        apart = sorted(math.dist(np.delete(mine, task), np.delete(scores[other], task)) for other in better)
        nearest = apart[:neighbours]
        novelty[me] = sum(nearest) / len(nearest) if nearest else math.inf
    ranked = sorted(novelty, key=lambda me: (-novelty[me], -scores[me][task], me))
    return {me: novelty[me] for me in sorted(ranked[:size])}


# Eighths: many ties in quality and in distance. Sums of few of them differ in their last bits at most.
populations: st.SearchStrategy[Scores] = st.lists(
    st.tuples(*[st.integers(0, 8).map(lambda n: n / 8)] * 3), min_size=1, max_size=40
).map(np.array)


@given(scores=populations, task=st.integers(0, 2), size=st.integers(1, 20), neighbours=st.integers(1, 6))
def test_a_loop_over_all_pairs_finds_the_same(scores: Scores, task: int, size: int, neighbours: int) -> None:
    found = archive_of(scores, task, size, neighbours)
    everybody = by_hand(scores, task, len(scores), neighbours)
    np.testing.assert_allclose(found.novelty, [everybody[member] for member in found.members], rtol=1e-9)
    np.testing.assert_allclose(
        np.sort(found.novelty), np.sort(list(by_hand(scores, task, size, neighbours).values())), rtol=1e-9
    )
    np.testing.assert_array_equal(found.scores, scores[found.members])


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("neighbours", [1, 3, 50])
def test_of_one_generation_the_same_stay_as_with_pyribs(seed: int, neighbours: int) -> None:
    scores = np.random.default_rng(seed).random((300, 4))
    theirs = PyribsArchive(solution_dim=1, measure_dim=3, capacity=40, k_neighbors=neighbours)
    theirs.add(np.arange(300.0)[:, None], scores[:, 0], scores[:, 1:])
    ours = archive_of(scores, size=40, neighbours=neighbours)
    assert ours.members.tolist() == sorted(theirs.data("solution")[:, 0].astype(int).tolist())
    assert ours.coverage == pytest.approx(theirs.stats.coverage)
    assert ours.qd_score == pytest.approx(theirs.stats.qd_score)
    np.testing.assert_allclose(ours.novelty, theirs.compute_dns(scores[:, 1:], scores[:, 0])[ours.members], rtol=1e-9)


def test_the_best_always_stays() -> None:
    scores = np.random.default_rng(5).random((100, 3))
    archive = archive_of(scores, size=1)
    assert archive.members.tolist() == [int(scores[:, 0].argmax())]
    assert archive.novelty.tolist() == [math.inf]


def test_of_twins_the_first_stays_as_novel_as_it_was_alone() -> None:
    alone = archive_of(np.array([[0.9, 0.0], [0.5, 0.4], [0.4, 0.1]]), size=2, neighbours=1)
    twins = archive_of(np.array([[0.9, 0.0], [0.5, 0.4], [0.5, 0.4], [0.4, 0.1]]), size=2, neighbours=1)
    assert alone.members.tolist() == twins.members.tolist() == [0, 1]
    assert alone.novelty.tolist() == twins.novelty.tolist()


def test_a_weak_but_different_individual_stays_before_a_copy_of_the_best() -> None:
    scores = np.array([[0.9, 0.1], [0.89, 0.11], [0.88, 0.1], [0.2, 0.9]])
    assert archive_of(scores, size=2).members.tolist() == [0, 3]


def test_a_small_archive_is_not_full() -> None:
    archive = archive_of(np.array([[0.9, 0.1], [0.5, 0.5]]), size=8)
    assert archive.coverage == 0.25
    assert archive.best() == 0


def test_where_nobody_was_dropped_enters_who_stays_and_who_has_few_better_ones() -> None:
    rng = np.random.default_rng(0)
    scores = rng.random((20, 3))
    archive = archive_of(scores, size=20)
    offered = scores[rng.integers(20, size=200)] + rng.normal([-0.05, 0, 0], 0.03, (200, 3))
    stays = [20 in archive_of(np.vstack([scores, row]), size=20).members for row in offered]
    assert 20 < sum(stays) < 180
    may_be_far_from_dropped_ones = (scores[:, 0] >= offered[:, :1]).sum(axis=1) < NEIGHBOURS
    np.testing.assert_array_equal(archive.enters(20, offered), stays | may_be_far_from_dropped_ones)
