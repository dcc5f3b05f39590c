"""Which emitter proposes which child: a fixed share, or a bandit on what has paid off. How they propose is theirs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from cycleqd.api.search import GuidedEmitter, Search
from cycleqd.fold import Population
from cycleqd.rng import generator

EmitterName = Literal["Paper", "Guided"]


def emitter_of(
    individual: int, search: Search, population: Population, made_by: Mapping[int, str]
) -> tuple[EmitterName, float]:
    """Return the emitter that proposes a child, and its chance: of being chosen, or the bandit's draw for it.

    The bandit is Thompson's (1933): each emitter's chance of making an elite has a uniform prior and is learned from
    its children, of which those are successes that hold a place in an archive now. Two posterior draws compete.

    Args:
        individual: id of the child.
        search: of the run.
        population: what the child may see.
        made_by: emitter of each individual, by id.
    """
    law = search.emitter
    if not isinstance(law, GuidedEmitter):
        return "Paper", 1.0
    rng = generator(search.seed, individual, "schedule")
    if law.schedule == "Share":
        guided = rng.random() < law.share
        return ("Guided", law.share) if guided else ("Paper", 1.0 - law.share)
    elites = {int(member) for archive in population.archives for member in archive.members}
    draws: dict[EmitterName, float] = {}
    for name in ("Paper", "Guided"):
        children = [int(child) for child in population.ids if made_by.get(int(child)) == name]
        paid = len(elites.intersection(children))
        draws[name] = float(rng.beta(1 + paid, 1 + len(children) - paid))
    best: EmitterName = max(draws, key=lambda name: draws[name])
    return best, draws[best]
