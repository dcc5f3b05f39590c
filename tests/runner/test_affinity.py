"""Distances, angles and directions of experts against dense float64 numpy."""

from __future__ import annotations

from itertools import combinations
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from cycleqd.affinity import Affinity, Pair
from cycleqd.errors import BadModel
from cycleqd_runner.affinity import LEADING, LowRank, inner, leading, measure
from cycleqd_runner.checkpoints import Checkpoint
from cycleqd_runner.compatibility import open_expert
from cycleqd_runner.lora import Adapter
from tests.runner.models import fine_tune, save_adapter, save_llama, save_matrices

Dense = npt.NDArray[np.float64]


def _dense(base: Checkpoint, expert: Checkpoint | Adapter) -> dict[str, Dense]:
    """Return an expert's task vectors as dense matrices."""
    found = {}
    for name in base.names:
        old = base.tensor(name).double().numpy()
        if isinstance(expert, Checkpoint) or name in expert.saved:
            found[name] = expert.tensor(name).double().numpy() - old
        elif name in expert.matrices:
            left, right = expert.factors(name)
            found[name] = (left @ right).numpy()
        else:
            found[name] = np.zeros_like(old)
    return found


def _expected(base: Checkpoint, names: tuple[str, str], one: dict[str, Dense], two: dict[str, Dense]) -> Pair:
    """Return what the definitions say."""
    first, second, whole = (
        np.concatenate([part[name].ravel() for name in base.names])
        for part in (one, two, {name: base.tensor(name).double().numpy() for name in base.names})
    )
    spectra, overlaps = [], []
    for name in base.names:
        if one[name].ndim < 2 or not one[name].any() or not two[name].any():
            continue
        (_, s1, v1), (_, s2, v2) = (np.linalg.svd(part[name], full_matrices=False) for part in (one, two))
        k1, k2 = (min(LEADING, int((s > s[0] * 1e-6).sum())) for s in (s1, s2))
        padded = np.zeros((2, LEADING))
        padded[0, :k1], padded[1, :k2] = s1[:k1], s2[:k2]
        spectra.append(padded[0] @ padded[1] / np.prod(np.linalg.norm(padded, axis=1)))
        angles = np.linalg.svd(v1[:k1] @ v2[:k2].T, compute_uv=False)
        overlaps.append(np.mean(angles**2))
    return Pair(
        first=names[0],
        second=names[1],
        distance=float(np.linalg.norm(first - second) / np.linalg.norm(whole)),
        cosine=float(first @ second / (np.linalg.norm(first) * np.linalg.norm(second))),
        spectra=float(np.mean(spectra)) if spectra else None,
        overlap=float(np.mean(overlaps)) if overlaps else None,
    )


def _numbers(pair: Pair) -> list[float]:
    return [np.nan if number is None else number for number in (pair.distance, pair.cosine, pair.spectra, pair.overlap)]


def _check(base: Checkpoint, experts: dict[str, Checkpoint | Adapter], tolerance: float) -> Affinity:
    """Compare the measurement with the definitions."""
    found = measure(base, experts)
    dense = {name: _dense(base, expert) for name, expert in experts.items()}
    whole = np.sqrt(sum(float(base.tensor(name).double().square().sum()) for name in base.names))
    for name, own in dense.items():
        size = np.sqrt(sum(float(np.sum(part**2)) for part in own.values())) / whole
        assert found.sizes[name] == pytest.approx(size, rel=tolerance)
    assert [(pair.first, pair.second) for pair in found.pairs] == list(combinations(experts, 2))
    for pair in found.pairs:
        expected = _expected(base, (pair.first, pair.second), dense[pair.first], dense[pair.second])
        assert _numbers(pair) == pytest.approx(_numbers(expected), rel=tolerance, abs=tolerance, nan_ok=True)
    return found


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Checkpoint:
    return Checkpoint(save_llama(tmp_path_factory.mktemp("base") / "model", dtype=torch.float32))


def test_adapters_are_compared_exactly(base: Checkpoint, tmp_path: Path) -> None:
    experts = {
        "two": open_expert(save_adapter(base.folder, tmp_path / "two", 1)),
        "five": open_expert(save_adapter(base.folder, tmp_path / "five", 2, r=5, target_modules=["q_proj", "o_proj"])),
        "elsewhere": open_expert(save_adapter(base.folder, tmp_path / "elsewhere", 3, target_modules=["up_proj"])),
    }
    found = _check(base, experts, 1e-6)
    assert [pair.spectra is None for pair in found.pairs] == [False, True, True], "no matrix in common"
    assert found.pairs[1].cosine == 0.0


def test_adapters_with_full_tensors_are_compared_with_checkpoints(base: Checkpoint, tmp_path: Path) -> None:
    """Spectra of noise are flat, so that leading directions are no question here."""
    saved = save_adapter(base.folder, tmp_path / "saved", 4, modules_to_save=["lm_head"], change=_move_head)
    experts = {
        "saved": open_expert(saved),
        "full": open_expert(fine_tune(base.folder, tmp_path / "full", 5, size=0.01)),
    }
    found = measure(base, experts)
    dense = [_dense(base, expert) for expert in experts.values()]
    expected = _expected(base, ("saved", "full"), *dense)
    assert found.pairs[0].distance == pytest.approx(expected.distance, rel=1e-5)
    assert found.pairs[0].cosine == pytest.approx(expected.cosine, abs=1e-5)


def _move_head(model: torch.nn.Module) -> None:
    for name, parameter in model.named_parameters():
        if "lm_head.modules_to_save" in name:
            parameter.add_(0.01)


def _decaying(shape: tuple[int, int], seed: int) -> torch.Tensor:
    """Return a full-rank matrix with singular values 1, 1/2, 1/4 and so on."""
    rng = np.random.default_rng(seed)
    small = min(shape)
    left, right = (np.linalg.qr(rng.normal(size=(side, small)))[0] for side in shape)
    return torch.tensor((left * 0.5 ** np.arange(small)) @ right.T, dtype=torch.float32)


def test_checkpoints_are_compared_by_their_leading_directions(tmp_path: Path) -> None:
    shapes = {"wide.weight": (40, 90), "tall.weight": (70, 30), "small.weight": (6, 9)}
    old = {name: torch.randn(shape, generator=torch.Generator().manual_seed(1)) for name, shape in shapes.items()}
    old |= {"norm.weight": torch.ones(8), "steps": torch.arange(3)}
    base = Checkpoint(save_matrices(tmp_path / "base", old))
    shared = {name: _decaying(shape, 2) for name, shape in shapes.items()}
    experts: dict[str, Checkpoint | Adapter] = {}
    for seed, name in enumerate(("one", "two", "three")):
        own = {tensor: _decaying(shape, 10 + seed) for tensor, shape in shapes.items()}
        new = {tensor: old[tensor] + 0.1 * (own[tensor] + 0.5 * shared[tensor]) for tensor in shapes}
        new |= {"norm.weight": torch.ones(8) * (1 + seed), "steps": old["steps"]}
        experts[name] = Checkpoint(save_matrices(tmp_path / name, new))
    _check(base, experts, 2e-3)


def test_an_expert_twice_and_the_base_model_as_an_expert(base: Checkpoint, tmp_path: Path) -> None:
    sql = fine_tune(base.folder, tmp_path / "sql", 1)
    found = measure(base, {"sql": Checkpoint(sql), "again": Checkpoint(sql), "base": base})
    assert _numbers(found.pairs[0]) == pytest.approx([0.0, 1.0, 1.0, 1.0], abs=1e-5)
    assert [pair.standing for pair in found.pairs] == ["the same", "unchanged", "unchanged"]
    assert found.sizes["base"] == 0.0
    assert found.pairs[1].distance == pytest.approx(found.sizes["sql"])


def test_numbers_that_are_none_are_refused(base: Checkpoint, tmp_path: Path) -> None:
    broken = save_adapter(base.folder, tmp_path / "broken", 1, change=_break)
    with pytest.raises(BadModel, match=r"The expert shell has .* NaN"):
        measure(base, {"sql": base, "shell": open_expert(broken)})


def _break(model: torch.nn.Module) -> None:
    next(parameter for name, parameter in model.named_parameters() if "lora_B" in name).fill_(torch.nan)


ranks = st.integers(1, 6)


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 9), st.integers(1, 9), ranks, ranks, st.integers(0, 10**6))
def test_inner_products_need_no_dense_matrices(m: int, n: int, r1: int, r2: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    factors = [(rng.normal(size=(m, r)), rng.normal(size=(r, n))) for r in (r1, r2)]
    low = [LowRank(torch.tensor(left), torch.tensor(right)) for left, right in factors]
    dense = [left @ right for left, right in factors]
    expected = pytest.approx(float(np.sum(dense[0] * dense[1])), rel=1e-5, abs=1e-4)
    full = [torch.tensor(matrix, dtype=torch.float32) for matrix in dense]
    for first in (low[0], full[0]):
        for second in (low[1], full[1]):
            assert inner(first, second) == expected


@pytest.mark.parametrize("shape", [(24, 50), (50, 24), (3, 8), (1, 5), (5, 1)])
def test_leading_directions_of_small_matrices_are_exact(shape: tuple[int, int]) -> None:
    matrix = np.random.default_rng(3).normal(size=shape)
    values, right = leading(torch.tensor(matrix, dtype=torch.float32))
    _, expected, directions = np.linalg.svd(matrix, full_matrices=False)
    count = min(LEADING, *shape)
    np.testing.assert_allclose(values, expected[:count], rtol=1e-4)
    np.testing.assert_allclose(np.abs(np.sum(directions[:count] * right.T.numpy(), axis=1)), 1.0, atol=1e-3)


def test_directions_that_are_rounding_are_left_out() -> None:
    """A LoRA adapter that was merged into its base has as many directions as before."""
    rng = np.random.default_rng(0)
    merged = torch.tensor(rng.normal(size=(60, 3)) @ rng.normal(size=(3, 50)), dtype=torch.float32)
    assert len(leading(merged)[0]) == 3
