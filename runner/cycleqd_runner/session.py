"""What the roles of a run share, opened once per worker process and as late as possible.

A session reads the run's spec, items, bases and results; it holds the engine that stays warm from child to child. What
is done with them is the roles' business.
"""

from __future__ import annotations

import importlib.metadata
import os
import platform
import socket
from collections.abc import Iterator, Mapping
from functools import cached_property, lru_cache

import numpy as np
import torch
from torch import Tensor

from cycleqd import __version__, keys
from cycleqd.archives import compares_items
from cycleqd.emitter import Proposal
from cycleqd.fold import Population
from cycleqd.genome import Form, Genome, Layout
from cycleqd.identity import read_identity, read_spec
from cycleqd.log import ResultLog
from cycleqd.records import Result, read_result
from cycleqd.store import ObjectStore
from cycleqd_runner.basis import Basis
from cycleqd_runner.checkpoints import Checkpoint
from cycleqd_runner.compatibility import open_expert
from cycleqd_runner.engines import Engine, open_engine
from cycleqd_runner.individual import Individual, Sources
from cycleqd_runner.layouts import expert_genomes, layout_of
from cycleqd_runner.local_copies import model_folder, store_folder
from cycleqd_runner.lora import Adapter
from cycleqd_runner.materialise import Materialiser
from cycleqd_runner.tasks.benchmark import OpenBenchmark, open_benchmark
from cycleqd_runner.tasks.opening import RunTask, open_tasks
from cycleqd_runner.weighted_sum import WeightedSum

GENOMES_IN_MEMORY = 256
"""Genomes kept by a worker: 2 GB for an 8 B model with three full-rank experts, next to nothing for LoRA experts."""
RESULTS_IN_MEMORY = 1024
"""Results kept by a worker that races children or doubts elites; 0.2 MB each, and there are fewer elites."""


class Session:
    """One worker's view of a run."""

    def __init__(self, store: ObjectStore) -> None:
        """Read whose store it is. Raises :class:`~cycleqd.errors.BadData` where there is no run."""
        self.store = store
        self.identity = read_identity(store)
        self.spec = read_spec(store)
        self.log = ResultLog(store, items=compares_items(self.spec.search.archive))
        self.worker = f"{socket.gethostname()}/{os.getpid()}"
        self.genome_of = lru_cache(GENOMES_IN_MEMORY)(self._genome_of)
        self.result_of = lru_cache(RESULTS_IN_MEMORY)(self._result_of)

    @property
    def n_experts(self) -> int:
        """How many experts (and tasks) the run has."""
        return len(self.spec.experts)

    @cached_property
    def base(self) -> Checkpoint:
        """The base model."""
        return Checkpoint(model_folder(self.spec.base_model, self.identity.uid))

    @cached_property
    def models(self) -> dict[str, Checkpoint | Adapter]:
        """The experts as they were given, by name, in the order of their ids."""
        return {expert.name: open_expert(model_folder(expert, self.identity.uid)) for expert in self.spec.experts}

    @cached_property
    def bases(self) -> tuple[Basis, ...]:
        """The experts' factors, in the order of their ids."""
        return tuple(
            Basis(store_folder(self.store, keys.basis(name), self.identity.uid), model)
            for name, model in self.models.items()
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
        key = keys.genome(individual)
        # An expert's cores come from a QR whose last bit may differ between machines: what is written counts.
        if individual < self.n_experts and not self.store.exists(key):
            return self.experts[individual]
        return Genome.load(self.store.get(key), self.layout)

    def _result_of(self, individual: int) -> Result:
        """Return the first evaluation of an individual."""
        key = keys.result(individual)
        return read_result(self.store.get(key), key)

    def draws_of(self, individual: int) -> Mapping[str, float]:
        """Return what was recorded with a child's proposal; nothing for experts, whom nobody proposed."""
        if individual < self.n_experts:
            return {}
        return Proposal.load(self.store.get(keys.genome(individual)), self.layout).draws

    @cached_property
    def tasks(self) -> tuple[RunTask, ...]:
        """The tasks with their items, as the run's first worker drew them. Raises what :func:`open_tasks` raises."""
        return open_tasks(self.store, self.spec)

    @cached_property
    def benchmarks(self) -> tuple[OpenBenchmark, ...]:
        """The report's benchmarks with their items. Raises what :func:`open_benchmark` raises."""
        return tuple(open_benchmark(one, self.spec.search.seed) for one in self.spec.report.benchmarks)

    @cached_property
    def sources(self) -> Sources:
        """Where weights come from."""
        experts, bases = self.models.values(), self.bases
        return Sources(
            self.base.folder, tuple(own.folder for own in experts), tuple(own.folder for own in bases), self.layout
        )

    @property
    def materialiser(self) -> Materialiser:
        """Makes weights of child after child; what it needs again stays in memory."""
        return self.sources.materialiser

    def streamed(self, genome: Genome) -> Iterator[tuple[str, Tensor | WeightedSum]]:
        """Yield the weights of a model to be written (:meth:`Materialiser.streamed`), of which nothing is kept."""
        return self.sources.open().streamed(genome)

    def individual(self, genome: Genome) -> Individual:
        """Return an individual as engines take it."""
        return Individual(self.sources, genome)

    @cached_property
    def engine(self) -> Engine:
        """The warm engine.

        Raises what :func:`open_engine` raises, and:
            BadManifest: children that are no LoRA adapters are to be evaluated together.
        """
        rank = 0
        if self.spec.engine.args.concurrent_children > 1:
            rank = self.individual(self.experts[0]).adapter_rank
        return open_engine(self.spec.engine, self.base.folder, rank)

    def population(self, below: int | None = None) -> Population:
        """Return the fold of the results read so far (of ids below ``below``)."""
        return self.log.population(self.spec, below)

    @cached_property
    def versions(self) -> dict[str, str]:
        """Versions of what decides the numbers."""
        libraries = {name: importlib.metadata.version(name) for name in ("torch", "transformers", "numpy")}
        device = torch.cuda.get_device_name() if self.gpus else "CPU"
        ours = {"cycleqd": __version__, "python": platform.python_version()}
        computed = {
            "engine": self.engine.name,
            "device": device,
            "dtype": str(self.engine.dtype).removeprefix("torch."),
        }
        return {**ours, **libraries, **self.engine.packages, **computed}

    @cached_property
    def gpus(self) -> int:
        """GPUs that this worker sees; in a pod those that it asked for."""
        return torch.cuda.device_count()
