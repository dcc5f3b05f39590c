"""What an individual of a Llama-3-8B run with three full-rank experts costs: bytes, milliseconds, bytes of a basis.

Nothing of that size is loaded: the shapes make the layout. The dense computation is done on one real layer matrix,
with its singular vectors given, and extrapolated to the model by its multiplications, which the output says. Both take
turns: three rounds of seven children and one dense computation, of which medians are compared.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from statistics import median

import numpy as np
import torch

from benchmarks.report import Figure, at_most, publish
from cycleqd.api.search import LinearCrossover, SvdMutation
from cycleqd.crossover import cross
from cycleqd.genome import Genome, Layout, Matrix, expert_genome
from cycleqd.mutation import mutate
from cycleqd_runner import householder

EXPERTS = 3
HIDDEN, KEYS, MLP, VOCABULARY, LAYERS = 4096, 1024, 14336, 128256, 32
BYTES_OF_BF16 = 2
MEBI = 1e6
ROUNDS, CHILDREN = 3, 7


def shapes() -> dict[str, tuple[int, int]]:
    """Return the weight matrices of Llama-3-8B."""
    layer = {
        "self_attn.q_proj": (HIDDEN, HIDDEN),
        "self_attn.k_proj": (KEYS, HIDDEN),
        "self_attn.v_proj": (KEYS, HIDDEN),
        "self_attn.o_proj": (HIDDEN, HIDDEN),
        "mlp.gate_proj": (MLP, HIDDEN),
        "mlp.up_proj": (MLP, HIDDEN),
        "mlp.down_proj": (HIDDEN, MLP),
    }
    found = {"model.embed_tokens.weight": (VOCABULARY, HIDDEN), "lm_head.weight": (VOCABULARY, HIDDEN)}
    found |= {f"model.layers.{i}.{name}.weight": shape for i in range(LAYERS) for name, shape in layer.items()}
    return found


def layout() -> Layout:
    """Return the layout of a run of full-rank experts."""
    norms = ["input_layernorm", "post_attention_layernorm"]
    others = [f"model.layers.{i}.{norm}.weight" for i in range(LAYERS) for norm in norms]
    return Layout(
        experts=tuple(f"expert{k}" for k in range(EXPERTS)),
        matrices=tuple(Matrix(name, (min(shape),) * EXPERTS) for name, shape in shapes().items()),
        others=(*others, "model.norm.weight"),
    )


def seconds(own: Callable[[], object], dense: Callable[[], object]) -> tuple[float, float]:
    """Return the median durations of both, after a round that does not count."""
    took: dict[Callable[[], object], list[float]] = {own: [], dense: []}
    for turn in range(ROUNDS + 1):
        for work in (*(own,) * CHILDREN, dense):
            start = time.perf_counter()
            work()
            took[work] += [time.perf_counter() - start] if turn else []
    return median(took[own]), median(took[dense])


def breed(parents: tuple[Genome, Genome], of: Layout, child: int) -> Genome:
    """Return one child, as the cycle makes it."""
    rng = np.random.default_rng(child)
    crossed, _ = cross(*parents, of, LinearCrossover(), rng)
    return mutate(crossed, of, child % EXPERTS, SvdMutation(), rng)[0]


def dense() -> Callable[[], object]:
    """Return what breeds one q_proj as dense matrices: a lerp, and U diag(w S) V^T of a given decomposition."""
    generator = torch.Generator().manual_seed(0)
    first, second, us, v = (torch.randn(HIDDEN, HIDDEN, generator=generator) for _ in range(4))
    weights = torch.rand(HIDDEN, generator=generator) * 0.3
    return lambda: torch.lerp(first, second, 0.5).addmm_(us * weights, v.T)


def basis_bytes() -> int:
    """Return the bytes of one expert's directions: 2.5 a number below the diagonal, 4 a direction."""
    d = 96
    columns = torch.linalg.qr(torch.randn(d, d, dtype=torch.float64, generator=torch.Generator().manual_seed(0)))[0]
    if householder.encode(columns).nbytes != _directions_bytes(d):
        raise RuntimeError("the formula for the size of a basis is not what householder writes")
    return sum(_directions_bytes(min(shape)) for shape in shapes().values())


def _directions_bytes(d: int) -> int:
    numbers = d * (d - 1) // 2
    return 2 * numbers + (numbers + 1) // 2 + 4 * d


def main() -> int:
    """Measure, report and return the exit code."""
    of = layout()
    parents = expert_genome(of, 0), expert_genome(of, 1)
    model = sum(m * n for m, n in shapes().values())
    own, matrix = seconds(lambda: breed(parents, of, 5), dense())
    whole = matrix * sum(m * n * min(m, n) for m, n in shapes().values()) / HIDDEN**3
    size = len(parents[0].save(of))
    return publish(
        __file__,
        [
            at_most("genome of a Llama-3-8B run with 3 full-rank experts", size / MEBI, "MB", 9.0),
            Figure("its bf16 checkpoint, in genomes", model * BYTES_OF_BF16 / size, "x"),
            at_most("breeding one genome, median", own * 1e3, "ms", 50.0),
            Figure("breeding dense matrices, extrapolated from one q_proj, in genomes' time", whole / own, "x"),
            at_most("basis of one full-rank expert / bf16 model", basis_bytes() / (model * BYTES_OF_BF16), "x", 0.25),
        ],
    )


if __name__ == "__main__":
    sys.exit(main())
