"""Emitters (pyribs' term): what proposes the next genome. The seam of design section 3.

An emitter sees the population and genomes, nothing else; loading models and scoring children is the runner's business.
An emitter that needs a model (``Guided``) gets it when it is made.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from cycleqd.api.run import RunSpec
from cycleqd.api.search import Mutation, NoMutation
from cycleqd.crossover import cross
from cycleqd.cycle import active_task, child_number
from cycleqd.fold import Population
from cycleqd.genome import Genome, Layout
from cycleqd.mutation import mutate
from cycleqd.records import Guidance
from cycleqd.rng import generator
from cycleqd.sampling import sample_parents
from cycleqd.step_size import STEP_FACTOR, inherit, scaled

GenomeOf = Callable[[int], Genome]
"""Returns the genome of an individual by its id."""
DrawsOf = Callable[[int], Mapping[str, float]]
"""Returns what was recorded with an individual's proposal, by its id; nothing for experts."""


@dataclass(frozen=True)
class Proposal:
    """A child before it is scored.

    Attributes:
        genome: the child.
        parents: ids, first parent first.
        active_task: index of the archive the parents were drawn from.
        emitter: what proposed it.
        seen: how many individuals the archives had been offered.
        draws: the random numbers worth recording, by name.
        teachers: ids of the individuals whose right answers it was guided by.
        tokens: that were passed forward and backward to make it.
        guidance: what making it took, where guidance did; not written down with the genome, which is the same again.
    """

    genome: Genome
    parents: tuple[int, ...]
    active_task: int
    emitter: str
    seen: int
    draws: dict[str, float] = field(default_factory=dict)
    teachers: tuple[int, ...] = ()
    tokens: int = 0
    guidance: Guidance | None = None

    def save(self, layout: Layout) -> bytes:
        """Serialise to the object that holds the child's genome; its origin travels as notes."""
        origin = {name: value for name, value in vars(self).items() if name not in {"genome", "guidance"}}
        return self.genome.save(layout, json.dumps(origin))

    @staticmethod
    def load(data: bytes, layout: Layout) -> Proposal:
        """Read back what :meth:`save` wrote. Raises :class:`~cycleqd.errors.BadData`."""
        genome = Genome.load(data, layout)
        origin = json.loads(Genome.notes(data))
        tuples = {name: tuple(value) for name, value in origin.items() if isinstance(value, list)}
        return Proposal(genome, **{**origin, **tuples})


class Emitter(Protocol):
    """Proposes children."""

    @property
    def name(self) -> str:
        """As results record it."""
        ...

    def propose(self, individual: int, population: Population, genome_of: GenomeOf) -> Proposal:
        """Return the child with id ``individual``; the same one for the same population."""
        ...


@dataclass(frozen=True)
class Paper:
    """Elite sampling, crossover and mutation as in the paper (sections 4.2 to 4.4), and their variants.

    Attributes:
        spec: of the run.
        layout: of the run's genomes.
        draws_of: where learned step sizes are inherited from; asked only if the run learns them.
        name: as results record it.
    """

    spec: RunSpec
    layout: Layout
    draws_of: DrawsOf
    name: str = "Paper"

    def propose(self, individual: int, population: Population, genome_of: GenomeOf) -> Proposal:
        """Return the crossover of two parents of the active archive, mutated along the active task's expert."""
        search, n_experts = self.spec.search, len(self.spec.experts)
        task = active_task(child_number(individual, n_experts), len(self.spec.tasks), search)
        archive = population.archives[task]
        rows = sample_parents(archive, search.sampling, generator(search.seed, individual, "sampling"))
        parents = tuple(int(archive.members[row]) for row in rows)
        first, second = (genome_of(parent) for parent in parents)
        rng = generator(search.seed, individual, "crossover")
        crossed, shares = cross(first, second, self.layout, search.crossover, rng)
        law, factor = self._step_size(individual, parents)
        expert = self.layout.experts.index(self.spec.tasks[task].expert)
        genome, step = mutate(crossed, self.layout, expert, law, generator(search.seed, individual, "mutation"))
        draws = {**shares, **factor, "mutationStep": step}
        return Proposal(genome, parents, task, self.name, len(population.ids), draws)

    def _step_size(self, individual: int, parents: Sequence[int]) -> tuple[Mutation, dict[str, float]]:
        """Return the mutation of a child, and the factor of its size where the run learns it."""
        law, seed = self.spec.search.mutation, self.spec.search.seed
        if isinstance(law, NoMutation) or law.step_learning_rate == 0.0:
            return law, {}
        recorded = [self.draws_of(parent) for parent in parents]
        factor = inherit(recorded, law.step_learning_rate, generator(seed, individual, "step"))
        return scaled(law, factor), {STEP_FACTOR: factor}
