"""Candidate final models as blends of individuals: the paper's aggregate, best members, and greedy combinations.

A blend is a weighted mean of genomes, so every candidate costs one evaluation and no checkpoint. Scoring them on the
validation split and exporting the chosen one is the runner's ``finalize`` role.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

import numpy as np

from cycleqd.emitter import GenomeOf
from cycleqd.fold import Population
from cycleqd.genome import Genome, combine


@dataclass(frozen=True)
class Blend:
    """A weighted mean of individuals.

    Attributes:
        name: for people, unique among a run's candidates; also a key segment in the store.
        weights: share of each individual by id; they sum to 1.
        polish: gradient steps after blending (``cycleqd_runner.guide``).
    """

    name: str
    weights: dict[int, float]
    polish: int = 0

    def genome(self, genome_of: GenomeOf) -> Genome:
        """Return the blend's genome, before it is polished."""
        return combine([genome_of(individual) for individual in self.weights], list(self.weights.values()))


def average(n_experts: int) -> Blend:
    """Return the plain mean of the experts."""
    return Blend("average", dict.fromkeys(range(n_experts), 1.0 / n_experts))


def aggregate(population: Population) -> Blend:
    """Return the paper's final model: theta0 + sum_k beta_k tau_k over the best member of each archive.

    beta = softmax of the members' qualities, each on its own archive's task (section 4.5); ties go to the most recent.
    """
    best = [(archive, archive.best()) for archive in population.archives]
    shares = np.exp([archive.qualities[row] for archive, row in best])
    weights: dict[int, float] = defaultdict(float)
    for (archive, row), share in zip(best, shares / shares.sum(), strict=True):
        weights[int(archive.members[row])] += float(share)
    return Blend("aggregate", dict(weights))


def best_members(population: Population, count: int) -> list[Blend]:
    """Return the individuals with the best mean search score, best first; among equals the most recent."""
    order = np.lexsort((population.ids, population.scores.mean(axis=1)))[::-1][:count]
    return [Blend(f"individual-{population.ids[row]}", {int(population.ids[row]): 1.0}) for row in order]


def polished(blend: Blend, steps: int) -> Blend:
    """Return the candidate that ``steps`` of guidance make of a blend."""
    return Blend(f"{blend.name}-polished", blend.weights, steps)


def mix(name: str, blends: Sequence[Blend]) -> Blend:
    """Return the uniform mean of blends."""
    weights: dict[int, float] = defaultdict(float)
    for blend in blends:
        for individual, weight in blend.weights.items():
            weights[individual] += weight / len(blends)
    return Blend(name, dict(weights))


async def greedy(
    ranked: Sequence[Blend], best: float, score: Callable[[Blend], Awaitable[float]], steps: int
) -> list[Blend]:
    """Combine blends greedily: take in the next best one if the uniform mean scores strictly better.

    Args:
        ranked: candidates, best on validation first.
        best: the first candidate's validation score.
        score: validation score of a blend, in [0, 1].
        steps: how many candidates are tried beside the first.

    Returns:
        The mixes that were tried, in order; each is also scored.
    """
    inside, tried = [ranked[0]], list[Blend]()
    for candidate in ranked[1 : steps + 1]:
        trial = mix(f"greedy-{len(tried) + 1}", [*inside, candidate])
        tried.append(trial)
        reached = await score(trial)
        if reached > best:
            inside, best = [*inside, candidate], reached
    return tried
