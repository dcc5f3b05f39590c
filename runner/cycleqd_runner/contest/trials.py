"""What is written down about each (method, seed): one write-once record. Tables and pictures are made of them alone."""

from __future__ import annotations

from pydantic import Field

from cycleqd.errors import BadData, MissingObject, RunMismatch
from cycleqd.records import Record, TaskEvaluation
from cycleqd.store import ObjectStore


class Point(Record):
    """How far a method was after so many tokens."""

    tokens: int
    """Spent by then, on the search split and on training."""
    evaluations: int
    """On the search split by then."""
    best: float
    """Best mean search score of a model so far, in [0, 1]."""
    test: float | None = None
    """Mean test score, in [0, 1], of what the method would have ended with there; None: not a milestone."""


class Spending(Record):
    """What a method was allowed, and took: tokens read and written, or trained on."""

    limit: int = 0
    """Tokens that the method was allowed."""
    search: int = 0
    """By evaluations on the search split."""
    training: int = 0
    """Each pass counts."""
    validation: int = 0
    """By the choice of the final model."""
    evaluations: int = 0
    """Models evaluated on the search split, with the experts where the method uses them."""

    @property
    def tokens(self) -> int:
        """In all."""
        return self.search + self.training + self.validation


class Trial(Record):
    """One method with one seed."""

    method: str
    seed: int
    fingerprint: str
    """Digest of all that decides the outcome (:meth:`cycleqd_runner.contest.entries.Contest.fingerprint`)."""
    final: str
    """What the final model is, for people."""
    validation: dict[str, float] = Field(default_factory=dict)
    """Its scores on the validation split, by which it was chosen; none where there was no choice."""
    test: tuple[TaskEvaluation, ...]
    """Its evaluation on the test split, one per task; the only one with this seed."""
    spending: Spending = Spending()
    curve: tuple[Point, ...] = ()
    seconds: float = 0.0
    """From the first evaluation to the test; what was done before an interruption is not in it."""
    finished_at: float = 0.0
    """Unix time in seconds."""
    versions: dict[str, str] = Field(default_factory=dict)
    """Versions of what decides the numbers."""


def key_of(method: str, seed: int) -> str:
    """Return the key of a trial's record."""
    return f"trials/{method}/{seed}.json"


def read_trial(store: ObjectStore, method: str, seed: int, fingerprint: str) -> Trial | None:
    """Return a trial that was made before, or None.

    Raises:
        RunMismatch: it was made with other settings.
        BadData: the object is damaged.
    """
    key = key_of(method, seed)
    try:
        trial = Trial.model_validate_json(store.get(key))
    except MissingObject:
        return None
    except ValueError as error:
        raise BadData(f"{key} in {store.uri} is not a trial: delete it, and it is made again.") from error
    if trial.fingerprint != fingerprint:
        raise RunMismatch(
            f"{key} in {store.uri} was made with another manifest, budget or settings of {method}: "
            "give the method another name, use another storage.uri, or delete the record."
        )
    return trial


def write_trial(store: ObjectStore, trial: Trial) -> None:
    """Write a trial's record; an earlier one stays."""
    store.put_once(key_of(trial.method, trial.seed), trial.model_dump_json().encode())
