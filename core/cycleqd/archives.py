"""The archives of all tasks, of whatever type the manifest asks for."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from cycleqd.api.search import ArchiveType, Cvt, DominatedNovelty, Grid
from cycleqd.archive import Archive, GridArchive, Ids, Scores
from cycleqd.distances import between_items, between_scores
from cycleqd.limits import axis_limits, bin_edges
from cycleqd.novelty import NoveltyArchive
from cycleqd.tessellation import CvtArchive

Outcomes = npt.NDArray[np.bool_]
"""(n, n_items) whether the items of one task were right."""


def archives_of(
    settings: ArchiveType, ids: Ids, scores: Scores, n_experts: int, items: Sequence[Outcomes] = ()
) -> tuple[Archive, ...]:
    """Return one archive per task, to which everybody was offered in the order of their ids.

    Args:
        settings: type of the archives.
        ids: (n,) ascending; the experts come first.
        scores: (n, n_tasks) in [0, 1].
        n_experts: whose scores set the limits of archives that have some.
        items: per task (n, n_items) outcomes, where :func:`compares_items`.
    """
    n_tasks = scores.shape[1]
    match settings:
        case Grid():
            edges = bin_edges(axis_limits(scores[:n_experts], settings), settings.bins)
            return tuple(GridArchive.empty(task, edges).admit(ids, scores) for task in range(n_tasks))
        case Cvt():
            limits = axis_limits(scores[:n_experts], settings)
            return tuple(CvtArchive.empty(task, limits, settings.cells).admit(ids, scores) for task in range(n_tasks))
        case DominatedNovelty():
            return tuple(_novelty(settings, task, ids, scores, items) for task in range(n_tasks))


def _novelty(
    settings: DominatedNovelty, task: int, ids: Ids, scores: Scores, items: Sequence[Outcomes]
) -> NoveltyArchive:
    others = [axis for axis in range(scores.shape[1]) if axis != task]
    distances = between_items(items, others) if compares_items(settings) else between_scores(scores, others)
    return NoveltyArchive.of(task, ids, scores, distances, settings.size, settings.neighbours)


def compares_items(settings: ArchiveType) -> bool:
    """Return whether these archives need the outcome of every item, not only the scores."""
    return settings.type == "DominatedNovelty" and settings.behaviour == "Items"
