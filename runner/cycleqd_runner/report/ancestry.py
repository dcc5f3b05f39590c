"""The ancestors of a blend, from its members down to the experts. How they are drawn is somebody else's."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from cycleqd_runner.report.people import People


@dataclass(frozen=True)
class Ancestry:
    """Who a blend descends from.

    Attributes:
        shown: the nearest ancestors, generation by generation, the newest of each first.
        omitted: how many more there are.
    """

    shown: tuple[int, ...]
    omitted: int


def ancestry(people: People, members: Iterable[int], limit: int) -> Ancestry:
    """Return a blend's members and their ancestors, nearest first.

    Args:
        people: of the report.
        members: ids of the blend.
        limit: how many children (experts do not count) are shown at most.
    """
    generation, seen, order = sorted(set(members), reverse=True), set(members), []
    while generation:
        order += generation
        parents = {parent for individual in generation for parent in people.parents(individual)} - seen
        seen |= parents
        generation = sorted(parents, reverse=True)
    children = [individual for individual in order if not people.is_expert(individual)]
    kept = set(children[:limit])
    shown = tuple(individual for individual in order if individual in kept or people.is_expert(individual))
    return Ancestry(shown, len(children) - len(kept))
