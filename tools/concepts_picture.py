"""Draw docs/pictures/concepts-archives.png: an archive that fills as children are bred.

The archive, its limits, sampling, crossover and mutation are the product's own; only the scores are made up, by a
formula in which experts' directions help their own task and hurt the others. So it needs no model and takes seconds.
"""

from __future__ import annotations

from pathlib import Path
from typing import cast

import numpy as np
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure

from cycleqd.api import RunSpec
from cycleqd.archive import GridArchive
from cycleqd.emitter import Paper
from cycleqd.fold import Entry, Population, fold
from cycleqd.genome import Genome, Layout, Matrix, expert_genome

PICTURE = Path(__file__).parents[1] / "docs" / "pictures" / "concepts-archives.png"
TASKS = ("sql", "shell", "python")
DIRECTIONS = 64
"""Of each expert; a model has millions."""
MOMENTS = (0, 30, 200, 1200)
"""Children after which the archive is drawn."""


def main() -> None:
    """Breed 1200 children of a made-up problem and draw the first archive at four moments."""
    spec = RunSpec.model_validate(
        {
            "baseModel": {"uri": "base"},
            "experts": [{"name": name, "uri": name} for name in TASKS],
            "tasks": [{"name": name, "expert": name, "evaluator": {"type": "Sql"}} for name in TASKS],
            "storage": {"uri": "none"},
        }
    )
    population = breed(spec, Layout(TASKS, (Matrix("w", (DIRECTIONS,) * len(TASKS)),)))
    PICTURE.parent.mkdir(exist_ok=True)
    draw(population).savefig(PICTURE, dpi=110)
    print(f"wrote {PICTURE}")


def breed(spec: RunSpec, layout: Layout) -> Population:
    """Return the population of experts and children, each bred from the fold of all before it."""
    genomes = [expert_genome(layout, k) for k in range(len(TASKS))]
    entries = [Entry(k, 0, score(genome)) for k, genome in enumerate(genomes)]
    emitter = Paper(spec, layout, lambda _: {})
    for individual in range(len(TASKS), len(TASKS) + MOMENTS[-1]):
        population = fold(entries, len(TASKS), spec.search.archive)
        genomes.append(emitter.propose(individual, population, genomes.__getitem__).genome)
        entries.append(Entry(individual, 0, score(genomes[-1])))
    return fold(entries, len(TASKS), spec.search.archive)


def score(genome: Genome) -> tuple[float, ...]:
    """Return made-up scores: each task likes some directions of its expert and dislikes those of the others."""
    gains = genome.values.reshape(len(TASKS), DIRECTIONS).astype(float)
    likes = np.random.default_rng(7).normal(0.6, 1.0, (len(TASKS), len(TASKS), DIRECTIONS)) / DIRECTIONS
    own = np.array([likes[k, k] @ gains[k] for k in range(len(TASKS))])
    hurt = np.array(
        [sum(np.abs(likes[k, j]) @ gains[j] for j in range(len(TASKS)) if j != k) for k in range(len(TASKS))]
    )
    return tuple(float(value) for value in np.clip(1 / (1 + np.exp(1.5 - 6 * own + 0.9 * hurt)), 0, 1))


def draw(population: Population) -> Figure:
    """Return the archive of the first task at all moments, side by side."""
    figure = Figure(figsize=(11, 3.1), layout="constrained")
    colours = Normalize(0, 1)
    panels = figure.subplots(1, len(MOMENTS), sharey=True)
    for axes, children in zip(panels, MOMENTS, strict=True):
        archive = cast("GridArchive", population.first(len(TASKS) + children).archives[0])
        grid = np.full(archive.shape, np.nan)
        grid.flat[archive.cells] = archive.qualities
        across, up = (archive.edges[axis] for axis in archive.axes)
        axes.pcolormesh(across, up, grid.T, norm=colours, cmap="viridis", edgecolors="#eef0f3", linewidth=0.2)
        axes.set_facecolor("#eef0f3")
        axes.set_title(
            f"{children} children: {len(archive.cells)} of {np.prod(archive.shape)} cells\n"
            f"coverage {archive.coverage:.2f}, QD score {archive.qd_score:.1f}",
            fontsize=9,
        )
        axes.set_xlabel(f"score on {TASKS[archive.axes[0]]}", fontsize=8)
        axes.tick_params(labelsize=7)
    panels[0].set_ylabel(f"score on {TASKS[2]}", fontsize=8)
    figure.colorbar(ScalarMappable(colours, "viridis"), ax=panels, label=f"quality: score on {TASKS[0]}", pad=0.01)
    return figure


if __name__ == "__main__":
    main()
