"""What methods propose: on a landscape with a known summit, without models; and merges against peft and numpy."""

from __future__ import annotations

from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
import torch
from peft.utils import merge_utils

from cycleqd.genome import Genome, Layout, Matrix, combine, expert_genome
from cycleqd_runner.assess import Weights
from cycleqd_runner.contest.arena import Arena
from cycleqd_runner.contest.libraries import OF_METHODS, refuse_missing
from cycleqd_runner.contest.methods import METHODS, Candidate
from cycleqd_runner.contest.methods.sparse import merged
from cycleqd_runner.contest.spec import CmaEs, Dare, NsgaII, PolicyGradient, RandomSearch, Ties

SUMMIT = np.array([0.7, 0.2])
LAYOUT = Layout(("a", "b"), (Matrix("w", (1, 1)),))


@dataclass
class Plain:
    """An arena without models: two experts of one gain each, so that a genome's values are its coefficients."""

    seed: int = 0
    names: tuple[str, ...] = ("a", "b")
    n_experts: int = 2
    experts = tuple(expert_genome(LAYOUT, k) for k in range(2))

    def blend(self, coefficients: list[float]) -> Genome:
        return combine(self.experts, coefficients)

    def random_seed(self, method: Any) -> int:
        return self.seed + 1


def climb(method: Any, evaluations: int, seed: int = 0) -> list[tuple[np.ndarray[Any, Any], float]]:
    """Return what a method proposes and its mean score, on two tasks that fall off around the summit."""
    proposals = METHODS[method.type](cast(Arena, Plain(seed)), method)
    candidate, found = next(proposals), []
    for _ in range(evaluations):
        model = candidate.make()
        assert isinstance(model, Genome)
        at = model.values.astype(np.float64)
        scores = np.array([np.exp(-4 * (at[0] - SUMMIT[0]) ** 2), np.exp(-4 * (at[1] - SUMMIT[1]) ** 2)])
        found.append((at, float(scores.mean())))
        candidate = proposals.send(scores)
    return found


COEFFICIENTS = [
    pytest.param(RandomSearch(name="m", type="RandomSearch"), id="random"),
    pytest.param(CmaEs(name="m", type="CmaEs"), id="CMA-ES"),
    pytest.param(PolicyGradient(name="m", type="PolicyGradient"), id="policy gradient"),
    pytest.param(NsgaII(name="m", type="NsgaII", population=6), id="NSGA-II"),
]


@pytest.mark.parametrize("method", COEFFICIENTS)
def test_the_same_seed_proposes_the_same(method: Any) -> None:
    first, again, other = climb(method, 20), climb(method, 20), climb(method, 20, seed=1)
    assert all(np.array_equal(one, two) for (one, _), (two, _) in zip(first, again, strict=True))
    assert not all(np.array_equal(one, two) for (one, _), (two, _) in zip(first, other, strict=True))


@pytest.mark.parametrize("method", COEFFICIENTS[1:])
def test_methods_climb(method: Any) -> None:
    """The last proposals are better than the first ones, and than those of random search."""
    found = [score for _, score in climb(method, 120)]
    blind = [score for _, score in climb(RandomSearch(name="m", type="RandomSearch"), 120)]
    assert np.mean(found[-20:]) > max(np.mean(found[:10]), np.mean(blind)) + 0.02
    assert max(found) > 0.98


def test_coefficients_are_named() -> None:
    proposals = METHODS["CmaEs"](cast(Arena, Plain()), CmaEs(name="m", type="CmaEs"))
    candidate = next(proposals)
    model = candidate.make()
    assert isinstance(model, Genome)
    a, b = model.values
    assert candidate.label == f"{a:+.2f} a {b:+.2f} b"


def arena_of(base: torch.Tensor, *experts: torch.Tensor) -> Arena:
    """Return an arena whose models consist of one matrix."""
    made: dict[str, torch.Tensor] = {"base": base, **{f"{k}": expert for k, expert in enumerate(experts)}}

    def tensors(model: str, **_: Any) -> list[tuple[str, torch.Tensor]]:
        return [("w", made[model])]

    session = SimpleNamespace(materialiser=SimpleNamespace(tensors=tensors), nothing="base")
    own = tuple(f"{k}" for k in range(len(experts)))
    return cast(Arena, SimpleNamespace(session=session, experts=own, n_experts=len(own), seed=0))


def by_hand(base: torch.Tensor, *experts: torch.Tensor) -> torch.Tensor:
    """Return TIES with the upper half of the entries and weight 1, step by step as in the paper."""
    vectors = [(expert - base).numpy() for expert in experts]
    trimmed = []
    for vector in vectors:
        smallest = np.sort(np.abs(vector).ravel())[vector.size // 2]
        trimmed.append(np.where(np.abs(vector) >= smallest, vector, 0.0))
    stacked = np.stack(trimmed)
    sign = np.where(stacked.sum(axis=0) >= 0, 1.0, -1.0)
    agrees = np.sign(stacked) == sign
    return base + torch.from_numpy((stacked * agrees).sum(axis=0) / np.maximum(agrees.sum(axis=0), 1)).float()


def test_ties_is_the_papers() -> None:
    generator = torch.Generator().manual_seed(0)
    base, *experts = (torch.randn(6, 4, generator=generator) for _ in range(4))
    arena = arena_of(base, *experts)
    (method,) = (Ties(name="t", type="Ties", densities=(0.5,), weights=(1.0,)),)
    (candidate,) = METHODS["Ties"](arena, method)
    model = candidate.make()
    assert isinstance(model, Weights)
    ((name, found),) = model.tensors()
    assert name == "w"
    assert torch.allclose(found, by_hand(base, *experts), atol=1e-6)
    assert candidate.label == "density 0.5, weight 1"


def test_dare_keeps_the_mean_and_drops_as_many_as_it_says() -> None:
    base, experts = torch.zeros(100, 100), [torch.ones(100, 100), torch.ones(100, 100)]
    ((_, found),) = merged(arena_of(base, *experts), merge_utils.dare_linear, 0.25, 0.5)
    assert float(found.mean()) == pytest.approx(1.0, abs=0.05)
    assert float((found == 0).float().mean()) == pytest.approx(0.75**2, abs=0.02)
    assert set(found.flatten().tolist()) == {0.0, 2.0, 4.0}


def test_dare_drops_the_same_entries_again_and_disturbs_nobody() -> None:
    arena = arena_of(torch.zeros(20, 20), torch.ones(20, 20), torch.ones(20, 20))
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    once, again = (next(merged(arena, merge_utils.dare_ties, 0.5, 1.0))[1] for _ in range(2))
    assert torch.equal(once, again)
    assert torch.equal(torch.rand(3), expected)


@pytest.mark.parametrize(
    ("method", "kinds"),
    [
        (Ties(name="m", type="Ties"), 9),
        (Dare(name="m", type="Dare"), 9),
        (Dare(name="m", type="Dare", merge="Ties", densities=(0.5,), weights=(1.0, 0.5)), 2),
    ],
    ids=["TIES", "DARE", "DARE-TIES"],
)
def test_a_grid_is_tried_once_and_told_apart(method: Any, kinds: int) -> None:
    candidates: list[Candidate] = list(METHODS[method.type](arena_of(torch.zeros(1)), method))
    assert len({candidate.make().digest for candidate in candidates}) == len(candidates) == kinds


def test_missing_libraries_are_told_before_anything_is_done(monkeypatch: pytest.MonkeyPatch) -> None:
    for kind, package in OF_METHODS.items():
        monkeypatch.setattr(f"{refuse_missing.__module__}.find_spec", lambda name, gone=package: name != gone or None)
        methods = [SimpleNamespace(type="Ties"), SimpleNamespace(type=kind)]
        with pytest.raises(Exception, match=rf"needs {package}, which is missing: install cycleqd\[compare\]"):
            refuse_missing(cast(Any, SimpleNamespace(methods=methods)))
