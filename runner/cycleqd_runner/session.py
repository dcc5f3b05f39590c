"""What the roles of a run share, opened once per worker process and as late as possible.

A session reads the run's spec, items, bases and results; it holds the engine that stays warm from child to child. What
is done with them is the roles' business.
"""

from __future__ import annotations

import importlib.metadata
import os
import platform
import socket
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import cast

import numpy as np
from pydantic import TypeAdapter

from cycleqd import __version__, keys
from cycleqd.api.tasks import Task
from cycleqd.errors import BadData, BadManifest
from cycleqd.fold import Population
from cycleqd.genome import Form, Genome, Layout
from cycleqd.identity import read_identity, read_spec
from cycleqd.log import ResultLog
from cycleqd.records import Split
from cycleqd.splits import Splits, make_splits
from cycleqd.store import ObjectStore
from cycleqd_runner.basis import Basis
from cycleqd_runner.checkpoints import Checkpoint
from cycleqd_runner.compatibility import open_expert
from cycleqd_runner.engines import Engine, open_engine
from cycleqd_runner.layouts import expert_genomes, layout_of
from cycleqd_runner.local_copies import model_folder, read_data, store_folder
from cycleqd_runner.materialise import Materialiser
from cycleqd_runner.tasks.contract import Evaluator, Item
from cycleqd_runner.tasks.registry import make_evaluator
from cycleqd_runner.unsupported import refuse_unsupported

GENOMES_IN_MEMORY = 256
"""Genomes kept by a worker: 2 GB for an 8 B model with three full-rank experts, next to nothing for LoRA experts."""

_SPLITS = TypeAdapter(dict[str, dict[Split, tuple[str, ...]]])


@dataclass(frozen=True)
class RunTask:
    """A task with its evaluator and its items.

    Attributes:
        spec: from the manifest.
        evaluator: asks and judges.
        splits: the items of each split, in the order in which they are asked.
    """

    spec: Task
    evaluator: Evaluator
    splits: dict[Split, tuple[Item, ...]]


class Session:
    """One worker's view of a run."""

    def __init__(self, store: ObjectStore) -> None:
        """Read whose store it is. Raises :class:`~cycleqd.errors.BadData` where there is no run."""
        self.store = store
        self.identity = read_identity(store)
        self.spec = read_spec(store)
        refuse_unsupported(self.spec)
        self.log = ResultLog(store)
        self.worker = f"{socket.gethostname()}/{os.getpid()}"
        self.genome_of = lru_cache(GENOMES_IN_MEMORY)(self._genome_of)

    @property
    def n_experts(self) -> int:
        """How many experts (and tasks) the run has."""
        return len(self.spec.experts)

    @cached_property
    def base(self) -> Checkpoint:
        """The base model."""
        return Checkpoint(model_folder(self.spec.base_model))

    @cached_property
    def bases(self) -> tuple[Basis, ...]:
        """The experts' factors, in the order of their ids."""
        return tuple(
            Basis(store_folder(self.store, keys.basis(expert.name)), open_expert(model_folder(expert)))
            for expert in self.spec.experts
        )

    @cached_property
    def layout(self) -> Layout:
        """What the numbers of this run's genomes mean."""
        mutation = self.spec.search.mutation
        form: Form = "Core" if mutation.type == "Svd" and mutation.basis == "Child" else "Gains"
        return layout_of([basis.manifest for basis in self.bases], form)

    @cached_property
    def experts(self) -> tuple[Genome, ...]:
        """The experts' genomes, in the order of their ids."""
        return tuple(expert_genomes(self.bases, self.layout))

    @cached_property
    def nothing(self) -> Genome:
        """The base model's genome: all zeros."""
        first = self.experts[0]
        return Genome(np.zeros_like(first.values), np.zeros_like(first.coefficients))

    def _genome_of(self, individual: int) -> Genome:
        if individual < self.n_experts:
            return self.experts[individual]
        return Genome.load(self.store.get(keys.genome(individual)), self.layout)

    @cached_property
    def tasks(self) -> tuple[RunTask, ...]:
        """The tasks with their splits, as the run's first worker recorded them.

        Raises:
            BadData: the items are not those that the run was started with.
        """
        opened = [(task, make_evaluator(task.evaluator, read_data)) for task in self.spec.tasks]
        items = {task.name: evaluator.items() for task, evaluator in opened}
        drawn: dict[str, Splits] = {
            task.name: make_splits(
                task.name,
                *([item.id for item in items[task.name] if item.pool == pool] for pool in ("seen", "unseen", "any")),
                task.items,
                self.spec.search.seed,
            )
            for task in self.spec.tasks
        }
        if not self.store.put_once(keys.SPLITS, _SPLITS.dump_json(cast(dict[str, dict[Split, tuple[str, ...]]], drawn))):
            recorded = _SPLITS.validate_json(self.store.get(keys.SPLITS))
            for name, splits in recorded.items():
                if splits != drawn.get(name):
                    raise BadData(
                        f"The items of task {name} are not those that the run was started with: "
                        "restore the data file, or start a new run in another storage.uri."
                    )
        by_id = {name: {item.id: item for item in own} for name, own in items.items()}
        return tuple(
            RunTask(
                task,
                evaluator,
                {split: tuple(by_id[task.name][item] for item in ids) for split, ids in drawn[task.name].items()},
            )
            for task, evaluator in opened
        )

    @cached_property
    def materialiser(self) -> Materialiser:
        """Makes weights of genomes; the factors stay in memory."""
        return Materialiser(self.base, self.bases, self.layout, cache=True)

    @cached_property
    def engine(self) -> Engine:
        """The warm engine."""
        return open_engine(self.spec.engine, self.base.folder)

    def population(self, below: int | None = None) -> Population:
        """Return the fold of the results read so far (of ids below ``below``)."""
        return self.log.population(self.n_experts, self.spec.search.archive, below)

    @cached_property
    def versions(self) -> dict[str, str]:
        """Versions of what decides the numbers."""
        libraries = {name: importlib.metadata.version(name) for name in ("torch", "transformers", "numpy")}
        return {"cycleqd": __version__, "python": platform.python_version(), **libraries, "engine": self.engine.name}
