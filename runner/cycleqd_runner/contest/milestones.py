"""Test scores along a search that is over. Nothing is chosen by them: they are drawn, and that is all."""

from __future__ import annotations

from collections.abc import Sequence

from cycleqd_runner.contest.search import Progress
from cycleqd_runner.contest.trials import Point


async def tested_curve(progress: Progress, shares: Sequence[float], final: float) -> tuple[Point, ...]:
    """Return the steps of a search, with test scores at some and at the end.

    Args:
        progress: of the search.
        shares: of the tokens that it was allowed, in (0, 1); the last step before each is tested.
        final: mean test score of the final model, in [0, 1].
    """
    scores = {len(progress.curve) - 1: final}
    for share in shares:
        place = sum(point.tokens <= share * progress.meter.limit for point in progress.curve) - 1
        leader = progress.leaders[place] if place >= 0 else None
        if leader and place not in scores:
            model = leader()
            scores[place] = (await model.scoring.on("test", model.label, model.model)).mean
    return tuple(point.model_copy(update={"test": scores.get(k)}) for k, point in enumerate(progress.curve))
