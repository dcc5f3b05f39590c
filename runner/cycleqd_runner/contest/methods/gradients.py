"""Methods that learn from what the experts answered rightly to search items, by the gradient of its cross-entropy.

Training is counted token by token, each pass forward and backward; what it will take is known before it begins.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
import torch

from cycleqd.genome import Genome, Layout
from cycleqd.rng import generator
from cycleqd_runner.contest.arena import Arena
from cycleqd_runner.contest.methods.contract import Candidate, Proposals
from cycleqd_runner.contest.spec import Gradient, Guided, LayerWise, RegMean, Stepping
from cycleqd_runner.guide.descent import Law, Parametrise
from cycleqd_runner.guide.targets import Target, batches


def reg_mean(arena: Arena, method: RegMean) -> Proposals:
    """Propose the closed-form merge of linear layers within the experts' directions (Jin et al., ICLR 2023)."""
    start, passed = arena.regression(method)
    yield Candidate("regression", lambda: start, passed)


def guided(arena: Arena, method: Guided) -> Proposals:
    """Propose what gradient steps make of one start, without any archive; every pair of steps and learning rate."""
    passed = 0
    if method.start == "Regression":
        start, passed = arena.regression(method)
    else:
        start = arena.blend([method.gain] * arena.n_experts)
    moves, moved = arena.guide.moves(start)
    for law in laws(method):
        yield _candidate(arena, method, start, moves, law, moved, passed=passed)
        passed = 0  # the start is made once


def layer_wise(arena: Arena, method: LayerWise) -> Proposals:
    """Propose one coefficient per expert and matrix, as layer-wise AdaMerging (Yang et al., ICLR 2024) has them.

    AdaMerging minimises the entropy of answers to unlabelled items; here it is the cross-entropy of right answers,
    which is what all methods of this module are given.
    """
    layout = arena.session.layout
    experts = torch.from_numpy(np.stack([expert.values for expert in arena.experts]))
    where = torch.from_numpy(matrix_of(layout))

    def parametrise(coefficients: torch.Tensor) -> torch.Tensor:
        own = coefficients.view(arena.n_experts, -1)[:, where.to(coefficients.device)]
        return (own * experts.to(coefficients.device)).sum(0)

    first = torch.full((arena.n_experts * len(layout.matrices),), method.coefficient)
    start = arena.blend([method.coefficient] * arena.n_experts)
    for law in laws(method):
        yield _candidate(arena, method, start, first, law, parametrise)


def matrix_of(layout: Layout) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    """Return (layout.size,) the position of the matrix that each number of a genome belongs to."""
    where = np.zeros(layout.size, np.int64)
    for index in range(len(layout.matrices)):
        if layout.form == "Core":
            where[layout.core_of(index)] = index
        else:
            for expert in range(len(layout.experts)):
                where[layout.gains_of(expert, index)] = index
    return where


def laws(method: Stepping) -> Iterator[Law]:
    """Yield every pair of steps and learning rate, in the order of the file."""
    for steps, rate in product(method.steps, method.learning_rates):
        yield Law(steps, rate)


def _candidate(
    arena: Arena,
    method: Gradient,
    ground: Genome,
    first: torch.Tensor,
    law: Law,
    parametrise: Parametrise,
    *,
    passed: int = 0,
) -> Candidate:
    """Return the candidate that ``law`` makes of ``first``; ``passed`` tokens were trained on before."""
    shares, lessons = [1.0] * arena.n_experts, arena.lessons(method)
    planned = schooling(arena, method, law, arena.targets(method))

    def make() -> Genome:
        rng = planned.rng()
        done = arena.guide.descend(ground, first, lessons, shares, law, method.batch_items, rng, parametrise)
        return done.genome(ground)

    return Candidate(label(law), make, passed + planned.tokens)


@dataclass(frozen=True)
class Schooling:
    """What training will show.

    Attributes:
        tokens: passed forward and backward.
        shown: answers that are shown at least once.
        rng: makes the generator of its batches.
    """

    tokens: int
    shown: int
    rng: Callable[[], np.random.Generator]


def schooling(arena: Arena, method: Stepping, law: Law, targets: Sequence[Target]) -> Schooling:
    """Return what steps of a law on these answers will show."""

    def rng() -> np.random.Generator:
        return generator(arena.seed, -1, f"contest/{method.name}/{law.steps}/{law.learning_rate}")

    draw = batches(targets, [1.0] * arena.n_experts, method.batch_items, rng())
    drawn = [target for step in range(law.steps) for target in draw(step).targets]
    # All of a task's answers come before any comes again.
    shown = Counter(target.task for target in drawn) & Counter(target.task for target in targets)
    return Schooling(sum(len(target.tokens) for target in drawn), shown.total(), rng)


def label(law: Law) -> str:
    """Return what a candidate of this law is called."""
    return f"{law.steps} steps, rate {law.learning_rate:g}"
