"""The merged model against others, on the same test items."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from cycleqd.report import OWN_EXPERTS, Change, Difference
from cycleqd.rng import generator
from cycleqd.statistics import Scores, grouped_difference

Tables = Mapping[str, Sequence[Scores]]
"""Test scores per model, one array of items per task."""


def differences(tables: Tables, own_experts: Mapping[str, str], seed: int) -> tuple[Difference, ...]:
    """Return how the merged model compares with the best expert, the plain average, and each task's own expert.

    Args:
        tables: of all models.
        own_experts: expert of each task, in the order of the tables' arrays.
        seed: of the run.
    """
    experts = dict.fromkeys(own_experts.values())
    best = max(experts, key=lambda name: sum(float(scores.mean()) for scores in tables[name]))
    ideal = [tables[expert][k] for k, expert in enumerate(own_experts.values())]
    others = {best: tables[best], "average": tables["average"], OWN_EXPERTS: ideal}
    return tuple(difference(name, tables["merged"], other, list(own_experts), seed) for name, other in others.items())


def difference(
    against: str, merged: Sequence[Scores], other: Sequence[Scores], tasks: Sequence[str], seed: int
) -> Difference:
    """Return how the merged model compares with another one.

    Args:
        against: name of the other model.
        merged: one array of items per task.
        other: likewise, in the same item order.
        tasks: their names.
        seed: of the resampling.
    """

    def change(first: Sequence[Scores], second: Sequence[Scores], purpose: str) -> Change:
        return Change.of(grouped_difference(first, second, generator(seed, -1, purpose)))

    overall = change(merged, other, f"difference/{against}")
    own = {task: change([merged[k]], [other[k]], f"difference/{against}/{task}") for k, task in enumerate(tasks)}
    return Difference(against=against, tasks=own, **overall.model_dump())
