"""The model card of the merged model: where it comes from and what it scored."""

from __future__ import annotations

from cycleqd.api import RunSpec
from cycleqd.report import Individual, Report
from cycleqd_runner.model_card import ModelCard

LINEAGE_LINES = 40
"""Longest lineage written out; the report holds all of it."""


def model_card(report: Report, spec: RunSpec) -> ModelCard:
    """Return the card of the merged model."""
    chosen = report.chosen
    weights = dict(chosen.weights) if chosen else {}
    return ModelCard(
        name=report.run,
        base_model=spec.base_model.uri.removeprefix("hf://"),
        experts={expert.name: expert.uri.removeprefix("hf://") for expert in spec.experts},
        summary=f"Chosen on validation among {len(report.candidates)} candidates: {chosen.name if chosen else 'none'}.",
        lineage=lineage(report, weights),
        tasks=report.tasks,
        scores={name: [own[task].mean for task in report.tasks] for name, own in report.scores.items()},
    )


def lineage(report: Report, weights: dict[int, float]) -> list[str]:
    """Return one line per ancestor of a blend, from its members down to the experts."""
    by_id = {individual.id: individual for individual in report.individuals}
    lines = [f"final model = {' + '.join(f'{weight:.3f} x {_name(report, i)}' for i, weight in sorted(weights.items()))}"]
    waiting, seen = sorted(weights, reverse=True), set(weights)
    while waiting and len(lines) < LINEAGE_LINES:
        individual = by_id.get(waiting.pop(0))
        if individual is None or not individual.parents:
            continue
        lines.append(_line(report, individual))
        new = [parent for parent in dict.fromkeys(individual.parents) if parent not in seen]
        seen.update(new)
        waiting = sorted({*waiting, *new}, reverse=True)
    return lines


def _line(report: Report, individual: Individual) -> str:
    task = "" if individual.active_task is None else f" for {report.tasks[individual.active_task]}"
    parents = " x ".join(_name(report, parent) for parent in individual.parents)
    return f"{_name(report, individual.id)} = {parents}, {individual.emitter}{task}"


def _name(report: Report, individual: int) -> str:
    return report.experts[individual] if individual < len(report.experts) else f"child {individual}"
