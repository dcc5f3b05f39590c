"""Where guidance starts: the genome whose layers answer as each expert's own do to what that expert sees.

RegMean (Jin et al., ICLR 2023) merges linear layers in closed form: W minimises sum_k E |(W - W_k) x|^2 over the inputs
x that expert k sees. Within the span of genomes that is least squares with R unknowns a matrix (``Gains``) or R x R
(``Core``), from one forward pass per expert. Cores can send the inputs of each expert's task through its own factors,
which gains cannot.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial

import torch
from torch import Tensor, nn

from cycleqd.genome import Genome, Layout, combine
from cycleqd_runner.engines.attention import Whole
from cycleqd_runner.engines.contract import Lent
from cycleqd_runner.engines.prefixes import chunks, tree
from cycleqd_runner.guide.overlay import Overlay
from cycleqd_runner.guide.targets import Target

RIDGE = 1e-3
"""Pull towards the uniform start, as a share of the inputs' mean square: directions that no input uses stay there."""

Grams = Sequence[Tensor | None]
"""Per matrix (R, R) float64: the mean of z z^T over tokens, z = R^T x; None where an embedding looks rows up."""


def observe(lent: Lent, overlay: Overlay, targets: Sequence[Target], batch_tokens: int) -> Grams:
    """Return what the lent model's layers see of the targets, in the directions of their matrices."""
    sums: list[Tensor | None] = [None] * len(overlay.modules)
    sequences = sorted(target.tokens for target in targets)
    if not sequences:  # an expert that answered nothing rightly
        return sums
    device = next(lent.model.parameters()).device
    tokens = 0
    with torch.no_grad(), _watching(overlay, partial(_add, sums, overlay)):
        for part in chunks(sequences, batch_tokens) if sequences else ():
            nodes = tree([sequences[i] for i in part])
            tokens += len(nodes.tokens)
            lent.model(
                input_ids=torch.from_numpy(nodes.tokens)[None].to(device),
                position_ids=torch.from_numpy(nodes.positions)[None].to(device),
                use_cache=False,
                logits_to_keep=1,
                cycleqd_step=Whole(nodes, device),
            )
    return [None if total is None else total / tokens for total in sums]  # without targets: all None


def _add(sums: list[Tensor | None], overlay: Overlay, index: int, inputs: Tensor) -> None:
    right = overlay.factors[index][1]
    seen = (inputs @ right).reshape(-1, right.shape[1]).double()
    before = sums[index]
    sums[index] = seen.T @ seen if before is None else before.addmm_(seen.T, seen)


@contextmanager
def _watching(overlay: Overlay, see: Callable[[int, Tensor], None]) -> Iterator[None]:
    """Call ``see`` with each matrix' index and what its linear modules are given."""
    hooks = [
        module.register_forward_pre_hook(lambda _, inputs, index=index: see(index, inputs[0]))
        for index, modules in enumerate(overlay.modules)
        for module in modules
        if isinstance(module, nn.Linear)
    ]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def regress(layout: Layout, experts: Sequence[Genome], overlay: Overlay, seen: Sequence[Grams], gain: float) -> Genome:
    """Return the genome of the least squares.

    Args:
        layout: of the genomes.
        experts: their genomes, in the order of their ids.
        overlay: of the layout's factors.
        seen: (n_experts,) what each expert's own layers saw.
        gain: each expert's share in what the inputs leave open, and in whatever is not a linear layer.
    """
    uniform = combine(experts, [gain] * len(experts))
    values = uniform.values.copy()
    for index, matrix in enumerate(layout.matrices):
        grams = [own[index] for own in seen]
        observed = [gram for gram in grams if gram is not None]
        if len(observed) < len(experts):
            continue
        if layout.form == "Core":
            where, rank = layout.core_of(index), sum(matrix.ranks)
            cores = [torch.from_numpy(expert.values[where]).view(rank, rank).double() for expert in experts]
            values[where] = _core(cores, [gram.cpu() for gram in observed], gain).ravel().float().numpy()
            continue
        left = overlay.factors[index][0].double().cpu()
        places = [layout.gains_of(k, index) for k in range(len(experts))]
        gains = _gains(left, matrix.ranks, [gram.cpu() for gram in observed], gain).float().numpy()
        for place, own in zip(places, torch.split(torch.from_numpy(gains), list(matrix.ranks)), strict=True):
            values[place] = own.numpy()
    return Genome(values, uniform.coefficients)


def _core(cores: Sequence[Tensor], grams: Sequence[Tensor], gain: float) -> Tensor:
    """Return M (R, R) that minimises ``sum_k |(M - M_k) z|^2`` over z of Gram matrices (R, R), with a ridge."""
    ridge = _ridge(sum(grams, torch.zeros_like(grams[0])))
    wanted = sum(
        (core @ (gram + gain * ridge) for core, gram in zip(cores, grams, strict=True)), torch.zeros_like(ridge)
    )
    merged: Tensor = torch.linalg.solve(sum(grams, ridge), wanted, left=False)
    return merged


def _gains(left: Tensor, ranks: Sequence[int], grams: Sequence[Tensor], gain: float) -> Tensor:
    """Return g (R,) that minimises ``sum_k |L diag(g - e_k) z|^2``, e_k being 1 on expert k's own directions."""
    systems = [(left.T @ left) * gram for gram in grams]
    owner = torch.repeat_interleave(torch.arange(len(ranks)), torch.tensor(ranks))
    own = (owner == torch.arange(len(ranks))[:, None]).double()
    ridge = _ridge(sum(systems, torch.zeros_like(systems[0])))
    wanted = sum((system @ e for system, e in zip(systems, own, strict=True)), gain * ridge.diagonal())
    merged: Tensor = torch.linalg.solve(sum(systems, ridge), wanted)
    return merged


def _ridge(total: Tensor) -> Tensor:
    size = RIDGE * total.diagonal().mean()
    # Where nothing was seen at all the ridge alone decides.
    return torch.eye(len(total), dtype=total.dtype) * size.clamp_min(torch.finfo(total.dtype).tiny)
