"""Gradient descent on a genome: Adam on the cross-entropy of right answers. Where they come from is not known here.

The model's own parameters stay as they are; what is learned are the genome's few thousand numbers, in float32, or
whatever smaller thing they are made of (``parametrise``), such as one coefficient per expert and layer.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from cycleqd.genome import Genome
from cycleqd_runner.engines.attention import Whole
from cycleqd_runner.engines.contract import Lent
from cycleqd_runner.engines.memory import memory_for
from cycleqd_runner.engines.prefixes import tree
from cycleqd_runner.guide.overlay import Overlay
from cycleqd_runner.guide.targets import Batch, Draw, Target

_LOG = logging.getLogger(__name__)
_TELL_SECONDS = 30.0
"""Between two lines of the log about how far the steps are."""

Parametrise = Callable[[Tensor], Tensor]
"""Makes the genome's numbers (layout.size,) of what is learned; differentiable."""


@dataclass(frozen=True)
class Law:
    """How steps are taken.

    Attributes:
        steps: how many.
        learning_rate: Adam's, of the first step; it falls to zero along half a cosine.
        batch_tokens: tokens that one forward pass may have; bounds the memory of activations.
    """

    steps: int
    learning_rate: float
    batch_tokens: int = 2048


@dataclass(frozen=True)
class Descended:
    """What came of it.

    Attributes:
        learned: what was learned, float32.
        values: (layout.size,) the genome's numbers made of it.
        losses: (steps,) mean cross-entropy per answer token, in nats, before each step.
        tokens: that were passed forward and backward.
        shown: :attr:`Target.source` of every target that a batch had.
    """

    learned: Tensor
    values: Tensor
    losses: tuple[float, ...]
    tokens: int
    shown: frozenset[int]

    def genome(self, start: Genome) -> Genome:
        """Return the genome with these numbers, and the coefficients of ``start``, which gradients leave alone."""
        return Genome(self.values.cpu().numpy().astype(np.float32), start.coefficients)


def descend(
    lent: Lent, overlay: Overlay, start: Tensor, draw: Draw, law: Law, parametrise: Parametrise = lambda x: x
) -> Descended:
    """Take Adam steps (Kingma & Ba 2015) from ``start``.

    Args:
        lent: a model with the base's weights.
        overlay: of this model and the run's genomes.
        start: what is learned, before the first step; for a genome its numbers (layout.size,).
        draw: the batch of each step.
        law: how.
        parametrise: makes the genome's numbers of what is learned.

    Raises:
        OutOfMemory: the memory does not suffice.
    """
    device = next(lent.model.parameters()).device
    learned = start.detach().to(device, torch.float32, copy=True).requires_grad_()
    optimiser = torch.optim.Adam([learned], lr=law.learning_rate)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda step: (1 + math.cos(math.pi * step / law.steps)) / 2)
    losses, tokens, shown = list[float](), 0, set[int]()
    lent.model.requires_grad_(requires_grad=False)
    begun = told = time.monotonic()
    with overlay.attached():
        for step in range(law.steps):
            batch = draw(step)
            optimiser.zero_grad()
            losses.append(_backward(lent, overlay, learned, parametrise, batch, law.batch_tokens))
            optimiser.step()
            schedule.step()
            tokens += sum(len(target.tokens) for target in batch.targets)
            shown |= {target.source for target in batch.targets}
            if (now := time.monotonic()) - told >= _TELL_SECONDS:
                told, done = now, step + 1
                minutes = (now - begun) / 60 * (law.steps - done) / done
                _LOG.info(f"Gradient step {done} of {law.steps}, loss {losses[-1]:.3f}, about {minutes:.1f} min left")
    with torch.no_grad():
        values = parametrise(learned.detach())
    return Descended(learned.detach(), values, tuple(losses), tokens, frozenset(shown))


def _backward(
    lent: Lent, overlay: Overlay, learned: Tensor, parametrise: Parametrise, batch: Batch, batch_tokens: int
) -> float:
    """Add a batch's gradient to ``learned`` and return its loss."""
    total = 0.0
    for part in parts(batch, batch_tokens):
        overlay.follow(parametrise(learned))
        with memory_for(
            f"a gradient over {len(part.targets)} answers of at most {batch_tokens} tokens together",
            "lower engine.args.maxBatchTokens",
        ):
            loss = answer_loss(lent, part.targets, part.weights)
            loss.backward()  # type: ignore[no-untyped-call]
        total += float(loss.detach())
    return total


def answer_loss(lent: Lent, targets: tuple[Target, ...], weights: tuple[float, ...]) -> Tensor:
    """Return the weighted sum of the answers' cross-entropies, each a mean over the answer's tokens, in nats."""
    device = next(lent.model.parameters()).device
    order = sorted(range(len(targets)), key=lambda i: targets[i].tokens)  # neighbours share their beginnings
    nodes = tree([targets[i].tokens for i in order])
    # The token at a node predicts the next one of its path.
    answers = [(path[targets[i].start - 1 :], weights[i]) for path, i in zip(nodes.paths, order, strict=True)]
    before = np.concatenate([path[:-1] for path, _ in answers])
    said = np.concatenate([path[1:] for path, _ in answers])
    each = np.concatenate([np.full(len(path) - 1, weight / (len(path) - 1)) for path, weight in answers])
    tokens, positions = (torch.from_numpy(numbers).to(device) for numbers in (nodes.tokens, nodes.positions))
    out = lent.model(
        input_ids=tokens[None],
        position_ids=positions[None],
        use_cache=False,
        logits_to_keep=torch.from_numpy(before).to(device),
        cycleqd_step=Whole(nodes, device),
    )
    losses = cross_entropy(out.logits[0].float(), tokens[said], reduction="none")
    return (losses * torch.from_numpy(each).to(losses)).sum()


def parts(batch: Batch, batch_tokens: int) -> list[Batch]:
    """Divide a batch into parts of similar lengths with at most ``batch_tokens`` tokens each (at least one target)."""
    order = sorted(range(len(batch.targets)), key=lambda i: len(batch.targets[i].tokens))
    groups, used = list[list[int]](), 0
    for i in order:
        length = len(batch.targets[i].tokens)
        if not groups or used + length > batch_tokens:
            groups.append([])
            used = 0
        groups[-1].append(i)
        used += length
    return [Batch(tuple(batch.targets[i] for i in part), tuple(batch.weights[i] for i in part)) for part in groups]
