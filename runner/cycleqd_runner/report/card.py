"""The model card of the merged model: where it comes from and what it scored."""

from __future__ import annotations

from cycleqd.api import RunSpec
from cycleqd.report import Report
from cycleqd_runner.model_card import ModelCard
from cycleqd_runner.report.ancestry import ancestry
from cycleqd_runner.report.people import People

LINEAGE_LINES = 40
"""Ancestors written out; the report holds all of them."""


def model_card(report: Report, spec: RunSpec) -> ModelCard:
    """Return the card of the merged model."""
    chosen = report.chosen
    weights = dict(chosen.weights) if chosen else {}
    kept = report.retention
    return ModelCard(
        name=report.run,
        base_model=spec.base_model.uri.removeprefix("hf://"),
        experts={expert.name: expert.uri.removeprefix("hf://") for expert in spec.experts},
        summary=f"Chosen on validation among {len(report.candidates)} candidates: {chosen.name if chosen else 'none'}.",
        lineage=lineage(report, weights),
        tasks=report.tasks,
        scores={name: [own[task].mean for task in report.tasks] for name, own in report.scores.items()},
        benchmarks=kept.benchmarks if kept else (),
        kept={
            name: [None if one is None else one.mean for one in own.values()]
            for name, own in (kept.kept.items() if kept else ())
        },
        notes=report.notes,
    )


def lineage(report: Report, weights: dict[int, float]) -> list[str]:
    """Return one line per ancestor of a blend, from its members down to the experts' children."""
    people = People.of(report)
    found = ancestry(people, weights, LINEAGE_LINES)
    members = " + ".join(f"{weight:.3f} x {people.name(i)}" for i, weight in sorted(weights.items()))
    lines = [f"final model = {members}", *(_line(people, i) for i in found.shown if not people.is_expert(i))]
    return [*lines, f"... and {found.omitted} older ancestors"] if found.omitted else lines


def _line(people: People, individual: int) -> str:
    parents = " x ".join(people.name(parent) for parent in people.parents(individual)) or "unknown parents"
    taught = people.teachers(individual)
    line = f"{people.name(individual)} = {parents}, {people.origin(individual)}"
    return f"{line}, taught by {taught}" if taught else line
