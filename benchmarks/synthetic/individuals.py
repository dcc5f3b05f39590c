"""Individuals as gains, and the items that they solve. No model answers, but crossover and mutation are the paper's.

An item of task k has a margin, and is solved where that is positive: expert k's gains raise it, less and less (a skill
saturates); the other experts' gains lower it (they interfere); which gains matter to it and how hard it is are its own.
So children resemble their parents item by item, and nobody has all skills for free. The constants give what the first
children of the quickstart show: experts score .97 on their own task and .05 on others, averages of two about .65, of
three .4; and of the items that both, one, or none of its parents solve, a child solves .97, .53 and .06 (here .99, .58
and .05).
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

TASKS, POOL, DIRECTIONS = 3, 600, 24
"""Items of each task's pool, a score over all of which is taken for the true one; gains of each expert."""
OFFSET, SKILL, INTERFERENCE = -1.2, 3.1, 0.6
"""Of a margin, in standard deviations of difficulty over items: without experts, by an expert, by each other one."""

Gains = npt.NDArray[np.float64]
"""(TASKS, DIRECTIONS), an expert a row."""
Outcomes = npt.NDArray[np.float64]
"""(TASKS, n_items) 1 where an item is solved, else 0."""


@dataclass
class Individuals:
    """Experts and children, by id.

    Attributes:
        rng: of everything.
        gains: by id.
        difficulty: (TASKS, POOL) of the items.
        weights: (TASKS, POOL, TASKS, DIRECTIONS) how much each gain matters to an item; an expert's sum to 1.
    """

    rng: np.random.Generator
    gains: list[Gains] = field(default_factory=list)
    difficulty: npt.NDArray[np.float64] = field(init=False)
    weights: npt.NDArray[np.float64] = field(init=False)

    def __post_init__(self) -> None:
        self.difficulty = self.rng.normal(size=(TASKS, POOL))
        self.weights = self.rng.dirichlet(np.full(DIRECTIONS, 0.3), (TASKS, POOL, TASKS))
        self.gains += [
            np.where(np.arange(TASKS)[:, None] == k, 1.0, np.zeros((TASKS, DIRECTIONS))) for k in range(TASKS)
        ]

    def breed(self, parents: tuple[int, int], task: int) -> int:
        """Add a child, mutated along the expert of ``task``, and return its id."""
        first, second = self.rng.normal(1.0, 0.03, 2)
        child = (first * self.gains[parents[0]] + second * self.gains[parents[1]]) / (first + second)
        child[task] += self.rng.uniform(0.0, 0.3, DIRECTIONS)
        self.gains.append(child)
        return len(self.gains) - 1

    def outcomes(self, individual: int, items: slice) -> Outcomes:
        """Return which of these items are solved."""
        strength = np.einsum("kied,ed->kie", self.weights[:, items], self.gains[individual])
        own = np.diagonal(strength, axis1=0, axis2=2).T
        margin = OFFSET + SKILL * np.tanh(own) / np.tanh(1.0) - INTERFERENCE * (strength.sum(axis=2) - own)
        solved: Outcomes = (margin > self.difficulty[:, items]).astype(np.float64)
        return solved

    def truth(self, individual: int) -> npt.NDArray[np.float64]:
        """Return (TASKS,) scores over the whole pool."""
        scores: npt.NDArray[np.float64] = self.outcomes(individual, slice(None)).mean(axis=1)
        return scores
