"""Distances between individuals' behaviours, the same to the last bit on every machine: archives depend on them.

A behaviour is what an individual does on the tasks that are not an archive's own: its scores there, or its outcome on
every item. Numbers are subtracted, squared and added axis by axis: so no library adds them in an order of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

WORD = 64
"""Bits of the words in which outcomes are counted."""

Floats = npt.NDArray[np.float64]
Rows = npt.NDArray[np.int64]

Distances = Callable[[Rows, Rows], Floats]
"""(n,) and (m,) rows to the (n, m) distances between these individuals."""


def squared_distances(one: Floats, other: Floats) -> Floats:
    """Return the (n, m) squared Euclidean distances between points (n, n_axes) and (m, n_axes)."""
    total = np.zeros((len(one), len(other)))
    for axis in range(one.shape[1]):
        apart = np.subtract.outer(one[:, axis], other[:, axis])
        total += np.multiply(apart, apart, out=apart)
    return total


def between_scores(scores: Floats, axes: Sequence[int]) -> Distances:
    """Return the Euclidean distances between the scores on some tasks.

    Args:
        scores: (n, n_tasks) in [0, 1].
        axes: the tasks.
    """
    behaviours = scores[:, list(axes)]
    return lambda rows, others: np.sqrt(squared_distances(behaviours[rows], behaviours[others]))


def between_items(items: Sequence[npt.NDArray[np.bool_]], axes: Sequence[int]) -> Distances:
    """Return the root of the share of items on which just one of two individuals is right, summed over some tasks.

    That is the Euclidean distance between vectors of zeros and ones in which every task counts the same, however many
    items it has.

    Args:
        items: per task (n, n_items), whether each item was right.
        axes: the tasks.
    """
    words = [_words(items[axis]) for axis in axes]
    sizes = [items[axis].shape[1] for axis in axes]

    def distances(rows: Rows, others: Rows) -> Floats:
        total = np.zeros((len(rows), len(others)))
        for table, size in zip(words, sizes, strict=True):
            differing = sum(np.bitwise_count(word[rows, None] ^ word[others]).astype(np.uint32) for word in table.T)
            total += differing / size
        return np.sqrt(total, out=total)

    return distances


def _words(table: npt.NDArray[np.bool_]) -> npt.NDArray[np.uint64]:
    """Pack rows (n, n_items) of truths into (n, n_words) words of 64 bits."""
    padded = np.pad(table, ((0, 0), (0, -table.shape[1] % WORD)))
    return np.packbits(padded, axis=1).view(np.uint64)
