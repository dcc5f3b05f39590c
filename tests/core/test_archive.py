"""Archives: against pyribs cell for cell, and the paper's rules as tables."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from ribs.archives import GridArchive as PyribsArchive

from cycleqd.archive import EMPTY, GridArchive
from cycleqd.limits import bin_edges

LIMITS = np.array([[0.1003, 0.7207], [0.0501, 0.9111], [0.2009, 0.8301]])
LATTICE = 97
"""Scores are multiples of 1/97: many ties, as with real item counts, and none of them on an edge of LIMITS."""


def _random_scores(n: int, n_tasks: int, seed: int) -> npt.NDArray[np.float64]:
    return np.random.default_rng(seed).integers(0, LATTICE + 1, (n, n_tasks)) / LATTICE


def _pyribs(
    archive: GridArchive, limits: npt.NDArray[np.float64], scores: npt.NDArray[np.float64]
) -> npt.NDArray[np.int64]:
    """Offer everybody to pyribs' archive, one by one, and return the occupants as our :meth:`GridArchive.grid` does."""
    axes = list(archive.axes)
    theirs = PyribsArchive(
        solution_dim=1,
        dims=archive.shape,
        ranges=[(float(low), float(high)) for low, high in limits[axes]],
        epsilon=1e-12,
        dtype=np.float64,
    )
    for member, row in enumerate(scores):
        theirs.add_single([member], row[archive.task], row[axes])
    grid = np.full(archive.shape, EMPTY, np.int64)
    data = theirs.data()
    grid.flat[data["index"]] = data["solution"][:, 0].astype(np.int64)
    return grid


@pytest.mark.parametrize("task", [0, 1, 2])
@pytest.mark.parametrize(("n", "bins"), [(3, 15), (400, 15), (3000, 4)])
def test_equals_pyribs_cell_for_cell(task: int, n: int, bins: int) -> None:
    edges = bin_edges(LIMITS, bins)
    # pyribs' cells are [lo, hi), ours (lo, hi]: they agree where no score lies on an edge.
    assert np.abs(edges[..., None] - np.arange(LATTICE + 1) / LATTICE).min() > 1e-9
    scores = _random_scores(n, 3, seed=task)
    archive = GridArchive.empty(task, edges).admit(np.arange(n), scores)
    np.testing.assert_array_equal(archive.grid(), _pyribs(archive, LIMITS, scores))


def test_equals_pyribs_with_the_interval_convention_mirrored() -> None:
    """On the edges themselves: negated axes turn pyribs' [lo, hi) into our (lo, hi]."""
    edges = np.array([[0.0, 0.25, 0.5, 0.75, 1.0]] * 3)
    scores = np.random.default_rng(0).integers(0, 9, (500, 3)) / 8.0
    archive = GridArchive.empty(0, edges).admit(np.arange(500), scores)
    theirs = PyribsArchive(solution_dim=1, dims=(4, 4), ranges=[(-1.0, 0.0)] * 2, epsilon=0.0, dtype=np.float64)
    for member, row in enumerate(scores):
        theirs.add_single([member], row[0], -row[1:])
    data = theirs.data()
    mirrored = np.full((4, 4), EMPTY, np.int64)
    mirrored.flat[data["index"]] = data["solution"][:, 0].astype(np.int64)
    np.testing.assert_array_equal(archive.grid(), mirrored[::-1, ::-1])


@pytest.mark.parametrize(
    ("offers", "elite"),
    [
        pytest.param([(7, 0.5)], 7, id="an empty cell takes anybody"),
        pytest.param([(7, 0.0)], 7, id="an empty cell takes quality 0"),
        pytest.param([(7, 0.5), (8, 0.6)], 8, id="better replaces"),
        pytest.param([(7, 0.5), (8, 0.4)], 7, id="worse does not"),
        pytest.param([(7, 0.5), (8, 0.5)], 7, id="equal does not: the first offered stays"),
        pytest.param([(8, 0.5), (7, 0.5)], 8, id="first offered, not lowest id"),
        pytest.param([(7, 0.5), (8, 0.6), (9, 0.6)], 8, id="first among equals that are better"),
    ],
)
@pytest.mark.parametrize("together", [True, False], ids=["one batch", "one by one"])
def test_who_holds_a_cell(offers: list[tuple[int, float]], elite: int, together: bool) -> None:
    archive = GridArchive.empty(0, np.array([[0.0, 1.0], [0.0, 1.0]]))
    batches = [offers] if together else [[offer] for offer in offers]
    for batch in batches:
        archive = archive.admit([member for member, _ in batch], [(quality, 0.5) for _, quality in batch])
    assert archive.members.tolist() == [elite]


@pytest.mark.parametrize(
    ("qualities", "members", "best"),
    [
        pytest.param([0.1, 0.9, 0.5], [3, 4, 5], 4, id="highest quality"),
        pytest.param([0.9, 0.9, 0.5], [3, 4, 5], 4, id="tie: the most recent"),
        pytest.param([0.9, 0.9, 0.9], [9, 4, 5], 9, id="most recent is the highest id, wherever it sits"),
    ],
)
def test_best_member(qualities: list[float], members: list[int], best: int) -> None:
    edges = np.array([[0.0, 0.25, 0.5, 1.0]] * 2)
    scores = np.column_stack([qualities, [0.2, 0.4, 0.8]])
    archive = GridArchive.empty(0, edges).admit(members, scores)
    assert len(archive.members) == 3
    assert archive.members[archive.best()] == best


def test_axes_are_the_other_tasks_in_task_order() -> None:
    archives = [GridArchive.empty(task, bin_edges(np.array([[0.0, 1.0]] * 4), 3)) for task in range(4)]
    assert [archive.axes for archive in archives] == [(1, 2, 3), (0, 2, 3), (0, 1, 3), (0, 1, 2)]
    assert archives[0].shape == (3, 3, 3)


def test_measures_of_an_archive() -> None:
    archive = GridArchive.empty(1, bin_edges(np.array([[0.0, 1.0]] * 3), 2))
    assert archive.coverage == 0.0
    assert archive.qd_score == 0.0
    archive = archive.admit([0, 1, 2], [(0.2, 0.5, 0.2), (0.9, 0.25, 0.2), (0.9, 0.125, 0.3)])
    assert archive.coverage == 0.5
    assert archive.qd_score == 0.75
    assert archive.grid().tolist() == [[0, EMPTY], [1, EMPTY]]


def test_many_tasks_do_not_need_a_dense_grid() -> None:
    archive = GridArchive.empty(0, bin_edges(np.array([[0.0, 1.0]] * 12), 15)).admit([0], [[0.5] * 12])
    assert 0 < archive.coverage < 1e-12


offers = st.lists(st.tuples(*[st.integers(0, 8)] * 3), max_size=60)


@given(offers=offers, cuts=st.lists(st.integers(0, 60), max_size=5))
def test_any_batches_give_what_one_by_one_gives(offers: list[tuple[int, ...]], cuts: list[int]) -> None:
    edges = bin_edges(np.array([[0.0, 1.0]] * 3), 4)
    scores = np.array(offers, float).reshape(-1, 3) / 8
    single = batched = GridArchive.empty(2, edges)
    for member, row in enumerate(scores):
        single = single.admit([member], row)
    for start, end in pairwise([0, *sorted(cut for cut in cuts if cut < len(scores)), len(scores)]):
        batched = batched.admit(np.arange(start, end), scores[start:end])
    for name in ("cells", "members", "scores"):
        np.testing.assert_array_equal(getattr(single, name), getattr(batched, name), err_msg=name)
