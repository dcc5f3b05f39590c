"""Other finished runs beside this one: their settings in words, what they took, what their final models score.

Where two final models answered the same test items, the difference is paired: item by item.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

import numpy as np

from cycleqd.api import RunSpec
from cycleqd.api.search import GuidedEmitter, Search
from cycleqd.records import TaskEvaluation
from cycleqd.report import Change, Difference, Interval, Report
from cycleqd.statistics import Scores
from cycleqd_runner.report.comparisons import difference
from cycleqd_runner.report.curves import Panel, best_against_tokens
from cycleqd_runner.report.formats import PERCENT, listed, percent

TOLD = {"children", "seed", "emitter", "strict", "lag"}
"""Fields of a search that are told otherwise, or change nothing about what it searches."""


@dataclass(frozen=True)
class FinishedRun:
    """A run with its final report.

    Attributes:
        report: of the run.
        spec: likewise.
        test: what the merged model answered on the test split, one per task; none where that is not known.
    """

    report: Report
    spec: RunSpec
    test: tuple[TaskEvaluation, ...]


@dataclass(frozen=True)
class Column:
    """One run of the table.

    Attributes:
        name: of the run.
        setting: what proposes children, in words.
        seed: of the search and the splits.
        children: that were bred.
        evaluation_tokens: read and written on all splits.
        training_tokens: passed forward and backward by guidance.
        scores: test scores of the merged model: the mean over the run's tasks, then one per task; None: not tested.
        best: greatest mean search score of one individual, in [0, 1]; None before the experts have scores.
        coverage: mean over the archives, in [0, 1]; None where there are none.
        qd_score: sum over the archives, likewise.
        changes: how much better the merged model of the table's first run is, likewise; nothing in its own column, and
            where the two did not answer the same items.
        notes: what qualifies the scores.
    """

    name: str
    setting: str
    seed: int
    children: int
    evaluation_tokens: int
    training_tokens: int
    scores: tuple[Interval | None, ...]
    best: float | None
    coverage: float | None
    qd_score: float | None
    changes: tuple[Change | None, ...]
    notes: tuple[str, ...]


@dataclass(frozen=True)
class Beside:
    """The table, and its picture.

    Attributes:
        rows: names of the scores: mean, then the tasks of all runs.
        columns: this run, then the others.
        panel: best search scores against tokens; None where a run's tokens are not known.
    """

    rows: tuple[str, ...]
    columns: tuple[Column, ...]
    panel: Panel | None


def side_by_side(own: FinishedRun, others: Sequence[FinishedRun]) -> Beside:
    """Return finished runs beside ``own``."""
    runs = (own, *others)
    tasks = tuple(dict.fromkeys(task for run in runs for task in run.report.tasks))
    differences = [None, *(paired(own, other) for other in others)]
    return Beside(
        rows=("mean", *tasks),
        columns=tuple(_column(run, tasks, found) for run, found in zip(runs, differences, strict=True)),
        panel=best_against_tokens([(run.report.run, run.report.progress) for run in runs]),
    )


def paired(own: FinishedRun, other: FinishedRun) -> Difference | None:
    """Return how much better the merged model of ``own`` is; None where the two did not answer the same test items."""
    first, second = _answers(own), _answers(other)
    if not first or first.keys() != second.keys():
        return None
    tasks = [evaluation.task for evaluation in own.test]

    def groups(answers: dict[tuple[str, str, str], float]) -> list[Scores]:
        return [np.array([answers[item] for item in first if item[0] == task], np.float64) for task in tasks]

    return difference(other.report.run, groups(first), groups(second), tasks, own.spec.search.seed)


def _answers(run: FinishedRun) -> dict[tuple[str, str, str], float]:
    """Return the score of each item by its task, its id and its question."""
    return {
        (evaluation.task, outcome.item, outcome.prompt_sha256): outcome.score
        for evaluation in run.test
        for outcome in evaluation.outcomes
        if outcome.score is not None
    }


def setting(spec: RunSpec) -> str:
    """Return what proposes a run's children, and in which fields its search is not the paper's, in words."""
    search, paper = spec.search, Search()
    names = [name for name in Search.model_fields if name not in TOLD]
    changed = [name.replace("_", " ") for name in names if getattr(search, name) != getattr(paper, name)]
    parts = [_emitter(search)]
    if changed:
        parts.append(f"not the paper's: {listed(changed)}")
    if spec.finalize.polish_steps:
        parts.append(f"candidates polished with {spec.finalize.polish_steps} gradient steps")
    return "; ".join(parts)


def _emitter(search: Search) -> str:
    emitter, paper = search.emitter, "the paper's crossover and mutation"
    if not isinstance(emitter, GuidedEmitter):
        return paper
    guided = f"guided by {emitter.steps} gradient steps a child ({emitter.first_steps} for the first)"
    if emitter.schedule == "Bandit":
        return f"{guided}, or {paper}, as a bandit chooses"
    return guided if emitter.share == 1.0 else f"{percent(emitter.share, 0)}{PERCENT} {guided}, otherwise {paper}"


def _column(run: FinishedRun, tasks: Sequence[str], found: Difference | None) -> Column:
    report, cost = run.report, run.report.cost
    merged, archives = report.scores.get("merged", {}), report.archives
    return Column(
        name=report.run,
        setting=setting(run.spec),
        seed=run.spec.search.seed,
        children=sum(individual.id >= len(report.experts) for individual in report.individuals),
        evaluation_tokens=cost.evaluation_tokens,
        training_tokens=cost.training_tokens,
        scores=(report.means.get("merged"), *(merged.get(task) for task in tasks)),
        best=report.progress[-1].best_mean if report.progress else None,
        coverage=fmean(archive.coverage for archive in archives) if archives else None,
        qd_score=sum(archive.qd_score for archive in archives) if archives else None,
        changes=(found, *(found.tasks.get(task) for task in tasks)) if found else (),
        notes=report.notes,
    )
