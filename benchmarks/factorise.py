"""Factorising an expert against ``torch.linalg.svd`` of the same task vectors, and the error that is left in a child.

The two take turns on one thread and processor time is counted, so that a busy machine does not decide; the figure is
a ratio of sums over the layer shapes. Ours is all that ``prepare`` does: Gram matrix, eigenvectors, and their compact
form. A child scales every singular direction by its own random gain; its reference is numpy's float64 decomposition.
torch's decomposition in float32 does not reach an error of 1e-5, so the one to beat is in float64; both are reported.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from functools import partial
from statistics import median

import numpy as np
import numpy.typing as npt
import torch

from benchmarks.report import Figure, at_least, at_most, publish
from cycleqd_runner import factors, householder

Matrix = npt.NDArray[np.float64]

SHAPES = ((1024, 1024), (256, 1024), (2816, 1024), (1024, 2816))
"""A layer of a model of half a billion parameters: attention, grouped keys, MLP up and down."""
REPEATS = 3


def ours(expert: torch.Tensor, base: torch.Tensor) -> householder.Reflections:
    """Factorise as ``prepare`` does."""
    return householder.encode(factors.directions(factors.gram(expert, base)).columns)


def _timed(work: Callable[[], object]) -> float:
    start = time.process_time()
    work()
    return time.process_time() - start


def _child(tau: Matrix, directions: Matrix, gains: Matrix) -> Matrix:
    """Return tau V diag(g) V^T on the smaller side."""
    tall = tau if tau.shape[0] >= tau.shape[1] else tau.T
    child: Matrix = tall @ (directions * gains) @ directions.T
    return child


def _relative(got: Matrix, expected: Matrix) -> float:
    return float(np.linalg.norm(got - expected) / np.linalg.norm(expected))


def errors(expert: torch.Tensor, base: torch.Tensor) -> tuple[float, float]:
    """Return the relative errors of a child made with our directions and with those of a float32 decomposition."""
    tau = expert.double().numpy() - base.double().numpy()
    d = min(tau.shape)
    u, _, vh = np.linalg.svd(tau, full_matrices=False)
    exact = vh.T if tau.shape[0] >= tau.shape[1] else u
    gains = 1.0 + 0.3 * np.random.default_rng(0).random(d)
    expected = _child(tau, exact, gains)
    own = householder.decode(ours(expert, base), d, torch.float32).double().numpy()
    tall = tau if tau.shape[0] >= tau.shape[1] else tau.T
    mean = gains.mean()  # as materialise does: the mean gain multiplies tau itself
    got = mean * tall + _child(tau, own, gains - mean)
    plain_u, plain_s, plain_v = torch.linalg.svd(torch.from_numpy(tall).float(), full_matrices=False)
    plain = plain_u.double().numpy() * (plain_s.double().numpy() * gains) @ plain_v.double().numpy()
    return _relative(got, expected), _relative(plain, expected)


def main() -> int:
    """Measure, report and return the exit code."""
    torch.set_num_threads(1)
    generator = torch.Generator().manual_seed(0)
    totals = {"ours": 0.0, "float64": 0.0, "float32": 0.0}
    worst, worst_plain = 0.0, 0.0
    for shape in SHAPES:
        base, noise = torch.randn(2, *shape, generator=generator)
        expert, base = (base + 0.1 * noise).bfloat16(), base.bfloat16()
        tau = expert.double() - base.double()
        svd = partial(torch.linalg.svd, full_matrices=False)
        work: dict[str, Callable[[], object]] = {
            "ours": partial(ours, expert, base),
            "float64": partial(svd, tau),
            "float32": partial(svd, tau.float()),
        }
        rounds = [{name: _timed(run) for name, run in work.items()} for _ in range(REPEATS)]
        for name in totals:
            totals[name] += median(durations[name] for durations in rounds)
        own, plain = errors(expert, base)
        worst, worst_plain = max(worst, own), max(worst_plain, plain)
    return publish(
        __file__,
        [
            at_least("torch.linalg.svd float64 / factorise", totals["float64"] / totals["ours"], "x", 2.0),
            Figure("torch.linalg.svd float32 (less exact) / factorise", totals["float32"] / totals["ours"], "x"),
            at_most("relative error of a child's task vector", worst, "", 1e-5),
            Figure("the same with float32 torch.linalg.svd", worst_plain, ""),
        ],
    )


if __name__ == "__main__":
    sys.exit(main())
