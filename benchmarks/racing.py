"""Racing: how many items it saves, and whether it keeps its promise about the children that it stops.

Run ``python -m benchmarks.racing``. No model answers: individuals are made up (benchmarks/synthetic), and sampling and
archives are the product's own. In every run all children are asked everything; beside that, each is raced as if its
outcomes came in rounds, so that for a child that was stopped it is known whether it would have entered an archive.

Three runs of five hundred children for each setting, two of them at a time: a minute on two cores.

The promise: of the children that are stopped at a threshold, at most that share would have entered.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from benchmarks.report import Figure, at_most, publish
from benchmarks.synthetic.individuals import TASKS, Individuals, Outcomes
from cycleqd.api.search import EliteSampling, Grid, Racing
from cycleqd.archive import GridArchive
from cycleqd.limits import axis_limits, bin_edges
from cycleqd.pooling import Pooling
from cycleqd.racing import Race
from cycleqd.sampling import sample_parents

THRESHOLDS = (0.01, 0.05, 0.1)


@dataclass(frozen=True)
class Setting:
    """What decides how much there is to save.

    Attributes:
        name: for people.
        items: search items of each task.
        bins: of the archives' axes.
    """

    name: str
    items: int
    bins: int


SETTINGS = (
    Setting("48 items, 15 bins", 48, 15),
    Setting("200 items, 15 bins", 200, 15),
    Setting("48 items, 5 bins", 48, 5),
)
"""The quickstart, the defaults, and small archives."""


@dataclass(frozen=True)
class Raced:
    """One child.

    Attributes:
        enters: whether it enters an archive.
        chances: (n_checkpoints,) probabilities of that, as racing saw them.
    """

    enters: bool
    chances: npt.NDArray[np.float64]


@dataclass
class Run:
    """One made-up run.

    Attributes:
        setting: of the run.
        people: experts and children.
        solved: (TASKS, items) outcomes, by id.
        archives: of the tasks.
        seconds: of a processor that the decisions took.
    """

    setting: Setting
    people: Individuals
    solved: list[Outcomes]
    archives: tuple[GridArchive, ...]
    seconds: float = 0.0

    @classmethod
    def start(cls, setting: Setting, seed: int) -> Run:
        """Return a run with experts."""
        people, grid = Individuals(np.random.default_rng(seed)), Grid(bins=setting.bins)
        solved = [people.outcomes(k, slice(setting.items)) for k in range(TASKS)]
        scores = np.mean(solved, axis=2)
        edges = bin_edges(axis_limits(scores, grid), grid.bins)
        archives = tuple(GridArchive.empty(task, edges).admit(np.arange(TASKS), scores) for task in range(TASKS))
        return cls(setting, people, solved, archives)

    def child(self, number: int) -> Raced:
        """Breed, race and evaluate one child."""
        archive = self.archives[number % TASKS]
        first, second = sample_parents(archive, EliteSampling(), self.people.rng)
        child = self.people.breed((int(archive.members[first]), int(archive.members[second])), archive.task)
        outcomes = self.people.outcomes(child, slice(self.setting.items))
        scores = outcomes.mean(axis=1)[None]
        begun = time.process_time()
        race = self.race(child)
        chances = [race.probability(list(outcomes[:, :count])) for count in race.checkpoints]
        self.seconds += time.process_time() - begun
        raced = Raced(any(archive.enters(child, scores)[0] for archive in self.archives), np.array(chances))
        self.solved.append(outcomes)
        self.archives = tuple(archive.admit([child], scores) for archive in self.archives)
        return raced

    def race(self, child: int) -> Race:
        """Return the race of a child; the threshold is looked into afterwards."""
        elites = np.unique(np.concatenate([archive.members for archive in self.archives]))
        incumbents = tuple(np.array([self.solved[elite] for elite in elites]).swapaxes(0, 1))
        pooling = Pooling((self.setting.items,) * TASKS, (self.setting.items,) * TASKS)
        return Race(Racing(enabled=True), child, 0, self.archives, incumbents, pooling, np.full(TASKS, np.nan))


def race_all(setting: Setting, seed: int, children: int) -> tuple[list[Raced], float]:
    """Race the children of a run; return how that went, and the seconds of a processor that the decisions took."""
    run = Run.start(setting, seed)
    return [run.child(number) for number in range(1, children + 1)], run.seconds


def figures_of(setting: Setting, made: Sequence[tuple[list[Raced], float]]) -> list[Figure]:
    """Return what each threshold saves and loses in runs that :func:`race_all` made."""
    raced = [one for run, _ in made for one in run]
    checkpoints = np.array(list(Run.start(setting, 0).race(0).checkpoints))
    entrants = np.array([one.enters for one in raced], bool)
    chances = np.stack([one.chances for one in raced])
    figures = [
        Figure(f"{setting.name}: children that enter an archive", _percent(entrants), "%"),
        Figure(f"{setting.name}: deciding, per child", 1000 * sum(seconds for _, seconds in made) / len(raced), "ms"),
    ]
    for threshold in THRESHOLDS:
        asked = np.where(chances < threshold, checkpoints, setting.items).min(axis=1)
        stopped = asked < setting.items
        name, wrong = f"{setting.name}, threshold {threshold:g}", _percent(entrants[stopped])
        figures += [
            Figure(f"{name}: items saved", 100 * (1 - float(asked.mean()) / setting.items), "%"),
            Figure(f"{name}: of those that would have entered, stopped", _percent(stopped[entrants]), "%"),
            at_most(f"{name}: of those stopped, would have entered", wrong, "%", 100 * threshold),
        ]
    return figures


def _percent(are: npt.NDArray[np.bool_]) -> float:
    return 100 * float(are.mean()) if len(are) else 0.0


def main() -> int:
    """Measure and publish."""
    parser = argparse.ArgumentParser(description="What racing saves and loses.")
    parser.add_argument("--runs", type=int, default=3, help="of each setting")
    parser.add_argument("--children", type=int, default=500, help="of each run")
    options = parser.parse_args()
    figures = [Figure("children of each setting", options.runs * options.children, "")]
    work = [(setting, seed, options.children) for setting in SETTINGS for seed in range(options.runs)]
    with ProcessPoolExecutor(os.cpu_count()) as processes:
        made = list(processes.map(race_all, *zip(*work, strict=True)))
    for place, setting in enumerate(SETTINGS):
        figures += figures_of(setting, made[place * options.runs : (place + 1) * options.runs])
    return publish(__file__, figures, packages=("numpy",))


if __name__ == "__main__":
    sys.exit(main())
