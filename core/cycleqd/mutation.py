"""Mutation: rescaling singular directions, section 4.4 of the paper, and the variants it is compared with.

The paper's printed formula replaces a task vector by its scaled version; the authors' code adds the scaled version.
Replacing would shrink every child to about 15 %, so we add, as they do.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

import numpy as np

from cycleqd.api.search import GaussianMutation, Mutation, SvdMutation
from cycleqd.genome import Genome, Layout, Vector

Mutate = Callable[[Genome, Layout, int, Mutation, np.random.Generator], Vector]
# ruff: noqa: ARG001 - all kinds of mutation have one signature, so that they can stand in one table


def _directions(law: SvdMutation, count: int, rng: np.random.Generator) -> Vector:
    """Return w / maxScale of each direction: (count,) in [0, 1], or [-1, 1] if signed; 0 where nothing changes."""
    weights = rng.random(count, np.float32)
    if law.signed:
        weights = np.float32(2.0) * weights - np.float32(1.0)
    if law.density < 1.0:
        weights = np.where(rng.random(count) < law.density, weights, np.float32(0.0))
    return weights


def _expert_directions(genome: Genome, layout: Layout, expert: int, law: Mutation, rng: np.random.Generator) -> Vector:
    """Return the step that adds U diag(w S) V^T of the expert's task vector: w on the expert's own gains."""
    law = cast(SvdMutation, law)
    step = np.zeros_like(genome.values)
    own = layout.gains_of(expert)
    step[own] = _directions(law, own.stop - own.start, rng) * np.float32(law.max_scale)
    return step


def _child_directions(genome: Genome, layout: Layout, expert: int, law: Mutation, rng: np.random.Generator) -> Vector:
    """Return the step that adds U diag(w S) V^T of the child's own task vector: an SVD of each small core."""
    law = cast(SvdMutation, law)
    step = np.zeros_like(genome.values)
    for index, matrix in enumerate(layout.matrices):
        block = layout.core_of(index)
        rank = sum(matrix.ranks)
        left, scales, right = np.linalg.svd(genome.values[block].reshape(rank, rank).astype(np.float64))
        weights = _directions(law, rank, rng).astype(np.float64) * law.max_scale
        step[block] = ((left * (weights * scales)) @ right).ravel()
    return step


def _gaussian(genome: Genome, layout: Layout, expert: int, law: Mutation, rng: np.random.Generator) -> Vector:
    """Return independent normal noise on every number of the genome."""
    law = cast(GaussianMutation, law)
    return rng.standard_normal(genome.values.shape, np.float32) * np.float32(law.standard_deviation)


def _nothing(genome: Genome, layout: Layout, expert: int, law: Mutation, rng: np.random.Generator) -> Vector:
    """Return no step at all."""
    return np.zeros_like(genome.values)


_TABLE: dict[tuple[str, str], Mutate] = {
    ("Svd", "Gains"): _expert_directions,
    ("Svd", "Core"): _child_directions,
    ("Gaussian", "Gains"): _gaussian,
    ("Gaussian", "Core"): _gaussian,
    ("None", "Gains"): _nothing,
    ("None", "Core"): _nothing,
}


def mutate(
    genome: Genome, layout: Layout, expert: int, law: Mutation, rng: np.random.Generator
) -> tuple[Genome, float]:
    """Return the mutated genome and the root mean square of the step.

    Args:
        genome: of the crossover's child.
        layout: its form decides what "singular directions" are: the expert's (``Gains``) or the child's (``Core``).
        expert: index of the active task's expert.
        law: kind and size of the mutation.
        rng: generator of this child's mutation.
    """
    step = _TABLE[law.type, layout.form](genome, layout, expert, law, rng)
    size = float(np.sqrt(np.mean(np.square(step, dtype=np.float64)))) if step.size else 0.0
    return Genome(genome.values + step, genome.coefficients), size
