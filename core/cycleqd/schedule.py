"""Which emitter proposes which child. How they propose is their own business."""

from __future__ import annotations

from cycleqd.api.search import GuidedEmitter, Search
from cycleqd.rng import generator

PAPER, GUIDED = "Paper", "Guided"


def emitter_of(individual: int, search: Search) -> str:
    """Return the name of the emitter that proposes the child with id ``individual``."""
    law = search.emitter
    if not isinstance(law, GuidedEmitter):
        return PAPER
    return GUIDED if generator(search.seed, individual, "schedule").random() < law.share else PAPER
