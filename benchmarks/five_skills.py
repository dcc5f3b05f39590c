"""Archives of every type on a made-up problem of five skills: how good children get, and how many are elites.

Run ``python -m benchmarks.five_skills``. Archives, sampling, crossover and mutation are the product's own; only the
scores are made up, by a formula in which experts' directions help their own task and hurt the others, and are then
measured on 48 items a task, with luck. So it needs no model. It says how strongly each archive selects, not which suits
real models best. Searches are made side by side, as many as there are cores.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Mapping
from concurrent.futures import ProcessPoolExecutor
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks.report import Figure, publish
from cycleqd.api import RunSpec
from cycleqd.emitter import Paper
from cycleqd.fold import Entry, Population, fold
from cycleqd.genome import Genome, Layout, Matrix, expert_genome

TASKS = ("a", "b", "c", "d", "e")
DIRECTIONS = 64
"""Of each expert; a model has millions."""
ITEMS = 48
LUCK = 0.15
"""Standard deviation of how hard an item is for one individual; items are from 0 (easy) to 1."""
LAST = 100
"""Children whose true scores say where a search has got to."""
ARCHIVES: Mapping[str, Mapping[str, Any]] = {
    "Grid": {},
    "Grid, 3 bins": {"bins": 3},
    "Cvt, 50 cells": {"type": "Cvt", "cells": 50},
    "DominatedNovelty": {"type": "DominatedNovelty"},
    "DominatedNovelty, size 100": {"type": "DominatedNovelty", "size": 100},
    "DominatedNovelty of items": {"type": "DominatedNovelty", "behaviour": "Items"},
}


def _spec(seed: int, archive: Mapping[str, Any]) -> RunSpec:
    return RunSpec.model_validate(
        {
            "baseModel": {"uri": "base"},
            "experts": [{"name": name, "uri": name} for name in TASKS],
            "tasks": [{"name": name, "expert": name, "evaluator": {"type": "Sql"}} for name in TASKS],
            "storage": {"uri": "none"},
            "search": {"seed": seed, "archive": archive},
        }
    )


def _skill(genome: Genome) -> npt.NDArray[np.float64]:
    """Return the true scores (n_tasks,): each task likes some directions of its expert, dislikes those of others."""
    n_tasks = len(TASKS)
    gains = genome.values.reshape(n_tasks, DIRECTIONS).astype(float)
    likes = np.random.default_rng(7).normal(0.6, 1.0, (n_tasks, n_tasks, DIRECTIONS)) / DIRECTIONS
    own = np.einsum("kkd,kd->k", likes, gains)
    hurt = np.einsum("kjd,jd->k", np.abs(likes), gains) - np.einsum("kkd,kd->k", np.abs(likes), gains)
    skill: npt.NDArray[np.float64] = 1 / (1 + np.exp(1.5 - 6 * own + 0.9 * hurt))
    return skill


def _measured(individual: int, skill: npt.NDArray[np.float64], seed: int) -> Entry:
    """Return what an evaluation says of an individual."""
    hard = np.random.default_rng(seed).random((len(TASKS), ITEMS))
    hard += np.random.default_rng([seed, individual]).normal(0.0, LUCK, hard.shape)
    right = skill[:, None] > np.clip(hard, 0.001, 0.999)
    texts = tuple("".join("1" if answer else "0" for answer in row) for row in right)
    return Entry(individual, 0, tuple(map(float, right.mean(axis=1))), items=texts)


def _search(name: str, seed: int, children: int) -> tuple[Population, npt.NDArray[np.float64]]:
    """Return the population in the end, and the true scores (n, n_tasks)."""
    spec, layout = _spec(seed, ARCHIVES[name]), Layout(TASKS, (Matrix("w", (DIRECTIONS,) * len(TASKS)),))
    emitter, genomes = Paper(spec, layout, lambda _: {}), [expert_genome(layout, k) for k in range(len(TASKS))]
    skills = [_skill(genome) for genome in genomes]
    entries = [_measured(k, skill, seed) for k, skill in enumerate(skills)]
    for individual in range(len(TASKS), len(TASKS) + children):
        population = fold(entries, len(TASKS), spec.search.archive)
        genomes.append(emitter.propose(individual, population, genomes.__getitem__).genome)
        skills.append(_skill(genomes[-1]))
        entries.append(_measured(individual, skills[-1], seed))
    return fold(entries, len(TASKS), spec.search.archive), np.array(skills)


def main() -> int:
    """Search with every archive and several seeds, and publish."""
    parser = argparse.ArgumentParser(description="Archives on a made-up problem of five skills.")
    parser.add_argument("--children", type=int, default=500)
    parser.add_argument("--seeds", type=int, default=4)
    options = parser.parse_args()
    work = [(name, seed, options.children) for name in ARCHIVES for seed in range(options.seeds)]
    with ProcessPoolExecutor(os.cpu_count()) as processes:
        made = list(processes.map(_search, *zip(*work, strict=True)))
    figures = []
    for place, name in enumerate(ARCHIVES):
        found = made[place * options.seeds : (place + 1) * options.seeds]
        elites = [len(own.members) for population, _ in found for own in population.archives]
        reached = [100 * float(skills[-LAST:].mean()) for _, skills in found]
        figures += [
            Figure(f"{name}: elites of an archive", float(np.mean(elites)), ""),
            Figure(f"{name}: true mean score of the last {LAST} children", float(np.mean(reached)), "%"),
            Figure(
                f"{name}: standard error over {options.seeds} seeds",
                float(np.std(reached, ddof=1)) / len(reached) ** 0.5,
                "%",
            ),
        ]
    return publish(__file__, figures)


if __name__ == "__main__":
    sys.exit(main())
