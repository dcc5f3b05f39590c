"""The search: how children are bred and when they count."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal, Self

from pydantic import BeforeValidator, Field, model_validator

from cycleqd.api.base import DEFAULT_TYPE, ApiModel, Fraction, Positive

StepLearningRate = Annotated[float, Field(ge=0.0, le=2.0)]


class EliteSampling(ApiModel):
    """Parents drawn in proportion to the product of their scaled scores over all tasks (the paper's elite sampling)."""

    type: Literal["Elite"] = "Elite"
    alpha_low: Positive = 0.5
    """Factor of the archive's weakest member on a task."""
    alpha_high: Positive = 0.8
    """Factor of the archive's strongest member on a task."""


class RandomSampling(ApiModel):
    """Parents drawn uniformly from the active archive (an ablation of the paper)."""

    type: Literal["Random"]


Granularity = Literal["Model", "Layer", "Module", "Direction"]
"""What shares one crossover weight: everything, what is in one layer, one weight matrix, or one singular direction."""


class LinearCrossover(ApiModel):
    """child = (w1 parent1 + w2 parent2) / (w1 + w2) with w ~ N(mean, sd²), on task vectors."""

    type: Literal["Linear"] = "Linear"
    mean: Positive = 1.0
    """Mean of the parents' weights."""
    standard_deviation: Annotated[float, Field(ge=0.0, le=10.0)] = 0.03
    """Standard deviation of the parents' weights (0.03 in the paper)."""
    granularity: Granularity = "Model"
    """What gets weights of its own: the Model (the paper), each Layer, Module (matrix) or singular Direction."""


class UniformCrossover(ApiModel):
    """Each layer, matrix or singular direction of the child comes from one parent or from the other."""

    type: Literal["Uniform"]
    probability: Fraction = 0.5
    """Probability that a part comes from the first parent."""
    granularity: Granularity = "Direction"
    """What comes from one parent as a whole: each Layer, Module (matrix) or singular Direction, or the Model."""


Crossover = LinearCrossover | UniformCrossover


class SvdMutation(ApiModel):
    """Adds U diag(w S) Vᵀ with w ~ U[0, maxScale] per singular direction of each weight matrix."""

    type: Literal["Svd"] = "Svd"
    basis: Literal["Expert", "Child"] = "Expert"
    """Whose directions: the active task's expert's (the authors' code) or the child's (the paper's text; LoRA only)."""
    max_scale: Annotated[float, Field(gt=0.0, le=10.0)] = 0.3
    """Upper end of the uniform distribution of w."""
    signed: bool = False
    """Draw w from [-maxScale, maxScale], so that directions can shrink, too; the paper's only grow."""
    density: Annotated[float, Field(gt=0.0, le=1.0)] = 1.0
    """Probability that a direction changes at all; 1 (the paper) changes every one."""
    step_learning_rate: StepLearningRate = 0.0
    """Learn maxScale: a child's is its parents' geometric mean times exp(rate · N(0, 1)); 0 (the paper) keeps it."""


class GaussianMutation(ApiModel):
    """Adds normal noise to the gains (an ablation of the paper, within the span of the experts' directions)."""

    type: Literal["Gaussian"]
    standard_deviation: Positive = 0.05
    """Standard deviation of the noise on each gain."""
    step_learning_rate: StepLearningRate = 0.0
    """Learn it: a child's is its parents' geometric mean times exp(rate · N(0, 1)); 0 keeps it."""


class NoMutation(ApiModel):
    """Children are crossovers only (an ablation of the paper)."""

    type: Literal["None"]


Mutation = SvdMutation | GaussianMutation | NoMutation


class PaperEmitter(ApiModel):
    """Elite sampling, crossover and mutation as in the paper: arithmetic on genomes, no model needed."""

    type: Literal["Paper"] = "Paper"


class GuidedEmitter(ApiModel):
    """A few gradient steps on elites' midpoint towards answers that individuals of the run gave rightly.

    Full-rank experts need ``search.basis.rank``.
    """

    type: Literal["Guided"]
    steps: Annotated[int, Field(ge=1, le=10_000)] = 8
    """Adam steps per child."""
    start: Literal["Regression", "Uniform"] = "Regression"
    """Where a child starts whose archive holds only experts. Regression: layer by layer as each expert's own layers
    answer to what it sees (RegMean within the experts' factors). Uniform: the same share of every task vector."""
    first_gain: Annotated[float, Field(gt=0.0, le=10.0)] = 0.4
    """That share; a regression takes it for what its inputs leave open."""
    first_steps: Annotated[int, Field(ge=1, le=10_000)] = 48
    """Adam steps of such a child."""
    learning_rate: Positive = 0.03
    """Adam's step size on gains, or on cores in units of singular values; it falls to zero along half a cosine."""
    batch_items: Annotated[int, Field(ge=1, le=10_000)] = 18
    """Transcripts per step."""
    lean: Fraction = 0.5
    """Share of the loss that belongs to the active task; the other tasks divide the rest by what there is to lose."""
    schedule: Literal["Share", "Bandit"] = "Share"
    """Share: a fixed part of the children is guided. Bandit: each emitter the more often, the more elites it made."""
    share: Fraction = 1.0
    """With Share: the part of the children that is guided; the paper's emitter proposes the rest."""


class Racing(ApiModel):
    """Stopping a child's evaluation as soon as it is unlikely to enter any archive."""

    enabled: bool = False
    """Off: every child is evaluated on all search items, as in the paper."""
    threshold: Fraction = 0.05
    """Probability of entering an archive below which the evaluation stops."""
    min_items: Annotated[int, Field(ge=1)] = 16
    """Items of each task that are always evaluated; then their number doubles from round to round."""


class Noise(ApiModel):
    """What is done about luck: a score over a few dozen items is partly noise, and elites were picked for high ones."""

    prior_items: Annotated[float, Field(ge=0.0, le=100_000.0)] = 0.0
    """A child's score counts so many further items, answered like its parents' on average; 0: none, as in the paper."""
    reevaluate_every: Annotated[int, Field(ge=0, le=100_000)] = 0
    """Before every so-many-th child an elite is asked ``items.reserve``; above ``lag`` in strict runs; 0: never."""


class Limits(ApiModel):
    """Where the behaviour axes begin and end."""

    lower_factor: Annotated[float, Field(ge=0.0, le=1.0)] = 0.85
    """Lower limit of an axis, as a multiple of the weakest expert's score."""
    upper_factor: Annotated[float, Field(ge=1.0, le=10.0)] = 1.15
    """Upper limit of an axis, as a multiple of the strongest expert's score."""


class Grid(Limits):
    """Each archive is a grid over the other tasks' scores (the paper's); bins^(K-1) cells for K tasks."""

    type: Literal["Grid"] = "Grid"
    bins: Annotated[int, Field(ge=1, le=1000)] = 15
    """Bins per behaviour axis."""


class Cvt(Limits):
    """Each archive has a fixed number of cells of about equal size, however many tasks there are."""

    type: Literal["Cvt"]
    cells: Annotated[int, Field(ge=2, le=500)] = 200
    """Cells of each archive: the regions around the centroids of a centroidal Voronoi tessellation."""


class DominatedNovelty(ApiModel):
    """No cells: whoever is least like all that are better on the archive's task stays."""

    type: Literal["DominatedNovelty"]
    size: Annotated[int, Field(ge=2, le=100_000)] = 30
    """Individuals that each archive keeps."""
    neighbours: Annotated[int, Field(ge=1, le=1000)] = 3
    """Nearest better individuals whose mean distance is an individual's dominated novelty."""
    behaviour: Literal["Scores", "Items"] = "Scores"
    """Scores: distances between the scores on the other tasks. Items: between what was right on each of their items."""


ArchiveType = Grid | Cvt | DominatedNovelty


def _unless_told(default: str) -> BeforeValidator:
    """Name the type that a manifest leaves out: there was one kind before there were others."""

    def named(value: object) -> object:
        return {"type": default, **value} if isinstance(value, Mapping) and "type" not in value else value

    return BeforeValidator(named)


class Basis(ApiModel):
    """How experts are factorised."""

    rank: Annotated[int, Field(ge=1)] | None = None
    """Keep only this many singular directions per matrix of a full-rank expert; unset keeps all, exactly."""


class Search(ApiModel):
    """Everything that decides which children are bred."""

    children: Annotated[int, Field(ge=0, le=1_000_000)] = 1200
    """How many children the run breeds and evaluates; may be raised later."""
    seed: Annotated[int, Field(ge=0, lt=2**63)] = 0
    """Seed of every random draw of the run."""
    strict: bool = False
    """Bit-for-bit repeatable whatever the number of workers: child n sees exactly the results with id < n - lag."""
    lag: Annotated[int, Field(ge=0, le=10_000)] = 8
    """Only with ``strict``: how many of the latest results a child does not wait for; lag + 1 can be in flight."""
    cycle: Literal["Tasks", "Fixed"] = "Tasks"
    """Tasks: the active task changes with every child (CycleQD). Fixed: always ``fixedTask`` (an ablation)."""
    fixed_task: Annotated[int, Field(ge=0)] = 0
    """Index of the active task where ``cycle`` is Fixed."""
    sampling: Annotated[EliteSampling | RandomSampling, Field(discriminator="type")] = EliteSampling()
    """How parents are drawn from the active archive."""
    crossover: Annotated[
        Crossover,
        Field(discriminator="type", json_schema_extra={DEFAULT_TYPE: "Linear"}),
        _unless_told("Linear"),
    ] = LinearCrossover()
    """How two parents become one child."""
    mutation: Annotated[Mutation, Field(discriminator="type")] = SvdMutation()
    """How a child is varied."""
    emitter: Annotated[PaperEmitter | GuidedEmitter, Field(discriminator="type")] = PaperEmitter()
    """What proposes the next genome."""
    racing: Racing = Racing()
    """Early stopping of hopeless children."""
    noise: Noise = Noise()
    """Doubt about lucky scores."""
    archive: Annotated[
        ArchiveType,
        Field(discriminator="type", json_schema_extra={DEFAULT_TYPE: "Grid"}),
        _unless_told("Grid"),
    ] = Grid()
    """How each task's archive decides who stays."""
    basis: Basis = Basis()
    """How experts are factorised."""

    @model_validator(mode="after")
    def _directions_are_fixed(self) -> Self:
        has_core = isinstance(self.mutation, SvdMutation) and self.mutation.basis == "Child"
        if has_core and self.crossover.granularity == "Direction":
            raise ValueError(
                "crossover.granularity is Direction, but with mutation.basis Child every individual has directions of "
                "its own, which parents do not share: choose Module, or mutation.basis Expert"
            )
        return self
