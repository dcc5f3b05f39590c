"""What a child is raced against, from the results in the store. How it ends is :mod:`cycleqd.racing`'s knowledge."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from cycleqd.fold import Population
from cycleqd.pooling import Pooling
from cycleqd.racing import Race
from cycleqd_runner.session import Session


def open_race(session: Session, individual: int, parents: Sequence[int], population: Population) -> Race | None:
    """Return the race of a child against the elites of ``population``; None: racing is off.

    Elites' results are read once and then remembered (:attr:`~cycleqd_runner.session.Session.result_of`).
    """
    search = session.spec.search
    if not search.racing.enabled or population.pooled is None:
        return None
    elites = np.unique(np.concatenate([archive.members for archive in population.archives]))
    results = [session.result_of(int(elite)) for elite in elites]
    incumbents = tuple(
        np.array([[outcome.score for outcome in result.evaluations[task].outcomes] for result in results], np.float64)
        for task in range(len(session.spec.tasks))
    )
    return Race(
        settings=search.racing,
        individual=individual,
        seed=search.seed,
        archives=population.archives,
        incumbents=incumbents,
        pooling=Pooling.of(session.spec),
        expected=population.pooled.expected_of(parents),
    )
