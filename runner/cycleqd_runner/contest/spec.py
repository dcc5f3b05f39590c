"""The file of a comparison: which methods compete, on which manifest, with which seeds and budget. No torch in here."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from cycleqd.api.base import ApiModel, Fraction, Name, Positive, Uri
from cycleqd.api.run import Storage

KIND = "Comparison"
Population = Annotated[int, Field(ge=2, le=10_000)]
Count = Annotated[int, Field(ge=1, le=10_000)]
Seed = Annotated[int, Field(ge=0, lt=2**63)]
Density = Annotated[Fraction, Field(gt=0.0)]


class MethodBase(ApiModel):
    """What all methods share."""

    name: Annotated[Name, Field(max_length=24)]
    """Name in tables, pictures and keys; unique in the file."""
    share: Annotated[Fraction, Field(gt=0.0)] = 1.0
    """Share of the budget that this method may spend."""
    seeds: Annotated[tuple[Seed, ...], Field(min_length=1)] | None = None
    """Those of the file's seeds that it is played with; unset: all."""

    @property
    def models(self) -> int | None:
        """How many models it proposes, if that is known; a single one needs no choice."""
        return None


class RandomSearch(MethodBase):
    """One coefficient per expert, drawn uniformly."""

    type: Literal["RandomSearch"]
    low: float = 0.0
    """Least coefficient."""
    high: float = 1.0
    """Greatest coefficient."""


class CmaEs(MethodBase):
    """One coefficient per expert by CMA-ES (Hansen 2016; Akiba et al. 2024 for merging), library cmaes."""

    type: Literal["CmaEs"]
    sigma: Positive = 0.3
    """First standard deviation of the coefficients; the first mean is the plain average."""
    population: Population | None = None
    """Models per generation; the library's default, 4 + 3 ln K, if unset."""


class PolicyGradient(MethodBase):
    """One coefficient per expert by REINFORCE (Williams 1992) on a normal policy, mean reward as baseline."""

    type: Literal["PolicyGradient"]
    population: Population = 5
    """Models per step."""
    learning_rate: Positive = 0.5
    """Of the mean in units of the policy's standard deviation, and of the standard deviation's logarithm."""
    standard_deviation: Positive = 0.2
    """First standard deviation of the coefficients; the first mean is the plain average."""


class NsgaII(MethodBase):
    """One coefficient per expert, every task's score an objective, by NSGA-II (Deb et al. 2002), library pymoo."""

    type: Literal["NsgaII"]
    population: Population = 10
    """Models per generation."""
    low: float = 0.0
    """Least coefficient."""
    high: float = 1.0
    """Greatest coefficient."""


class Ties(MethodBase):
    """TIES merging (Yadav et al. 2023) as in peft: trim, elect signs, merge; per tensor."""

    type: Literal["Ties"]
    densities: Annotated[tuple[Density, ...], Field(min_length=1)] = (0.2, 0.5, 0.8)
    """Shares of the entries of a task vector that are kept; all are tried."""
    weights: Annotated[tuple[Positive, ...], Field(min_length=1)] = (1.0, 0.6, 1.5)
    """Factors of the merged task vector; all are tried."""


class Dare(MethodBase):
    """DARE (Yu et al. 2024) as in peft: drop entries at random, rescale, then add or TIES; per tensor."""

    type: Literal["Dare"]
    merge: Literal["Linear", "Ties"] = "Linear"
    """What becomes of the thinned task vectors: their weighted sum, or TIES."""
    densities: Annotated[tuple[Density, ...], Field(min_length=1)] = (0.2, 0.5, 0.8)
    """Shares of the entries of a task vector that are kept; all are tried."""
    weights: Annotated[tuple[Positive, ...], Field(min_length=1)] = (0.33, 0.6, 1.0)
    """Factors of the task vectors; all are tried."""


class Taught(MethodBase):
    """What learns from the experts' successful transcripts, so that the experts' evaluations count as its own."""

    lessons: bool = True
    """Whether it learns from ``spec.lessons`` too, or from the search items alone."""


class RegMean(Taught):
    """Closed-form merge of linear layers (Jin et al. 2023) by what the experts' layers see of the transcripts."""

    type: Literal["RegMean"]

    @property
    def models(self) -> int:
        """See MethodBase."""
        return 1


class Stepping(MethodBase):
    """What takes gradient steps. Every pair of settings is tried."""

    steps: Annotated[tuple[Count, ...], Field(min_length=1)]
    """Numbers of Adam steps."""
    learning_rates: Annotated[tuple[Positive, ...], Field(min_length=1)]
    """Of the first step; they fall to zero along half a cosine."""
    batch_items: Annotated[int, Field(ge=1, le=10_000)] = 18
    """Right answers per step."""

    @property
    def models(self) -> int:
        """See MethodBase."""
        return len(self.steps) * len(self.learning_rates)


class Gradient(Stepping, Taught):
    """What takes gradient steps towards the experts' successful transcripts."""


class Guided(Gradient):
    """Gradient steps on a genome, without an archive: what CycleQD with the Guided emitter has to beat."""

    type: Literal["Guided"]
    steps: Annotated[tuple[Count, ...], Field(min_length=1)] = (24, 72, 144)
    """Numbers of Adam steps."""
    learning_rates: Annotated[tuple[Positive, ...], Field(min_length=1)] = (0.05, 0.03)
    """Of the first step, on the gains; they fall to zero along half a cosine."""
    start: Literal["Regression", "Uniform"] = "Regression"
    """Where they begin: at RegMean's genome, or at the same share of every task vector."""
    gain: Positive = 0.4
    """That share."""


class LayerWise(Gradient):
    """One coefficient per expert and matrix by gradient, as layer-wise AdaMerging (Yang et al. 2024)."""

    type: Literal["LayerWise"]
    steps: Annotated[tuple[Count, ...], Field(min_length=1)] = (72, 144)
    """Numbers of Adam steps."""
    learning_rates: Annotated[tuple[Positive, ...], Field(min_length=1)] = (0.03, 0.01)
    """Of the first step; they fall to zero along half a cosine."""
    coefficient: Positive = 0.3
    """Where they begin: AdaMerging's."""


class FreshLora(Stepping):
    """A fresh LoRA adapter of the base model."""

    steps: Annotated[tuple[Count, ...], Field(min_length=1)] = (72, 144, 288)
    """Numbers of Adam steps."""
    learning_rates: Annotated[tuple[Positive, ...], Field(min_length=1)] = (0.002, 0.0005)
    """Of the first step; they fall to zero along half a cosine."""
    rank: Annotated[int, Field(ge=1, le=1024)] = 8
    """Of the adapter; its alpha is twice the rank."""


class Lora(FreshLora, Gradient):
    """A fresh LoRA adapter, fine-tuned on the experts' successful transcripts."""

    type: Literal["Lora"]


class LoraOnTrainingData(FreshLora):
    """A fresh LoRA adapter, fine-tuned on what the experts were trained on; it needs no experts and pays for none."""

    type: Literal["LoraOnTrainingData"]
    data: dict[Name, Uri] = Field(default_factory=dict)
    """By task: JSON Lines with ``messages`` and the right ``answer``. A task whose items are generated needs none: its
    generator has a pool for training, which no run asks questions from."""
    generated: Count = 1120
    """Training items that are generated of each task without ``data``: the quickstart's experts saw so many."""


class CycleQD(MethodBase):
    """A run of the manifest, with differences."""

    type: Literal["CycleQD"]
    search: dict[str, Any] = Field(default_factory=dict)
    """What differs from the manifest's ``search``, field by field; an object of another ``type`` replaces the old."""
    finalize: dict[str, Any] = Field(default_factory=dict)
    """What differs from the manifest's ``finalize``."""
    lessons: bool = True
    """Whether guidance and polish learn from ``spec.lessons`` too, or from the search items alone."""
    final: Literal["Chosen", "Aggregate"] = "Chosen"
    """Chosen: by finalize, on the validation split. Aggregate: the paper's, made of the archives' best; no choice."""

    @model_validator(mode="after")
    def _leaves_what_is_shared(self) -> Self:
        for field, why in SHARED.items():
            if field in self.search:
                raise ValueError(f"search.{field} is {why}: leave it out")
        return self


SHARED = {
    "seed": "the comparison's: it has spec.seeds",
    "children": "what the budget allows: it has spec.budget",
    "basis": "shared by all methods: set it in the manifest",
}
"""Fields of ``search`` that a method cannot have of its own, and why."""

Coefficients = RandomSearch | CmaEs | PolicyGradient | NsgaII
Method = Coefficients | Ties | Dare | RegMean | Guided | LayerWise | Lora | LoraOnTrainingData | CycleQD


class Budget(ApiModel):
    """What every method may spend on each seed: tokens read and written by models that it evaluates or trains."""

    children: Annotated[int, Field(ge=1)] | None = None
    """As many tokens as this many evaluations on all search items, at the mean of the experts' evaluations."""
    tokens: Annotated[int, Field(ge=1)] | None = None
    """The same as a number of tokens."""

    @model_validator(mode="after")
    def _is_one(self) -> Self:
        if (self.children is None) == (self.tokens is None):
            raise ValueError("expected either children or tokens, got both or none: keep one of them")
        return self


class Metadata(ApiModel):
    """What the comparison is called."""

    name: Annotated[Name, Field(max_length=20)]
    """Its title, and the beginning of its runs' names."""


class ContestSpec(ApiModel):
    """What the user wants."""

    manifest: Uri
    """The CycleQDRun whose models, tasks and engine are used; a path beside this file."""
    seeds: Annotated[tuple[Seed, ...], Field(min_length=1)]
    """Each decides the splits and every random draw, and takes the place of the manifest's search.seed."""
    budget: Budget
    """What every method may spend on each seed."""
    lessons: Annotated[int, Field(ge=0, le=100_000)] = 0
    """Further search items of each task that its own expert is asked; only the methods that learn see and pay for them.
    Takes the place of the manifest's ``items.lessons``."""
    finalists: Annotated[int, Field(ge=1, le=1000)] = 4
    """Best models by search score among which a method without a finalize of its own chooses on validation."""
    milestones: tuple[Annotated[float, Field(gt=0, lt=1)], ...] = ()
    """Shares of a method's tokens. What it would have ended with there is tested, too, once its search is over: for the
    curves of test scores, and nothing else."""
    reference: Name
    """The method that all others are compared with; also base, average or an expert."""
    methods: Annotated[tuple[Annotated[Method, Field(discriminator="type")], ...], Field(min_length=1)]
    """Who competes, beside the base model, each expert and the plain average, which are always there."""
    storage: Storage
    """Where everything lies: ``s3://BUCKET/PREFIX`` or a path beside this file."""

    @model_validator(mode="after")
    def _seeds_fit(self) -> Self:
        if len(set(self.seeds)) != len(self.seeds):
            raise ValueError("a seed is named twice in seeds: name each once")
        for method in self.methods:
            strange = set(method.seeds or ()) - set(self.seeds)
            if strange:
                raise ValueError(f"method {method.name} has seed {min(strange)}, which spec.seeds lacks: add it")
        return self


class ContestFile(ApiModel):
    """The file."""

    api_version: Literal["cycleqd.dev/v1alpha1"]
    kind: Literal["Comparison"]
    metadata: Metadata
    spec: ContestSpec
