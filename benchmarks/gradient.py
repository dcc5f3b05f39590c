"""Attention of a gradient step in bfloat16 on a CPU: torch's kernel as it is against guidance's, which uses float32.

One layer of the quickstart's model and a batch of guidance: sequences of 68 tokens that begin alike. Both take turns,
forward and backward, on one thread, and processor time is counted. CPUs without AMX compute guidance in float32 anyway;
there the figure is of no use.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from benchmarks.report import Figure, publish
from cycleqd_runner.engines.attention import Whole
from cycleqd_runner.engines.prefixes import tree

HEADS, KEY_HEADS, SIZE = 9, 3, 64
N_SEQUENCES, N_TOKENS, N_SHARED = 18, 68, 30
REPEATS = 20

Attend = Callable[[Tensor, Tensor, Tensor], Tensor]


def main() -> int:
    """Measure, report and return the exit code."""
    torch.set_num_threads(1)
    rng = np.random.default_rng(0)
    shared = rng.integers(0, 1000, N_SHARED)
    nodes = tree([[*shared, i, *rng.integers(0, 1000, N_TOKENS - N_SHARED - 1)] for i in range(N_SEQUENCES)])
    step = Whole(nodes, torch.device("cpu"))
    paths = torch.from_numpy(np.stack(nodes.paths))

    def kernel(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        queries, keys, values = (x[:, paths].transpose(0, 1) for x in (q, k, v))
        return scaled_dot_product_attention(queries, keys, values, is_causal=True, enable_gqa=True)

    def ours(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        return step.attend(q, k, v, layer=0, scale=None, window=None)

    def seconds(attend: Attend) -> float:
        q, k, v = (
            torch.randn(heads, len(nodes.tokens), SIZE, dtype=torch.bfloat16, requires_grad=True)
            for heads in (HEADS, KEY_HEADS, KEY_HEADS)
        )
        start = time.process_time()
        torch.autograd.grad(attend(q, k, v).sum(), (q, k, v))
        return time.process_time() - start

    rounds = [(seconds(kernel), seconds(ours)) for _ in range(REPEATS)]
    theirs, own = (float(np.median(times)) for times in zip(*rounds[1:], strict=True))
    return publish(
        __file__,
        [
            Figure("attention's forward and backward pass, torch in bfloat16 / ours", theirs / own, "x"),
            Figure("the same, ours", own * 1e3, "ms"),
        ],
    )


if __name__ == "__main__":
    sys.exit(main())
