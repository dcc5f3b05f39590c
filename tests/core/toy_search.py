"""A search whose scores are a formula: the distance of the gains from an optimum per task. No models."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from cycleqd.emitter import Paper
from cycleqd.fold import Entry, fold
from cycleqd.genome import Genome, Layout, Matrix, expert_genome
from tests.core.support import run_spec

RANK = 6
LAYOUT = Layout(("sql", "shell"), (Matrix("layers.0.weight", (RANK, RANK)),))


@dataclass(frozen=True)
class ToySearch:
    """What a search found.

    Attributes:
        genomes: by id.
        draws: of each child, by id.
        best_mean: of anybody, over the tasks.
    """

    genomes: dict[int, Genome]
    draws: dict[int, dict[str, float]]
    best_mean: float


def toy_search(seed: int, mutation: Mapping[str, Any], children: int = 300, **search: Any) -> ToySearch:
    """Run a search of two experts, one child after another."""
    spec = run_spec(2, search={"seed": seed, "mutation": mutation, **search})
    genomes = {k: expert_genome(LAYOUT, k) for k in range(2)}
    draws: dict[int, dict[str, float]] = {}
    paper = Paper(spec, LAYOUT, lambda individual: draws.get(individual, {}))
    entries = [Entry(k, 0, scores_of(genome)) for k, genome in genomes.items()]
    for child in range(2, 2 + children):
        proposal = paper.propose(child, fold(entries, 2, spec.search.archive), genomes.__getitem__)
        genomes[child], draws[child] = proposal.genome, proposal.draws
        entries.append(Entry(child, 0, scores_of(proposal.genome)))
    return ToySearch(genomes, draws, float(fold(entries, 2, spec.search.archive).scores.mean(axis=1).max()))


def scores_of(genome: Genome) -> tuple[float, float]:
    """Return the scores of gains: 1 at each task's optimum, less the further away."""
    first, second = np.random.default_rng(5).normal(0.5, 0.15, (2, 2 * RANK))
    return _score(genome, first), _score(genome, second)


def _score(genome: Genome, optimum: np.ndarray) -> float:
    return float(np.exp(-0.5 * np.sum((genome.values - optimum) ** 2)))
