"""Limits, edges and bins: the paper's worked facts."""

from __future__ import annotations

import numpy as np
import pytest

from cycleqd.api.search import Grid
from cycleqd.limits import axis_limits, bin_edges, bin_index


@pytest.mark.parametrize(
    ("scores", "lower", "upper"),
    [
        pytest.param([0.2, 0.6], 0.17, 0.69, id="0.85 of the weakest, 1.15 of the strongest"),
        pytest.param([0.5, 0.95], 0.425, 1.0, id="clipped to 1"),
        pytest.param([0.0, 0.0], 0.0, 0.0, id="all zero"),
        pytest.param([0.0, 0.4], 0.0, 0.46, id="weakest zero"),
        pytest.param([1.0, 1.0], 0.85, 1.0, id="all perfect"),
        pytest.param([0.6, 0.2], 0.17, 0.69, id="order of the experts does not matter"),
    ],
)
def test_limits_of_one_axis(scores: list[float], lower: float, upper: float) -> None:
    limits = axis_limits(np.array(scores)[:, None], Grid())
    np.testing.assert_allclose(limits, [[lower, upper]], atol=1e-12)


def test_every_axis_has_its_own_limits() -> None:
    limits = axis_limits([[0.8, 0.1], [0.2, 0.5]], Grid(lower_factor=0.5, upper_factor=2.0))
    np.testing.assert_allclose(limits, [[0.1, 1.0], [0.05, 1.0]])


def test_edges_are_linspace_of_bins_plus_one() -> None:
    edges = bin_edges(np.array([[0.0, 0.75], [0.3, 0.6]]), 15)
    assert edges.shape == (2, 16)
    np.testing.assert_allclose(edges[0], np.arange(16) * 0.05)
    np.testing.assert_allclose(edges[1], np.linspace(0.3, 0.6, 16))


# Edges that floats hold exactly: 0.25, 0.375, 0.5, 0.625, 0.75.
EDGES = np.array([0.25, 0.375, 0.5, 0.625, 0.75])


@pytest.mark.parametrize(
    ("value", "index"),
    [
        pytest.param(0.0, 0, id="far below: first bin"),
        pytest.param(0.25, 0, id="on the lower limit: first bin"),
        pytest.param(0.26, 0, id="inside the first bin"),
        pytest.param(0.375, 0, id="on an inner edge: the bin below, (lo, hi]"),
        pytest.param(np.nextafter(0.375, 1.0), 1, id="just above an inner edge: the bin above"),
        pytest.param(0.5, 1, id="on the middle edge"),
        pytest.param(0.625, 2, id="on the last inner edge"),
        pytest.param(0.75, 3, id="on the upper limit: last bin"),
        pytest.param(1.0, 3, id="far above: last bin"),
    ],
)
def test_bins_are_open_below_and_closed_above(value: float, index: int) -> None:
    assert bin_index([value], EDGES).tolist() == [index]


def test_an_axis_without_extent_has_every_value_in_an_edge_bin() -> None:
    edges = bin_edges(np.array([[0.5, 0.5]]), 15)[0]
    assert bin_index([0.4, 0.5, 0.6], edges).tolist() == [0, 0, 14]
