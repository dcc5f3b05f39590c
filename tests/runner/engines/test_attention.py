"""Attention over whole sequences, as gradients need it."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from cycleqd_runner.engines.attention import Whole
from cycleqd_runner.engines.prefixes import tree

SEQUENCES = ([1, 2, 3, 4, 5, 6, 7], [1, 2, 3, 8], [9, 9])
N_TOKENS = 10
"""Nodes of their prefix tree."""


def attended(dtype: torch.dtype, window: int | None) -> tuple[Tensor, ...]:
    """Return the output, and its gradients with respect to queries, keys and values, of numbers that bfloat16 has."""
    generator = torch.Generator().manual_seed(0)
    shapes = ((4, N_TOKENS, 8), (2, N_TOKENS, 8), (2, N_TOKENS, 8))
    inputs = [torch.randn(shape, generator=generator).bfloat16().to(dtype).requires_grad_() for shape in shapes]
    step = Whole(tree(SEQUENCES), torch.device("cpu"))
    out = step.attend(*inputs, layer=0, scale=None, window=window)
    return out, *torch.autograd.grad(out.float().square().sum(), inputs, torch.ones(()))


@pytest.mark.parametrize("window", [None, 3])
def test_on_cpus_bfloat16_is_rounded_once(window: int | None) -> None:
    found, exact = (attended(dtype, window) for dtype in (torch.bfloat16, torch.float32))
    assert {tensor.dtype for tensor in found} == {torch.bfloat16}
    assert torch.equal(found[0], exact[0].bfloat16())
    for own, precise in zip(found[1:], exact[1:], strict=True):
        torch.testing.assert_close(own.float(), precise, rtol=0.02, atol=0.02)
