"""Methods that thin the experts' task vectors out before they add them: TIES and DARE, as peft has them.

A merge is a function of tensors; tensor by tensor, so that no more than one of each model is in memory. The models
leave the span of the experts' directions, so there is no genome of them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from itertools import product

import torch
from peft.utils import merge_utils

from cycleqd.rng import generator
from cycleqd_runner.assess import Weights
from cycleqd_runner.contest.arena import Arena
from cycleqd_runner.contest.methods.contract import Candidate, Proposals
from cycleqd_runner.contest.spec import Dare, Ties

Merge = Callable[[list[torch.Tensor], torch.Tensor, float], torch.Tensor]
"""Takes task vectors, their weights (n_experts,) and the density; returns the merged task vector."""


def ties(arena: Arena, method: Ties) -> Proposals:
    """Propose every pair of density and weight, in the order of the file."""
    for density, weight in product(method.densities, method.weights):
        yield _candidate(arena, "ties", merge_utils.ties, density, weight)


def dare(arena: Arena, method: Dare) -> Proposals:
    """Propose every pair of density and weight, in the order of the file; the same entries are dropped each time."""
    merge = merge_utils.dare_ties if method.merge == "Ties" else merge_utils.dare_linear
    for density, weight in product(method.densities, method.weights):
        yield _candidate(arena, f"dare-{method.merge.lower()}", merge, density, weight)


def _candidate(arena: Arena, kind: str, merge: Merge, density: float, weight: float) -> Candidate:
    label = f"density {density:g}, weight {weight:g}"
    digest = hashlib.sha256(f"{kind}/{arena.seed}/{density!r}/{weight!r}".encode()).hexdigest()
    return Candidate(label, lambda: Weights(digest, lambda: merged(arena, merge, density, weight)))


def merged(arena: Arena, merge: Merge, density: float, weight: float) -> Iterator[tuple[str, torch.Tensor]]:
    """Yield the tensors that an expert changes: the base's plus the merge of the task vectors."""
    make = arena.session.materialiser.tensors
    base = make(arena.session.nothing, dtype=torch.float32, changed_only=True)
    own = [make(expert, dtype=torch.float32, changed_only=True) for expert in arena.experts]
    weights = torch.full((arena.n_experts,), weight)
    for index, ((name, start), *tuned) in enumerate(zip(base, *own, strict=True)):
        vectors = [tensor - start for _, tensor in tuned]
        # peft draws from the global generator; what it draws is ours, and what others draw stays as it was.
        with torch.random.fork_rng(devices=[start.device] if start.is_cuda else []):
            torch.manual_seed(int(generator(arena.seed, -1, f"contest/dropped/{index}").integers(2**63)))
            total = start + merge(vectors, weights, density)
        yield name, total
