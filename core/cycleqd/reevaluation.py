"""Re-evaluation: which elite owes its cell to luck, and when that is looked into.

It belongs to children: before every so-many-th child, the worker that breeds it asks one elite the reserve items. So it
needs no work of its own, and in strict runs the children that see that child's result see it, too. What the second
evaluation does to the scores is :mod:`cycleqd.pooling`'s knowledge.
"""

from __future__ import annotations

from collections.abc import Collection

import numpy as np

from cycleqd.api.search import Search
from cycleqd.cycle import child_number
from cycleqd.fold import Population


def is_due(individual: int, n_experts: int, search: Search) -> bool:
    """Return whether an elite is to be re-evaluated before the child with id ``individual``."""
    every = search.noise.reevaluate_every
    return every > 0 and child_number(individual, n_experts) % every == 0


def surprises(population: Population) -> dict[int, float]:
    """Return by how much the children among the elites exceed what their parents let expect, as far as they do.

    An elite counts with the task whose archive it sits in; of several, with the one that surprises most.
    """
    found: dict[int, float] = {}
    pooled = population.pooled
    if pooled is None:
        return found
    for archive in population.archives:
        for member in map(int, archive.members):
            row = pooled.row_of[member]
            surprise = float(pooled.means[row, archive.task] - pooled.expected[row, archive.task])
            if surprise > found.get(member, 0.0):  # NaN, of experts, is not
                found[member] = surprise
    return found


def suspect(population: Population, known: Collection[int], rng: np.random.Generator) -> int | None:
    """Draw the elite that is evaluated again, in proportion to the square of its surprise; None: nobody surprises.

    A draw, not the maximum: workers that are at it at one time then mostly choose different elites.

    Args:
        population: that the worker sees.
        known: ids that were evaluated again already.
        rng: of the draw.
    """
    suspects = {member: value for member, value in sorted(surprises(population).items()) if member not in known}
    if not suspects:
        return None
    weights = np.array(list(suspects.values())) ** 2
    return int(rng.choice(list(suspects), p=weights / weights.sum()))
