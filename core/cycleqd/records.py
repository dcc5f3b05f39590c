"""What is written down about evaluations: frozen records that can be written, read back and be indistinguishable.

The archives are a fold of these records (:mod:`cycleqd.fold`); where they lie in the store is
:mod:`cycleqd.keys`' knowledge. A score is a fraction in [0, 1]; "no score" is ``None`` with a reason, never 0.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from statistics import fmean
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from cycleqd.errors import BadData, Unscored

BROKEN = "numerically broken"
"""Reason of an item whose answer an engine called ``broken``: the model's numbers became NaN or infinite."""

Split = Literal["search", "validation", "test", "reserve", "lessons", "benchmark"]
Score = Annotated[float, Field(ge=0.0, le=1.0)]


class Record(BaseModel):
    """A frozen record. Fields of newer versions are ignored, so that older workers can read newer results."""

    model_config = ConfigDict(frozen=True, extra="ignore", use_attribute_docstrings=True)


class ItemOutcome(Record):
    """What became of one item."""

    item: str
    """The item's id within its task."""
    score: Score | None
    """In [0, 1]; None: could not be scored."""
    group: str = ""
    """The kind of item, where its task tells them apart: ``SELECT``, ``INSERT`` or ``UPDATE`` of AgentBenchDB."""
    reason: str | None = None
    """Why there is no score, or what the judge objected to; one line."""
    prompt_sha256: str = ""
    """Hash of the first prompt, so that two runs can be compared item by item."""
    prompt_tokens: int = 0
    """Tokens read, over all turns and repeats."""
    answer_tokens: int = 0
    """Tokens generated, over all turns and repeats."""
    seconds: float = 0.0
    """Time from the question to the verdict; comparisons ignore it."""

    @model_validator(mode="after")
    def _unscored_says_why(self) -> ItemOutcome:
        if self.score is None and not self.reason:
            raise ValueError("an item without a score needs a reason")
        return self

    @property
    def is_broken(self) -> bool:
        """Whether there is no score because of the model's own numbers, which asking again would not change."""
        return self.score is None and self.reason == BROKEN


class TaskEvaluation(Record):
    """One individual's outcomes on one split of one task, in item order."""

    task: str
    split: Split
    outcomes: tuple[ItemOutcome, ...]

    @property
    def unscored(self) -> tuple[ItemOutcome, ...]:
        """The outcomes without a score."""
        return tuple(outcome for outcome in self.outcomes if outcome.score is None)

    @property
    def broken(self) -> tuple[ItemOutcome, ...]:
        """Those of them whose answers were numerically broken."""
        return tuple(outcome for outcome in self.outcomes if outcome.is_broken)

    @property
    def score(self) -> float:
        """The mean over all items, in [0, 1].

        Raises:
            Unscored: an item has no score; such a mean would compare unlike things.
        """
        scores = [outcome.score for outcome in self.outcomes if outcome.score is not None]
        if not scores or len(scores) != len(self.outcomes):
            missing = self.unscored
            why = missing[0].reason if missing else "it has no items"
            raise Unscored(f"{len(missing)} of {len(self.outcomes)} {self.task} items have no score: {why}.")
        return fmean(scores)

    @property
    def tokens(self) -> int:
        """Read and written, over all items."""
        return sum(outcome.prompt_tokens + outcome.answer_tokens for outcome in self.outcomes)


class FinalEvaluation(Record):
    """One model on one split, as finalize found out: a candidate, or what the final model is compared with."""

    name: str
    """Of the candidate or model that was evaluated first with this genome; for people."""
    evaluations: tuple[TaskEvaluation, ...]
    """One per task, in cycle order."""
    seconds: float = 0.0
    """Worker seconds."""
    gpus: int = 0
    """GPUs that the worker held meanwhile."""

    @property
    def mean(self) -> float:
        """Mean over the tasks, in [0, 1]."""
        return sum(evaluation.score for evaluation in self.evaluations) / len(self.evaluations)

    @property
    def tokens(self) -> int:
        """Read and written, over all items."""
        return sum(evaluation.tokens for evaluation in self.evaluations)


class Timings(Record):
    """Where a worker's seconds went from the result before (or its start) to this one's last verdict."""

    open_seconds: float = 0.0
    """Opening the model, the engine and the items: with the first individual of a worker."""
    breed_seconds: float = 0.0
    """Reading results, sampling, crossover, mutation or guidance, writing the genome."""
    load_seconds: float = 0.0
    """Bringing the weights into the engine."""
    evaluate_seconds: float = 0.0
    """Asking and judging."""
    wait_seconds: float = 0.0
    """Waiting for earlier results (strict runs only)."""
    write_seconds: float = 0.0
    """Writing the result before this one in the same block: a result cannot say how long its own writing takes."""

    @property
    def seconds(self) -> float:
        """What an individual takes a warm worker: everything but opening, and waiting for others."""
        return self.breed_seconds + self.load_seconds + self.evaluate_seconds + self.write_seconds


class Guidance(Record):
    """What it took a worker to guide a child, where it starts included."""

    seconds: float
    """Beside the opening of the engine; part of :attr:`Timings.breed_seconds`."""
    peak_bytes: int = 0
    """Most memory meanwhile: resident beyond what was before, or on a GPU all that was allocated, the model's weights
    included; 0: not known."""
    on_gpu: bool = False
    """Whose memory that is."""


class Stop(Record):
    """Why a child was not asked all items: it would hardly have entered an archive (:mod:`cycleqd.racing`)."""

    asked: tuple[int, ...]
    """Items asked, per task."""
    items: tuple[int, ...]
    """Items there are, per task."""
    probability: Score
    """Of entering an archive, when the evaluation stopped."""
    threshold: Score
    """It was below this one."""

    @property
    def saved(self) -> int:
        """Items that were not asked."""
        return sum(self.items) - sum(self.asked)


class Result(Record):
    """One evaluation of one individual on the search splits, or, of an elite in doubt, on the reserve splits."""

    id: Annotated[int, Field(ge=0)]
    """0..K-1 are the experts; children follow."""
    evaluation: Annotated[int, Field(ge=0)] = 0
    """0 is the first evaluation of the individual; repeated ones count up."""
    with_child: int | None = None
    """Of a repeated evaluation: id of the child before which it was made; None for the first one."""
    parents: tuple[int, ...] = ()
    """Ids of the parents; empty for experts."""
    active_task: int | None = None
    """Index of the archive the parents were drawn from; None for experts."""
    emitter: str = "Expert"
    """What proposed the genome."""
    draws: dict[str, float] = Field(default_factory=dict)
    """The random numbers worth knowing: crossover weights, size of the mutation."""
    teachers: tuple[int, ...] = ()
    """Ids of the individuals whose right answers guided the child; empty where nobody's did."""
    training_tokens: int = 0
    """Tokens passed forward and backward to make the child."""
    guidance: Guidance | None = None
    """What guiding it took; None: nobody did, or a worker before this one, or one of an older version."""
    genome_sha256: str
    """Digest of the genome's numbers."""
    evaluations: tuple[TaskEvaluation, ...]
    """One per task, in cycle order."""
    lessons: TaskEvaluation | None = None
    """Of an expert: its own task's further items, whose right answers guide children; no part of its scores."""
    stop: Stop | None = None
    """Set where racing ended the evaluation: then there are outcomes, but no scores."""
    seen: Annotated[int, Field(ge=0)] = 0
    """How many results the archives held when the parents were drawn."""
    timings: Timings = Timings()
    worker: str = ""
    """Which worker did it."""
    gpus: Annotated[int, Field(ge=0)] = 0
    """GPUs that the worker held meanwhile."""
    finished_at: float = 0.0
    """Unix time in seconds."""
    versions: dict[str, str] = Field(default_factory=dict)
    """Versions of what decides the numbers: cycleqd, torch, transformers, engine, device, sandbox."""

    @property
    def turn(self) -> int:
        """The child's id by which strict runs order it: a repeated evaluation belongs to the child that it preceded."""
        return self.id if self.with_child is None else self.with_child

    @property
    def complete(self) -> bool:
        """Whether all items were asked and have a score."""
        return self.stop is None and not any(evaluation.unscored for evaluation in self.evaluations)

    @property
    def broken(self) -> int:
        """How many items' answers were numerically broken."""
        return sum(len(evaluation.broken) for evaluation in self.evaluations)

    @property
    def scores(self) -> tuple[float, ...]:
        """(n_tasks,) in [0, 1].

        Raises:
            Unscored: not :attr:`complete`.
        """
        if self.stop:
            asked, items = sum(self.stop.asked), sum(self.stop.items)
            raise Unscored(f"Individual {self.id} has no scores: racing stopped it after {asked} of {items} items.")
        return tuple(evaluation.score for evaluation in self.evaluations)

    @property
    def tokens(self) -> tuple[int, int]:
        """Prompt and answer tokens of all items."""
        asked = (*self.evaluations, *([self.lessons] if self.lessons else ()))
        outcomes = [outcome for evaluation in asked for outcome in evaluation.outcomes]
        return sum(o.prompt_tokens for o in outcomes), sum(o.answer_tokens for o in outcomes)

    def repeatable(self) -> Mapping[str, object]:
        """Return what a repetition of a strict run must give again: all but times, memory, worker and versions."""
        volatile = {"timings", "guidance", "worker", "gpus", "finished_at", "versions"}
        outcomes = {"outcomes": {"__all__": {"seconds"}}}
        return self.model_dump(
            exclude={
                **dict.fromkeys(volatile, True),
                "evaluations": {"__all__": outcomes},
                **({"lessons": outcomes} if self.lessons else {}),
            }
        )


class Transcript(Record):
    """The conversation about one repeat of one item; the successful ones are what guided search learns from."""

    task: str
    item: str
    messages: tuple[dict[str, str], ...]
    """The prompt of the last answer, earlier turns included: ``{"role": ..., "content": ...}`` in order."""
    answer: str
    """The model's last answer."""
    score: Score | None
    """In [0, 1]; None: could not be scored."""
    repeat: int = 0
    """Which time the item was asked: 0, 1, ..."""
    group: str = ""
    """The kind of item, as in :class:`ItemOutcome`."""
    reason: str | None = None
    """Why there is no score, or what the judge objected to; one line."""
    prompt_tokens: int = 0
    """Tokens read, over all turns of this repeat."""
    answer_tokens: int = 0
    """Tokens generated, over all turns of this repeat."""
    seconds: float = 0.0
    """Time from the question to the verdict."""

    @property
    def is_success(self) -> bool:
        """Whether there is nothing better to learn from. Not every judge knows what was asked."""
        return self.score == 1.0 and bool(self.messages)


def read_result(data: bytes, key: str) -> Result:
    """Read a stored result.

    Raises:
        BadData: the object is not a result.
    """
    try:
        return Result.model_validate_json(data)
    except ValueError as error:
        raise BadData(f"The object {key} is not a result ({str(error).splitlines()[0]}): it was set aside.") from error


def merge_outcomes(repeats: Iterable[ItemOutcome]) -> ItemOutcome:
    """Average repeated outcomes of one item: scores are averaged, tokens and seconds summed.

    One repeat without a score leaves the item without a score, and a broken one makes it broken.
    """
    outcomes = list(repeats)
    first = outcomes[0]
    unscored = max((o for o in outcomes if o.score is None), key=lambda o: o.is_broken, default=None)
    return first.model_copy(
        update={
            "score": None if unscored else fmean(o.score for o in outcomes if o.score is not None),
            "reason": (unscored or first).reason,
            "prompt_tokens": sum(o.prompt_tokens for o in outcomes),
            "answer_tokens": sum(o.answer_tokens for o in outcomes),
            "seconds": sum(o.seconds for o in outcomes),
        }
    )
