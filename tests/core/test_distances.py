"""Distances between behaviours, against scipy's."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial.distance import cdist

from cycleqd.distances import between_items, between_scores, squared_distances

ROWS, OTHERS = np.array([3, 0, 7]), np.arange(20)


def test_squared_distances_are_scipys() -> None:
    rng = np.random.default_rng(0)
    one, other = rng.random((7, 5)), rng.random((11, 5))
    np.testing.assert_allclose(squared_distances(one, other), cdist(one, other, "sqeuclidean"), rtol=1e-12)


def test_scores_are_compared_on_the_chosen_tasks_only() -> None:
    scores = np.random.default_rng(1).random((20, 4))
    found = between_scores(scores, [0, 2])(ROWS, OTHERS)
    np.testing.assert_allclose(found, cdist(scores[ROWS][:, [0, 2]], scores[:, [0, 2]]), rtol=1e-12)


@pytest.mark.parametrize("n_items", [1, 7, 63, 64, 65, 200])
def test_the_share_of_items_that_differ(n_items: int) -> None:
    rng = np.random.default_rng(n_items)
    items = [rng.random((20, n)) < 0.5 for n in (n_items, 10, 3)]
    found = between_items(items, [0, 2])(ROWS, OTHERS)
    shares = sum(cdist(items[axis][ROWS], items[axis], "hamming") for axis in (0, 2))
    np.testing.assert_allclose(found, np.sqrt(shares), rtol=1e-12)
