"""Archive inserts: ours against pyribs' ``add_single`` on the same inserts, cell for cell equal.

Run ``python -m benchmarks.archive``. A million random individuals of three tasks are offered to one 15 x 15 archive:
to ours in one batch, and in batches of a thousand. pyribs' ``add_single`` is timed on slices of the same inserts that
alternate with ours, and its time for the million is extrapolated from them, because it takes minutes; that both
archives are equal is checked on all million inserts, with pyribs' batch ``add``.
"""

from __future__ import annotations

import argparse
import sys
import time

import numpy as np
import numpy.typing as npt
from ribs.archives import GridArchive as PyribsArchive

from benchmarks.report import Figure, at_least, publish
from cycleqd.archive import EMPTY, GridArchive
from cycleqd.limits import bin_edges

LIMITS = np.array([[0.1003, 0.7207], [0.0501, 0.9111], [0.2009, 0.8301]])
LATTICE = 997
"""Scores are multiples of 1/997: ties are common, and none lies on a bin's edge, where pyribs' rule is another one."""
BINS, SLICES, CHUNK = 15, 5, 1000

Scores = npt.NDArray[np.float64]


def _empty() -> GridArchive:
    return GridArchive.empty(0, bin_edges(LIMITS, BINS))


def _pyribs() -> PyribsArchive:
    ranges = [(float(low), float(high)) for low, high in LIMITS[1:]]
    return PyribsArchive(solution_dim=1, dims=(BINS, BINS), ranges=ranges, epsilon=1e-12, dtype=np.float64)


def _occupants(archive: PyribsArchive) -> npt.NDArray[np.int64]:
    data = archive.data()
    grid = np.full((BINS, BINS), EMPTY, np.int64)
    grid.flat[data["index"]] = data["solution"][:, 0].astype(np.int64)
    return grid


def _in_batches(scores: Scores, size: int) -> tuple[GridArchive, float]:
    """Return the archive after all inserts and the seconds it took."""
    members = np.arange(len(scores))
    archive = _empty()
    start = time.perf_counter()
    for first in range(0, len(scores), size):
        archive = archive.admit(members[first : first + size], scores[first : first + size])
    return archive, time.perf_counter() - start


def _one_by_one(archive: PyribsArchive, first: int, scores: Scores) -> float:
    """Return the seconds that pyribs takes."""
    start = time.perf_counter()
    for member, row in enumerate(scores, start=first):
        archive.add_single([member], row[0], row[1:])
    return time.perf_counter() - start


def main() -> int:
    """Measure and publish."""
    parser = argparse.ArgumentParser(description="Archive inserts against pyribs.")
    parser.add_argument("--inserts", type=int, default=1_000_000)
    parser.add_argument("--sample", type=int, default=25_000, help="inserts on which add_single is timed")
    options = parser.parse_args()
    n, share = options.inserts, options.sample // SLICES
    scores = np.random.default_rng(0).integers(0, LATTICE + 1, (n, 3)) / LATTICE

    single, theirs, ours, batched = _pyribs(), 0.0, [], []
    for k in range(SLICES):  # alternating, so that a busy machine slows both down
        theirs += _one_by_one(single, k * share, scores[k * share : (k + 1) * share])
        whole, seconds = _in_batches(scores, n)
        ours.append(seconds)
        chunked, seconds = _in_batches(scores, CHUNK)
        batched.append(seconds)
    per_insert = theirs / (share * SLICES)
    at_once, in_chunks = float(np.median(ours)) / n, float(np.median(batched)) / n

    everything = _pyribs()
    everything.add(np.arange(n)[:, None], scores[:, 0], scores[:, 1:])
    sample, _ = _in_batches(scores[: share * SLICES], CHUNK)
    equal = (
        np.array_equal(whole.grid(), _occupants(everything))
        and np.array_equal(chunked.grid(), whole.grid())
        and np.array_equal(sample.grid(), _occupants(single))
    )
    return publish(
        __file__,
        [
            Figure(f"pyribs add_single, mean of {share * SLICES} inserts", per_insert * 1e6, "us/insert"),
            Figure(f"pyribs add_single, {n} inserts (extrapolated)", per_insert * n, "s"),
            Figure(f"ours, {n} inserts in one batch", at_once * n, "s"),
            Figure(f"ours, {n} inserts in batches of {CHUNK}", in_chunks * n, "s"),
            at_least("speed-up, one batch", per_insert / at_once, "x", 100),
            at_least(f"speed-up, batches of {CHUNK}", per_insert / in_chunks, "x", 100),
            at_least("archives equal cell for cell (1: yes)", float(equal), "", 1),
        ],
    )


if __name__ == "__main__":
    sys.exit(main())
