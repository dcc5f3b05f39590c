"""The answer of a run in words and as one picture: what the merged model kept of each skill, and what it gained."""

from __future__ import annotations

from dataclasses import dataclass

from cycleqd.records import Guidance
from cycleqd.report import OWN_EXPERTS, Change, Difference, Interval, Report, Retention
from cycleqd_runner.report.formats import PERCENT, duration, listed, memory, percent

MANY_TASKS = 6
"""From so many tasks on, the summary names the best and the worst kept one only."""


@dataclass(frozen=True)
class Skill:
    """A row of the picture: test scores in [0, 1] on one task, or their means over all tasks.

    Attributes:
        name: of the task, or ``mean``.
        merged: the merged model, with its interval.
        base, average: of the base model and of the plain average of the experts; None: not tested.
        expert: of the task's own expert; in the row of means, of each task's own expert.
        kept: merged as a share of ``expert``; None where that is nothing.
        whose: what ``kept`` is a share of.
    """

    name: str
    merged: Interval
    base: float | None
    average: float | None
    expert: float | None
    kept: float | None
    whose: str


def skills(report: Report) -> tuple[Skill, ...]:
    """Return a row per task and one for the means; nothing before the merged model was tested."""
    merged = report.scores.get("merged", {})
    rows = [_skill(report, task, merged[task]) for task in report.tasks if task in merged]
    if len(rows) > 1 and (mean := report.means.get("merged")):
        own = [row.expert for row in rows if row.expert is not None]
        expert = sum(own) / len(own) if len(own) == len(rows) else None
        base, average = (report.means[name].mean if name in report.means else None for name in ("base", "average"))
        kept = mean.mean / expert if expert else None
        rows.append(Skill("mean", mean, base, average, expert, kept, "the own experts"))
    return tuple(rows)


def _skill(report: Report, task: str, merged: Interval) -> Skill:
    def score(model: str) -> float | None:
        found = report.scores.get(model, {}).get(task)
        return found.mean if found else None

    own = report.own_experts.get(task, "")
    return Skill(task, merged, score("base"), score("average"), score(own), report.kept(task), own)


def reached(report: Report) -> str:
    """Return how much of each skill the merged model has, in a sentence; nothing where that is not known."""
    kept = {task: share for task in report.tasks if (share := report.kept(task)) is not None}
    if not kept:
        return ""
    told = list(kept)
    if len(kept) >= MANY_TASKS:
        told = [min(kept, key=lambda task: kept[task]), max(kept, key=lambda task: kept[task])]
    shares = listed([f"{percent(kept[task], 0)}{PERCENT} on {task}" for task in told])
    between = "between " if len(told) < len(kept) else ""
    return f"Of what each task's own expert scores, it reaches {between}{shares}."


def retained(report: Report) -> str:
    """Return how much the merged model kept beside the tasks, in a sentence; nothing where that is not known."""
    kept = report.retention
    mean = kept.means.get("merged") if kept else None
    if not kept or not mean:
        return ""
    told = [name for name in kept.benchmarks if kept.kept["merged"][name]]
    where = told[0] if len(told) == 1 else f"{len(told)} benchmarks"
    return f"Beside the tasks, it keeps {percent(mean.mean, 0)}{PERCENT} of the base model's score on {where}."


def left_out(kept: Retention) -> list[str]:
    """Return a sentence for every cell of the table of benchmarks that has no number, and why."""
    zero = [
        f"The base model scores nothing on {name}: there is nothing to be a share of, and the mean leaves it out."
        for name in kept.zero
    ]
    unscored = [
        f"Not scored: {model} on {name}, {reason.rstrip('.')}."
        for model, own in kept.unscored.items()
        for name, reason in own.items()
    ]
    return [*zero, *unscored]


def origin(report: Report) -> str:
    """Return a sentence if the merged model is nothing that the search found; otherwise nothing."""
    weights = report.chosen.weights if report.chosen else {}
    if not weights or any(who >= len(report.experts) for who in weights):
        return ""
    if len(weights) == 1:
        (expert,) = (report.experts[who] for who in weights)
        return f"It is the expert {expert} itself: on the validation split no candidate did better."
    if len(weights) == len(report.experts) and max(weights.values()) - min(weights.values()) < 1e-6:  # noqa: PLR2004 - rounding
        return "It is the plain average of the experts: on the validation split no candidate did better."
    return "It is a blend of experts only: on the validation split no candidate with children did better."


def guidance(report: Report) -> str:
    """Return what guiding a child and polishing a candidate took at most; nothing where nobody did."""
    told = ((report.cost.guidance, "a child"), (report.cost.polishing, "a polished candidate"))
    return ", ".join(f"{_taken(taken)} {what} at most" for taken, what in told if taken)


def _taken(taken: Guidance) -> str:
    of = " of GPU memory" if taken.on_gpu else ""
    size = f" and {memory(taken.peak_bytes)}{of}" if taken.peak_bytes else ""
    return f"{duration(taken.seconds)}{size}"


def verdict(change: Change) -> str:
    """Return what the interval of a change allows to say."""
    if change.low > 0:
        return "better than"
    return "worse than" if change.high < 0 else "not distinguishable from"


def other_name(report: Report, difference: Difference) -> str:
    """Return who the merged model is compared with, for people."""
    if difference.against == "average":
        return "the plain average of the experts"
    if difference.against in report.experts:
        return f"the best expert, {difference.against}"
    return difference.against


def headline(report: Report) -> tuple[Difference, ...]:
    """Return the differences that the first sentence tells: against models that exist, not against an ideal one."""
    return tuple(difference for difference in report.differences if difference.against != OWN_EXPERTS)
