"""Small random experts as dense fp64 matrices, and what a genome means in them: the oracle of the algebra's tests.

Written from the equations of the paper alone; nothing here uses cycleqd's arithmetic.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np
import numpy.typing as npt

from cycleqd.genome import Genome, Layout, Matrix

Dense = npt.NDArray[np.float64]


@dataclass(frozen=True)
class World:
    """A base model and its experts: two weight matrices (one wide, one tall) and one vector.

    Attributes:
        base: W0 of each matrix.
        tasks: task vectors, by expert, then matrix.
        vectors: task vectors of the model's one other tensor, (n_experts, 5).
        form: of the genomes.
    """

    base: tuple[Dense, ...]
    tasks: tuple[tuple[Dense, ...], ...]
    vectors: Dense
    form: Literal["Gains", "Core"]

    @cached_property
    def ranks(self) -> list[list[int]]:
        """Rank of each expert's task vector, by matrix."""
        return [[int(np.linalg.matrix_rank(expert[m])) for expert in self.tasks] for m in range(len(self.base))]

    @cached_property
    def layout(self) -> Layout:
        """Layout of this world's genomes."""
        matrices = tuple(Matrix(f"matrix{m}.weight", tuple(ranks)) for m, ranks in enumerate(self.ranks))
        return Layout(tuple(f"expert-{k}" for k in range(len(self.tasks))), matrices, ("bias",), self.form)

    def svd(self, expert: int, matrix: int) -> tuple[Dense, Dense, Dense]:
        """Return U, S, V^T of a task vector, cut to its rank."""
        left, scales, right = np.linalg.svd(self.tasks[expert][matrix], full_matrices=False)
        rank = self.ranks[matrix][expert]
        return left[:, :rank], scales[:rank], right[:rank]

    def bases(self, matrix: int) -> tuple[Dense, Dense]:
        """Return orthonormal Q_u, Q_v of the experts' stacked column and row spaces (``Core`` form)."""
        factors = [self.svd(expert, matrix) for expert in range(len(self.tasks))]
        left = np.linalg.qr(np.hstack([u for u, _, _ in factors]))[0]
        right = np.linalg.qr(np.hstack([vt.T for _, _, vt in factors]))[0]
        return left, right

    def core_genome(self, expert: int) -> Genome:
        """Return an expert's genome in ``Core`` form: M = Q_u^T tau Q_v."""
        cores = []
        for matrix, task in enumerate(self.tasks[expert]):
            left, right = self.bases(matrix)
            cores.append((left.T @ task @ right).ravel())
        coefficients = np.zeros((len(self.tasks), 1), np.float32)
        coefficients[expert] = 1.0
        return Genome(np.concatenate(cores).astype(np.float32), coefficients)

    def weights(self, genome: Genome) -> tuple[list[Dense], Dense]:
        """Materialise densely: W0 + sum_k tau_k V_k diag(g_k) V_k^T (or W0 + Q_u M Q_v^T), and sum_k c_k tau_k."""
        matrices = []
        for m, base in enumerate(self.base):
            if self.form == "Core":
                left, right = self.bases(m)
                size = left.shape[1]
                matrices.append(base + left @ genome.values[self.layout.core_of(m)].reshape(size, size) @ right.T)
                continue
            weight = base.copy()
            for k, expert in enumerate(self.tasks):
                right = self.svd(k, m)[2].T
                gains = genome.values[self.layout.gains_of(k, m)].astype(np.float64)
                weight += expert[m] @ right @ np.diag(gains) @ right.T
            matrices.append(weight)
        return matrices, genome.coefficients[:, 0].astype(np.float64) @ self.vectors


def full_rank_world(seed: int = 0) -> World:
    """Return three full-rank experts; the second one leaves the first matrix alone."""
    rng = np.random.default_rng(seed)
    shapes = [(6, 9), (8, 4)]
    base = tuple(rng.normal(size=shape) for shape in shapes)
    tasks = [[rng.normal(size=shape) for shape in shapes] for _ in range(3)]
    tasks[1][0] = np.zeros(shapes[0])
    return World(base, tuple(tuple(task) for task in tasks), rng.normal(size=(3, 5)), "Gains")


def lora_world(seed: int = 0, rank: int = 2) -> World:
    """Return three low-rank experts with genomes in ``Core`` form."""
    rng = np.random.default_rng(seed)
    shapes = [(9, 12), (14, 8)]
    base = tuple(rng.normal(size=shape) for shape in shapes)
    tasks = tuple(tuple(rng.normal(size=(m, rank)) @ rng.normal(size=(rank, n)) for m, n in shapes) for _ in range(3))
    return World(base, tasks, rng.normal(size=(3, 5)), "Core")
