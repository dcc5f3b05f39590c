"""Who is who in a report: names and descriptions of individuals, as pages and cards print them."""

from __future__ import annotations

from dataclasses import dataclass
from statistics import fmean
from typing import Self

from cycleqd.report import Individual, Report
from cycleqd_runner.report.formats import PERCENT, listed


@dataclass(frozen=True)
class People:
    """The individuals of a report, by id.

    Attributes:
        tasks: names of the tasks, in score order.
        experts: names of the experts, in id order.
        by_id: everybody the report knows.
    """

    tasks: tuple[str, ...]
    experts: tuple[str, ...]
    by_id: dict[int, Individual]

    @classmethod
    def of(cls, report: Report) -> Self:
        """Return the individuals of a report."""
        return cls(report.tasks, report.experts, {individual.id: individual for individual in report.individuals})

    def is_expert(self, individual: int) -> bool:
        """Return whether an id belongs to an expert."""
        return individual < len(self.experts)

    def name(self, individual: int) -> str:
        """Return an expert's name, or ``child 37``."""
        return self.experts[individual] if self.is_expert(individual) else f"child {individual}"

    def parents(self, individual: int) -> tuple[int, ...]:
        """Return the distinct parents, in order; none of an expert, nor of somebody the report does not know."""
        known = self.by_id.get(individual)
        return () if known is None or self.is_expert(individual) else tuple(dict.fromkeys(known.parents))

    def teachers(self, individual: int) -> str:
        """Return whose right answers guided somebody: ``sql-expert and child 12``; nothing where nobody's did."""
        known = self.by_id.get(individual)
        return listed([self.name(teacher) for teacher in known.teachers]) if known and known.teachers else ""

    def score(self, individual: int, task: int) -> float | None:
        """Return the search score in [0, 1] on a task, or None where there is none."""
        known = self.by_id.get(individual)
        return known.scores[task] if known and known.scores else None

    def origin(self, individual: int) -> str:
        """Return where an individual comes from: ``Paper for sql``, or ``expert``."""
        known = self.by_id.get(individual)
        if self.is_expert(individual):
            return "expert"
        if known is None:
            return "not in this report"
        return known.emitter if known.active_task is None else f"{known.emitter} for {self.tasks[known.active_task]}"

    def describe(self, individual: int) -> str:
        """Return who somebody is in up to four lines: name and origin, search scores, parents, teachers."""
        lines = [f"{self.name(individual)} ({self.origin(individual)})"]
        known = self.by_id.get(individual)
        if known and known.scores:
            pairs = zip(self.tasks, known.scores, strict=False)
            scores = ", ".join(f"{task} {100 * score:.0f}{PERCENT}" for task, score in pairs)
            lines.append(
                f"{scores}; mean {100 * fmean(known.scores):.0f}{PERCENT}" if len(known.scores) > 1 else scores
            )
        elif known and known.stop:
            lines.append(f"stopped after {sum(known.stop.asked)} of {sum(known.stop.items)} items")
        elif known and known.broken:
            lines.append("not scored: numerically broken")
        elif known:
            lines.append("no complete scores")
        parents = self.parents(individual)
        if parents:
            lines.append(f"from {' and '.join(self.name(parent) for parent in parents)}")
        if taught := self.teachers(individual):
            lines.append(f"taught by {taught}")
        return "\n".join(lines)

    def best(self, limit: int) -> tuple[Individual, ...]:
        """Return those with the best means of their search scores, best first; among equals the most recent."""
        scored = (individual for individual in self.by_id.values() if individual.scores)
        ranked = sorted(scored, key=lambda one: (fmean(one.scores or ()), one.id), reverse=True)
        return tuple(ranked[:limit])
