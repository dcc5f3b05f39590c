"""How a contest stands, as data (``comparison.json``): a pure function of its trials. Others draw it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

from pydantic import Field

from cycleqd.records import Record
from cycleqd.report import Change, Interval
from cycleqd_runner.contest.estimates import Seeds, difference, level, p_value, scores_of
from cycleqd_runner.contest.trials import Point, Trial


class Versus(Change):
    """How much better a method is than the reference, on the same test items of the same seeds."""

    tasks: dict[str, Change]
    """By task."""
    p: float | None
    """Two-sided, of a paired t-test over seeds; None: too few seeds, or all differ alike."""


class Row(Record):
    """One method."""

    method: str
    seeds: tuple[int, ...]
    """That it has a trial of."""
    tasks: dict[str, Interval]
    """Test scores by task, over items and seeds."""
    mean: Interval
    """Over the tasks."""
    kept: dict[str, float | None]
    """Test score as a share of what the task's own expert scores with the same seeds; None: that scores nothing."""
    versus: Versus | None = None
    """None for the reference itself, and while there is no common seed."""
    limit: float = 0.0
    """Tokens that it was allowed, mean over seeds; 0: it does not search."""
    tokens: float = 0.0
    """That it spent on search, training and choice, mean over seeds."""
    training_tokens: float = 0.0
    """Those of them that are training."""
    evaluations: float = 0.0
    """On the search split, mean over seeds."""
    seconds: float = 0.0
    """Mean over seeds."""
    finals: dict[int, str]
    """What the final model is, by seed."""
    curves: dict[int, tuple[Point, ...]] = Field(default_factory=dict)
    """How the search went, by seed."""


class Standings(Record):
    """All methods so far."""

    name: str
    tasks: tuple[str, ...]
    reference: str
    own_experts: dict[str, str]
    """Name of the expert that was trained for each task."""
    rows: tuple[Row, ...]
    missing: tuple[tuple[str, int], ...] = ()
    """(method, seed) without a trial so far."""
    notes: tuple[str, ...] = ()
    """What qualifies the scores, for example a protocol that is not the paper's."""


@dataclass(frozen=True)
class Lineup:
    """Who takes part.

    Attributes:
        name: of the contest.
        seeds: that each method is played with, by its name, in the order of the tables.
        own_experts: name of the expert that was trained for each task, in cycle order.
        reference: name of the method that the others are compared with.
        notes: what qualifies the scores, in sentences.
    """

    name: str
    seeds: Mapping[str, Sequence[int]]
    own_experts: Mapping[str, str]
    reference: str
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Tables:
    """Trials and test scores by method and seed."""

    lineup: Lineup
    trials: Mapping[str, Mapping[int, Trial]]
    tested: Mapping[str, Seeds]


def standings(lineup: Lineup, trials: Sequence[Trial]) -> Standings:
    """Return how the contest stands."""
    by_method = {name: {one.seed: one for one in trials if one.method == name} for name in lineup.seeds}
    by_method = {name: dict(sorted(own.items())) for name, own in by_method.items() if own}
    tested = {name: {seed: scores_of(one.test) for seed, one in own.items()} for name, own in by_method.items()}
    tables = _Tables(lineup, by_method, tested)
    return Standings(
        name=lineup.name,
        tasks=tuple(lineup.own_experts),
        reference=lineup.reference,
        own_experts=dict(lineup.own_experts),
        rows=tuple(_row(tables, name) for name in by_method),
        missing=tuple(
            (name, seed)
            for seed in dict.fromkeys(seed for own in lineup.seeds.values() for seed in own)
            for name, own in lineup.seeds.items()
            if seed in own and seed not in by_method.get(name, {})
        ),
        notes=lineup.notes,
    )


def _row(tables: _Tables, name: str) -> Row:
    tasks, seeds, own = list(tables.lineup.own_experts), tables.tested[name], tables.trials[name]
    spending = [trial.spending for trial in own.values()]
    return Row(
        method=name,
        seeds=tuple(own),
        tasks={task: Interval.of(level(seeds, [task])) for task in tasks},
        mean=Interval.of(level(seeds, tasks)),
        kept={task: _kept(tables, name, task) for task in tasks},
        versus=_versus(tables, name),
        limit=fmean(one.limit for one in spending),
        tokens=fmean(one.tokens for one in spending),
        training_tokens=fmean(one.training for one in spending),
        evaluations=fmean(one.evaluations for one in spending),
        seconds=fmean(trial.seconds for trial in own.values()),
        finals={seed: trial.final for seed, trial in own.items()},
        curves={seed: trial.curve for seed, trial in own.items() if trial.curve},
    )


def _kept(tables: _Tables, name: str, task: str) -> float | None:
    """Return the method's mean on a task as a share of the task's own expert's, over the seeds that both have."""
    experts, seeds = tables.tested.get(tables.lineup.own_experts[task], {}), tables.tested[name]
    common = [seed for seed in seeds if seed in experts]
    if not common:
        return None
    own = fmean(fmean(experts[seed][task].values()) for seed in common)
    return fmean(fmean(seeds[seed][task].values()) for seed in common) / own if own else None


def _versus(tables: _Tables, name: str) -> Versus | None:
    first, second = tables.tested[name], tables.tested.get(tables.lineup.reference, {})
    if name == tables.lineup.reference or not set(first) & set(second):
        return None
    tasks = list(tables.lineup.own_experts)
    return Versus(
        **Change.of(difference(first, second, tasks)).model_dump(),
        tasks={task: Change.of(difference(first, second, [task])) for task in tasks},
        p=p_value(first, second, tasks),
    )
