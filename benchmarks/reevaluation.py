"""Re-evaluation: how lucky elites are, and what asking some of them further items does about it, at an equal budget.

Run ``python -m benchmarks.reevaluation``. No model answers: individuals are made up (benchmarks/synthetic), so their
true scores are known; sampling, fold and doubt are the product's own. Every run may ask the same number of items; what
goes to second evaluations is missing in children. Runs are made side by side, as many as there are cores.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from itertools import islice

import numpy as np

from benchmarks.report import Figure, publish
from benchmarks.synthetic.individuals import TASKS, Individuals
from cycleqd.api.search import EliteSampling, Grid
from cycleqd.fold import Entry, Population, fold
from cycleqd.pooling import Pooling
from cycleqd.reevaluation import suspect
from cycleqd.sampling import sample_parents

ITEMS, RESERVE = 48, 24
"""Of each task: search items as in the quickstart, and what elites in doubt are asked."""


@dataclass(frozen=True)
class Method:
    """How much doubt there is.

    Attributes:
        name: for people.
        every_children: one elite is evaluated again before every so-many-th child; 0: none.
        prior_items: strength of the prior.
    """

    name: str
    every_children: int
    prior_items: float


METHODS = (
    Method("the paper", 0, 0.0),
    Method("prior alone", 0, 8.0),
    Method("re-evaluation alone", 10, 0.0),
    Method("both", 10, 8.0),
)
BINS = (15, 5)
"""Of the archives' axes, the paper's and fewer: then more individuals compete for a cell."""


@dataclass
class Run:
    """One made-up run."""

    method: Method
    bins: int
    people: Individuals
    entries: list[Entry] = field(default_factory=list)

    @property
    def population(self) -> Population:
        """Everybody, as the method scores them."""
        pooling = Pooling((ITEMS,) * TASKS, (RESERVE,) * TASKS, self.method.prior_items)
        return fold(self.entries, TASKS, Grid(bins=self.bins), pooling)

    def execute(self, budget: int) -> Run:
        """Breed until ``budget`` items of each task were asked."""
        for expert in range(TASKS):
            self._ask(expert, ())
        child = TASKS
        while self._spent() < budget:
            population = self.population
            if self.method.every_children and (child - TASKS + 1) % self.method.every_children == 0:
                self._doubt(population)
            archive = population.archives[(child - TASKS + 1) % TASKS]
            rows = sample_parents(archive, EliteSampling(), self.people.rng)
            parents = tuple(int(archive.members[row]) for row in rows)
            child = self.people.breed((parents[0], parents[1]), archive.task)
            self._ask(child, parents)
            child += 1
        return self

    def _ask(self, individual: int, parents: tuple[int, ...]) -> None:
        scores = self.people.outcomes(individual, slice(ITEMS)).mean(axis=1)
        self.entries.append(Entry(individual, 0, tuple(map(float, scores)), parents=parents))

    def _doubt(self, population: Population) -> None:
        known = {entry.id for entry in self.entries if entry.evaluation}
        elite = suspect(population, known, self.people.rng)
        if elite is not None:
            scores = self.people.outcomes(elite, slice(ITEMS, ITEMS + RESERVE)).mean(axis=1)
            self.entries.append(Entry(elite, 1, tuple(map(float, scores))))

    def _spent(self) -> int:
        return sum(RESERVE if entry.evaluation else ITEMS for entry in self.entries)

    def outcome(self) -> tuple[float, float, float]:
        """Return, in points: elites' luck, their true quality, and the best member's true mean."""
        population = self.population
        elites = [(int(member), archive.task) for archive in population.archives for member in archive.members]
        shown = [float(score) for archive in population.archives for score in archive.qualities]
        true = [float(self.people.truth(member)[task]) for member, task in elites]
        best = int(population.ids[np.lexsort((population.ids, population.scores.mean(axis=1)))[-1]])
        luck, quality = float(np.mean(shown) - np.mean(true)), float(np.mean(true))
        return 100 * luck, 100 * quality, 100 * float(self.people.truth(best).mean())


def play(method: Method, bins: int, seed: int, budget: int) -> tuple[float, float, float]:
    """Return the outcome of one run."""
    return Run(method, bins, Individuals(np.random.default_rng(seed))).execute(budget).outcome()


def figures_of(bins: int, runs: int, outcomes: Iterator[tuple[float, float, float]]) -> list[Figure]:
    """Return how all methods end with the same seeds, from the outcomes of their runs in that order."""
    figures, paper = [], np.empty(0)
    for method in METHODS:
        luck, quality, best = np.array(list(islice(outcomes, runs))).T
        name = f"{bins} bins, {method.name}"
        figures += [
            Figure(f"{name}: elites' scores exceed the truth by", float(luck.mean()), "points"),
            Figure(f"{name}: elites' true quality", float(quality.mean()), "points"),
            Figure(f"{name}: true mean of the best member", float(best.mean()), "points"),
        ]
        if method is METHODS[0]:
            paper = best
        else:
            error = float((best - paper).std(ddof=1)) / runs**0.5
            figures.append(Figure(f"{name}: its standard error against the paper", error, "points"))
    return figures


def main() -> int:
    """Measure and publish."""
    parser = argparse.ArgumentParser(description="What doubt about lucky elites is worth.")
    parser.add_argument("--runs", type=int, default=12, help="of each method, with the same seeds")
    parser.add_argument("--children", type=int, default=300, help="of a run without second evaluations")
    options = parser.parse_args()
    budget = ITEMS * (TASKS + options.children)
    figures = [Figure("children of a run without second evaluations", options.children, "")]
    work = [(method, bins, seed, budget) for bins in BINS for method in METHODS for seed in range(options.runs)]
    with ProcessPoolExecutor(os.cpu_count()) as processes:
        outcomes = processes.map(play, *zip(*work, strict=True))
        for bins in BINS:
            figures += figures_of(bins, options.runs, outcomes)
    return publish(__file__, figures, packages=("numpy",))


if __name__ == "__main__":
    sys.exit(main())
