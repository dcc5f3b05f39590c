"""Tessellations: centroids as good as pyribs', and the same archive as pyribs' with the same centroids."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest
from ribs.archives import CVTArchive as PyribsArchive
from ribs.archives import k_means_centroids

from cycleqd.archive import Scores
from cycleqd.distances import squared_distances
from cycleqd.tessellation import CvtArchive, centroids_of, nearest

LIMITS = np.array([[0.1, 0.9], [0.0, 0.5], [0.2, 0.8], [0.3, 1.0]])


def coarseness(centroids: Scores) -> float:
    """Return the mean squared distance from a point of the unit cube to its centroid."""
    points = np.random.default_rng(9).random((5000, centroids.shape[1]))
    return float(squared_distances(points, centroids).min(axis=1).mean())


@pytest.mark.parametrize(("n_cells", "n_axes"), [(50, 2), (60, 4)])
def test_cells_are_as_even_as_pyribs(n_cells: int, n_axes: int) -> None:
    ours = centroids_of(n_cells, n_axes)
    theirs, _ = k_means_centroids(centroids=n_cells, ranges=[(0.0, 1.0)] * n_axes, samples=50 * n_cells, seed=0)
    scattered = np.random.default_rng(0).random((n_cells, n_axes))
    assert ours.shape == theirs.shape
    assert coarseness(ours) < 1.06 * coarseness(theirs)
    assert coarseness(ours) < 0.8 * coarseness(scattered)
    assert ours.min() > 0
    assert ours.max() < 1


def test_centroids_are_the_same_on_every_machine() -> None:
    digest = hashlib.blake2b(centroids_of(12, 3).astype("<f8").tobytes(), digest_size=8).hexdigest()
    assert digest == "0117f9cb4a11d32d", "runs that go on after an update would have other cells"


def test_cells_without_points_keep_their_centroids(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cycleqd.tessellation.SAMPLES", 1)
    found = centroids_of.__wrapped__(40, 2)
    assert len(np.unique(found, axis=0)) == 40


@pytest.mark.parametrize("task", range(4))
def test_pyribs_puts_everybody_where_we_do(task: int) -> None:
    scores = np.random.default_rng(task).random((800, 4))
    archive = CvtArchive.empty(task, LIMITS, 30).admit(np.arange(800), scores)
    theirs = PyribsArchive(solution_dim=1, centroids=archive.centroids, ranges=[(0.0, 1.0)] * 3)
    places = archive.places_of(scores)
    for member, (row, place) in enumerate(zip(scores, places, strict=True)):
        theirs.add_single([member], row[task], place)
    data = theirs.data()
    order = np.argsort(data["index"])
    np.testing.assert_array_equal(archive.cells, data["index"][order])
    np.testing.assert_array_equal(archive.members, data["solution"][order, 0].astype(int))
    assert archive.coverage == pytest.approx(theirs.stats.coverage)
    assert archive.qd_score == pytest.approx(theirs.stats.qd_score)


def test_axes_count_alike_whatever_their_limits() -> None:
    archive = CvtArchive.empty(0, LIMITS, 10)
    scores = np.array([[0.5, 0.0, 0.2, 0.3], [0.5, 0.25, 0.5, 0.65], [0.5, 0.5, 0.8, 1.0], [0.5, 1.0, 0.0, 0.0]])
    expected = np.array([[0, 0, 0], [0.5, 0.5, 0.5], [1, 1, 1], [1, 0, 0]])
    np.testing.assert_allclose(archive.places_of(scores), expected, atol=1e-12)


def test_an_axis_without_extent_tells_nobody_apart() -> None:
    limits = np.array([[0.0, 1.0], [0.4, 0.4]])
    places = CvtArchive.empty(0, limits, 5).places_of(np.array([[0.5, 0.1], [0.5, 0.4]]))
    assert np.isfinite(places).all()
    assert places[0] == places[1]


def test_the_first_of_equally_near_centroids_counts() -> None:
    centroids = np.array([[0.25, 0.5], [0.75, 0.5], [0.25, 0.5]])
    assert nearest(np.array([[0.5, 0.5], [0.25, 0.5]]), centroids).tolist() == [0, 0]
