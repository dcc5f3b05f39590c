"""Groups of a genome's numbers: what a crossover gives one weight, from the whole model down to each direction.

Layers and modules are read off parameter names, so that every architecture has them: the layer of
``model.layers.7.self_attn.q_proj.weight`` is ``model.layers.7``, its module ``model.layers.7.self_attn.q_proj``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from cycleqd.api.search import Granularity
from cycleqd.genome import Layout

Labels = npt.NDArray[np.intp]


@dataclass(frozen=True, eq=False)
class Groups:
    """Which group each number of a genome belongs to.

    Attributes:
        count: how many groups there are.
        values: labels in [0, count) that broadcast to :attr:`Genome.values`.
        coefficients: labels that broadcast to :attr:`Genome.coefficients`.
    """

    count: int
    values: Labels
    coefficients: Labels


def layer_of(name: str) -> str:
    """Return a parameter's name up to its first whole number; ``""`` of those without one, which are one layer."""
    parts = name.split(".")
    place = next((place for place, part in enumerate(parts) if part.isdecimal()), -1)
    return ".".join(parts[: place + 1])


def module_of(name: str) -> str:
    """Return a parameter's name without its last part, so that a bias goes with its matrix."""
    return name.rpartition(".")[0]


@lru_cache(maxsize=8)
def groups_of(layout: Layout, granularity: Granularity) -> Groups:
    """Return the groups of a layout's genomes.

    ``Direction`` makes every number a group: each gain, and each expert's coefficient of each other tensor.
    """
    if granularity == "Model":
        return Groups(1, np.zeros((), np.intp), np.zeros((), np.intp))
    if granularity == "Direction":
        shape = len(layout.experts), len(layout.others)
        labels = np.arange(layout.size + shape[0] * shape[1])
        return Groups(len(labels), labels[: layout.size], labels[layout.size :].reshape(shape))
    return _by_name(layout, layer_of if granularity == "Layer" else module_of)


def _by_name(layout: Layout, part_of: Callable[[str], str]) -> Groups:
    """Group tensors by a part of their names; all experts' numbers of a tensor are in its group."""
    parts = [part_of(name) for name in (*(matrix.name for matrix in layout.matrices), *layout.others)]
    numbers = {part: number for number, part in enumerate(dict.fromkeys(parts))}
    labels = np.array([numbers[part] for part in parts], np.intp)
    matrices, others = np.split(labels, [len(layout.matrices)])
    ranks = np.array([matrix.ranks for matrix in layout.matrices], np.intp).reshape(-1, len(layout.experts))
    if layout.form == "Core":
        return Groups(len(numbers), np.repeat(matrices, ranks.sum(axis=1) ** 2), others)
    return Groups(len(numbers), np.repeat(np.tile(matrices, ranks.shape[1]), ranks.T.ravel()), others)
