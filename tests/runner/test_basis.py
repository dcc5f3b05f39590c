"""Factorising experts: directions against numpy's SVD, exact low-rank factors against peft, files that are checked."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from peft import PeftModel
from safetensors.torch import save_file
from transformers import AutoModelForCausalLM

from cycleqd.errors import BadData, BadManifest, BadModel, NoSpace
from cycleqd_runner import factors, householder
from cycleqd_runner.basis import MANIFEST, Basis, is_matrix
from cycleqd_runner.checkpoints import Checkpoint
from cycleqd_runner.factorise import factorise
from cycleqd_runner.layouts import expert_genomes, joint_basis, layout_of
from cycleqd_runner.lora import Adapter
from tests.runner.models import fine_tune, save_adapter, save_llama, save_matrices


def _orthonormal(d: int, r: int, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    columns: torch.Tensor = torch.linalg.qr(torch.randn(d, r, dtype=torch.float64, generator=generator))[0]
    return columns


class TestHouseholder:
    @settings(max_examples=60, deadline=None)
    @given(st.integers(1, 40), st.data())
    def test_columns_come_back_up_to_sign(self, d: int, data: st.DataObject) -> None:
        r = data.draw(st.integers(1, d))
        columns = _orthonormal(d, r, data.draw(st.integers(0, 1000)))
        got = householder.decode(householder.encode(columns), d, torch.float64)
        assert got.shape == (d, r)
        assert torch.allclose(got.T @ got, torch.eye(r, dtype=torch.float64), atol=1e-13)
        assert torch.allclose((got * columns).sum(0).abs(), torch.ones(r, dtype=torch.float64), atol=1e-9)
        assert torch.allclose(got @ got.T, columns @ columns.T, atol=2e-5)

    @pytest.mark.parametrize("columns", [torch.eye(5), -torch.eye(5), torch.eye(5)[:, [3, 1]], torch.eye(1)])
    def test_axes(self, columns: torch.Tensor) -> None:
        got = householder.decode(householder.encode(columns.double()), len(columns), torch.float64)
        assert torch.allclose(got.abs(), columns.abs().double(), atol=1e-12)

    @pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
    @pytest.mark.parametrize(("d", "r"), [(1, 1), (2, 2), (7, 3), (30, 30), (65, 64), (96, 5)])
    def test_unpacking_is_numpys_bit_for_bit(self, d: int, r: int, dtype: torch.dtype) -> None:
        stored = householder.encode(_orthonormal(d, r, d + r))
        high, low, scale = (part.numpy() for part in (stored.high, stored.low, stored.scale))
        low_halves = np.stack([low & 15, low >> 4], 1).reshape(-1)[: len(high)]
        codes = (high.astype(np.int64) * 16 + low_halves) - 2**19
        rows = np.zeros((r, d), np.float64 if dtype == torch.float64 else np.float32)
        rows[~np.tri(r, d, dtype=bool)] = codes
        rows *= scale[:, None].astype(rows.dtype) / rows.dtype.type(2**19 - 1)
        vectors = torch.from_numpy(rows).T
        tau = 2.0 / (1.0 + torch.linalg.vector_norm(vectors, dim=0, dtype=torch.float64) ** 2)
        expected = torch.linalg.householder_product(vectors, tau.to(dtype))
        assert torch.equal(householder.decode(stored, d, dtype), expected)

    def test_child_error_is_below_1e_5_and_size_below_a_quarter(self) -> None:
        d = 512
        generator = torch.Generator().manual_seed(1)
        tau = torch.randn(d, d, dtype=torch.float64, generator=generator)
        gains = torch.rand(d, dtype=torch.float64, generator=generator) * 0.3 + 1.0
        v = torch.linalg.svd(tau)[2].T
        stored = householder.encode(v)
        got = householder.decode(stored, d, torch.float32).double()
        expected = tau @ (v * gains) @ v.T
        error = (tau @ (got * gains) @ got.T - expected).norm() / expected.norm()
        assert error < 2e-6
        assert stored.nbytes <= 0.63 * 2 * d * d  # of bf16 V; 0.347 of a Llama-3-8B is V, so 0.217 of the model


class TestFactors:
    @pytest.mark.parametrize("shape", [(24, 24), (40, 24), (24, 40), (300, 7)])
    def test_directions_are_the_singular_vectors(self, shape: tuple[int, int]) -> None:
        rng = np.random.default_rng(0)
        base, expert = rng.normal(size=(2, *shape)).astype(np.float32)
        tau = expert.astype(np.float64) - base
        u, s, vh = np.linalg.svd(tau, full_matrices=False)
        expected = vh if shape[0] >= shape[1] else u.T
        found = factors.directions(factors.gram(torch.tensor(expert), torch.tensor(base)))
        assert found.is_exact
        assert found.energy == pytest.approx(1.0)
        cosines = np.abs((found.columns.numpy().T * expected).sum(1))
        np.testing.assert_allclose(cosines, 1.0, atol=1e-9)  # in descending order, too
        cut = factors.directions(factors.gram(torch.tensor(expert), torch.tensor(base)), rank=5)
        assert cut.columns.shape[1] == 5
        assert not cut.is_exact
        assert cut.energy == pytest.approx((s[:5] ** 2).sum() / (s**2).sum())

    def test_gram_in_blocks(self, monkeypatch: pytest.MonkeyPatch) -> None:
        a, b = torch.randn(2, 100, 8)
        expected = factors.gram(a, b)
        monkeypatch.setattr(factors, "_BLOCK", 56)
        assert torch.allclose(factors.gram(a, b), expected, atol=1e-12)

    def test_rank_of_a_deficient_matrix(self) -> None:
        left, right = torch.randn(2, 30, 3, dtype=torch.float64)
        found = factors.directions(factors.gram(left @ right.T, torch.zeros(30, 30)))
        assert found.columns.shape == (30, 3)
        assert found.is_exact

    @pytest.mark.parametrize(("m", "n", "r"), [(20, 12, 3), (5, 9, 8), (4, 4, 1)])
    def test_low_rank_is_an_svd(self, m: int, n: int, r: int) -> None:
        generator = torch.Generator().manual_seed(m)
        left = torch.randn(m, r, dtype=torch.float64, generator=generator)
        right = torch.randn(r, n, dtype=torch.float64, generator=generator)
        us, v = factors.low_rank(left, right)
        s = np.linalg.svd((left @ right).numpy(), compute_uv=False)
        rank = min(m, n, r)
        assert us.shape == (m, rank)
        np.testing.assert_allclose(us.norm(dim=0).numpy(), s[:rank], rtol=1e-5)
        torch.testing.assert_close(us.double() @ v.double().T, left @ right, atol=1e-5, rtol=0)
        torch.testing.assert_close(v.T @ v, torch.eye(rank), atol=1e-5, rtol=0)
        flipped = factors.low_rank(-left, -right)
        assert all(torch.allclose(a, b, atol=1e-6) for a, b in zip(flipped, (us, v), strict=True))

    def test_zero_has_no_directions(self) -> None:
        us, v = factors.low_rank(torch.zeros(6, 2).double(), torch.randn(2, 5).double())
        assert us.shape == (6, 0)
        assert v.shape == (5, 0)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Checkpoint:
    return Checkpoint(save_llama(tmp_path_factory.mktemp("base") / "model"))


ADAPTERS: dict[str, dict[str, Any]] = {
    "plain": {},
    "rsLoRA": {"use_rslora": True, "r": 4},
    "patterns": {"rank_pattern": {"q_proj": 3}, "alpha_pattern": {"layers.1.mlp.down_proj": 5, "v_proj": 9}},
    "one module": {"target_modules": ["up_proj"]},
    "embedding": {"target_modules": ["embed_tokens", "o_proj"]},
    "saved modules": {"modules_to_save": ["lm_head", "input_layernorm"]},
}


@pytest.mark.parametrize("config", ADAPTERS.values(), ids=ADAPTERS)
def test_adapter_is_what_peft_merges(base: Checkpoint, tmp_path: Path, config: dict[str, Any]) -> None:
    def train_saved(model: Any) -> None:
        for name, parameter in model.named_parameters():
            if "modules_to_save" in name:
                parameter.add_(0.01)

    folder = save_adapter(base.folder, tmp_path / "lora", 3, change=train_saved, **config)
    model = AutoModelForCausalLM.from_pretrained(base.folder, dtype=torch.float32)
    merged = PeftModel.from_pretrained(model, folder).merge_and_unload().state_dict()
    adapter = Adapter(folder)
    assert adapter.matrices
    assert bool(adapter.saved) == ("modules_to_save" in config)
    for name in base.names:
        expected = merged[name].double()
        if name in adapter.matrices:
            left, right = adapter.factors(name)
            got = base.tensor(name).double() + left @ right
        else:
            got = (adapter if name in adapter.saved else base).tensor(name).double()
        torch.testing.assert_close(got, expected, atol=1e-6, rtol=1e-6)


def test_which_tensors_are_matrices() -> None:
    assert is_matrix("model.embed_tokens.weight", (64, 32))
    assert not is_matrix("model.layers.0.q_norm.weight", (8, 8))
    assert not is_matrix("model.layers.0.self_attn.q_proj.bias", (32,))
    assert not is_matrix("experts.weight", (2, 3, 4))


def test_full_expert(base: Checkpoint, tmp_path: Path) -> None:
    expert = Checkpoint(fine_tune(base.folder, tmp_path / "expert", 1))
    seen: list[str] = []
    manifest = factorise("sql", expert, base, tmp_path / "basis", on_tensor=seen.append)
    basis = Basis(tmp_path / "basis", expert, verify=True)
    assert basis.manifest == manifest
    assert seen == list(base.names)
    assert manifest.kind == "Full"
    assert {m.name for m in manifest.matrices} == {n for n in base.names if len(base.shape(n)) == 2}
    assert all(m.rank == min(m.shape) for m in manifest.matrices)
    assert all(other.is_changed for other in manifest.others)
    assert manifest.source == expert.checksums
    for entry in manifest.matrices:
        tau = (expert.tensor(entry.name).double() - base.tensor(entry.name).double()).numpy()
        u, _, vh = np.linalg.svd(tau, full_matrices=False)
        expected = vh.T if tau.shape[0] >= tau.shape[1] else u
        got = basis.directions(entry.name, torch.float64).numpy()
        np.testing.assert_allclose(np.abs((got * expected).sum(0)), 1.0, atol=1e-9)


@pytest.mark.parametrize("rank", [1, 5, 20])
def test_what_a_truncated_expert_keeps_is_measured(base: Checkpoint, tmp_path: Path, rank: int) -> None:
    """Against numpy's SVD, each matrix and all together; and what is stored gives the error that it promises."""
    expert = Checkpoint(fine_tune(base.folder, tmp_path / "expert", 1))
    manifest = factorise("sql", expert, base, tmp_path / "basis", rank=rank)
    basis = Basis(tmp_path / "basis", expert)
    squares, losses = [], []
    for entry in manifest.matrices:
        tau = (expert.tensor(entry.name).double() - base.tensor(entry.name).double()).numpy()
        s = np.linalg.svd(tau, compute_uv=False)
        squares.append((s**2).sum())
        losses.append((s[rank:] ** 2).sum())
        assert entry.norm == pytest.approx(np.linalg.norm(tau))
        assert entry.energy == pytest.approx(1 - losses[-1] / squares[-1])
        assert entry.error == pytest.approx(np.sqrt(losses[-1] / squares[-1]), rel=1e-5)
        v = basis.directions(entry.name, torch.float64).numpy()
        rest = tau - tau @ v @ v.T if tau.shape[0] >= tau.shape[1] else tau - v @ v.T @ tau
        assert entry.error == pytest.approx(np.linalg.norm(rest) / np.linalg.norm(tau), abs=1e-7)
    assert basis.manifest.kept.energy == pytest.approx(1 - sum(losses) / sum(squares))
    assert basis.manifest.kept.error == pytest.approx(np.sqrt(sum(losses) / sum(squares)), rel=1e-5)
    written = json.loads((tmp_path / "basis" / MANIFEST).read_text(encoding="utf-8"))
    assert written["kept"] == manifest.kept.model_dump(), "those who read no more of the manifest find it there"


def test_whole_experts_keep_everything(base: Checkpoint, tmp_path: Path) -> None:
    full = factorise("full", Checkpoint(fine_tune(base.folder, tmp_path / "full", 1)), base, tmp_path / "basis0")
    lora = factorise(
        "lora", Adapter(save_adapter(base.folder, tmp_path / "lora", 1)), base, tmp_path / "basis1", rank=1
    )
    copy = factorise("copy", Checkpoint(base.folder), base, tmp_path / "basis2", rank=1)
    for manifest in (full, lora, copy):
        assert manifest.kept.energy == pytest.approx(1.0)
        assert manifest.kept.error == 0.0


def test_untouched_tensors_have_no_directions(base: Checkpoint, tmp_path: Path) -> None:
    manifest = factorise("copy", Checkpoint(base.folder), base, tmp_path / "basis")
    assert not any(m.rank for m in manifest.matrices)
    assert not any(o.is_changed for o in manifest.others)
    assert manifest.files == {}
    assert layout_of([manifest, manifest]).size == 0


def test_files_are_the_same_every_time(base: Checkpoint, tmp_path: Path) -> None:
    expert = Checkpoint(fine_tune(base.folder, tmp_path / "expert", 1))
    manifests = [factorise("sql", expert, base, tmp_path / str(i)) for i in range(2)]
    assert manifests[0] == manifests[1]


def test_directions_are_split_into_files(base: Checkpoint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cycleqd_runner.factorise.SHARD_BYTES", 1000)
    adapter = Adapter(save_adapter(base.folder, tmp_path / "lora", 1))
    manifest = factorise("sql", adapter, base, tmp_path / "basis")
    assert manifest.kind == "Lora"
    assert len(manifest.files) > 1
    basis = Basis(tmp_path / "basis")
    for name in adapter.matrices:
        left, right = adapter.factors(name)
        us, v = basis.factors(name)
        assert us.shape[1] == 2
        torch.testing.assert_close(us.double() @ v.double().T, left @ right, atol=1e-6, rtol=0)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full here, a disk that is always full")
def test_full_disk(base: Checkpoint, tmp_path: Path) -> None:
    adapter = Adapter(save_adapter(base.folder, tmp_path / "lora", 1))
    (tmp_path / "basis").mkdir()
    (tmp_path / "basis" / "directions-00000.safetensors").symlink_to("/dev/full")
    with pytest.raises(NoSpace, match=r"directions-00000\.safetensors has no room left"):
        factorise("sql", adapter, base, tmp_path / "basis")
    assert not (tmp_path / "basis" / MANIFEST).exists()


@pytest.mark.parametrize("who", ["base model", "expert sql", "adapter"])
@pytest.mark.parametrize("part", ["up_proj.weight", "layernorm.weight"])
def test_nan_names_the_tensor(who: str, part: str, base: Checkpoint, tmp_path: Path) -> None:
    if who == "adapter":
        adapter = save_adapter(base.folder, tmp_path / "lora", 1, change=lambda m: _poison(m, "1.mlp.down_proj.lora"))
        with pytest.raises(BadModel, match=r"expert sql has \d+ NaN .*layers\.1\.mlp\.down_proj\.weight"):
            factorise("sql", Adapter(adapter), base, tmp_path / "basis")
        return
    model = AutoModelForCausalLM.from_pretrained(base.folder, dtype="auto")
    _poison(model, part)
    model.save_pretrained(tmp_path / "bad")
    bad = Checkpoint(tmp_path / "bad")
    pair = (base, bad) if who == "base model" else (bad, base)
    with pytest.raises(BadModel, match=rf"{who} has 1 NaN .*{part}"):
        factorise("sql", *pair, tmp_path / "basis")
    assert not (tmp_path / "basis" / MANIFEST).exists()


def _poison(model: torch.nn.Module, part: str) -> None:
    parameter = next(p for n, p in model.named_parameters() if part in n)
    with torch.no_grad():
        parameter.view(-1)[0] = float("nan")


class TestDamagedBasis:
    @pytest.fixture
    def folder(self, base: Checkpoint, tmp_path: Path) -> Path:
        factorise("sql", Adapter(save_adapter(base.folder, tmp_path / "lora", 1)), base, tmp_path / "basis")
        return tmp_path / "basis"

    @pytest.mark.parametrize("name", [MANIFEST, "directions-00000.safetensors"])
    def test_missing_file(self, folder: Path, name: str) -> None:
        (folder / name).unlink()
        with pytest.raises(BadData, match=r"delete .* prepare"):
            Basis(folder)

    def test_changed_file(self, folder: Path) -> None:
        file = folder / "directions-00000.safetensors"
        data = bytearray(file.read_bytes())
        data[-1] ^= 1
        file.write_bytes(data)
        Basis(folder)
        with pytest.raises(BadData, match="another checksum"):
            Basis(folder, verify=True)

    def test_full_tensor_without_the_expert(self, folder: Path) -> None:
        with pytest.raises(BadData, match="needed but only its basis is here"):
            Basis(folder).tensor("model.norm.weight")


class TestLayouts:
    def test_ranks_of_all_experts(self, base: Checkpoint, tmp_path: Path) -> None:
        first = Adapter(save_adapter(base.folder, tmp_path / "a", 1, target_modules=["q_proj"]))
        second = Adapter(save_adapter(base.folder, tmp_path / "b", 2, r=3, target_modules=["q_proj", "up_proj"]))
        manifests = [factorise(n, e, base, tmp_path / f"basis-{n}") for n, e in (("a", first), ("b", second))]
        layout = layout_of(manifests)
        assert layout.experts == ("a", "b")
        assert {m.name.split(".", 3)[3]: m.ranks for m in layout.matrices} == {
            "self_attn.q_proj.weight": (2, 3),
            "mlp.up_proj.weight": (0, 3),
        }
        assert [m.name for m in layout.matrices] == [n for n in base.names if n in second.matrices]
        assert layout.others == ()

    def test_core_form_needs_lora_experts(self, base: Checkpoint, tmp_path: Path) -> None:
        full = factorise("sql", Checkpoint(fine_tune(base.folder, tmp_path / "expert", 1)), base, tmp_path / "basis")
        with pytest.raises(BadManifest, match="basis Child needs LoRA experts, but sql has full-rank"):
            layout_of([full, full], "Core")

    def test_bases_of_different_base_models(self, base: Checkpoint, tmp_path: Path) -> None:
        other = Checkpoint(save_llama(tmp_path / "other", 7))
        manifests = [
            factorise(str(i), Adapter(save_adapter(b.folder, tmp_path / f"a{i}", i)), b, tmp_path / f"basis{i}")
            for i, b in enumerate((base, other))
        ]
        with pytest.raises(BadModel, match="made for different base models"):
            layout_of(manifests)

    @pytest.mark.parametrize("shape", [(30, 20), (5, 20), (20, 5), (6, 6)], ids=str)
    def test_joint_basis_holds_every_expert(self, shape: tuple[int, int], tmp_path: Path) -> None:
        base = Checkpoint(save_matrices(tmp_path / "base", {"w.weight": torch.zeros(shape)}))
        bases = [_low_rank_basis(base, tmp_path / str(k), rank=3, seed=k) for k in range(3)]
        joint = joint_basis(bases, "w.weight")
        assert joint.cores.shape == (3, 9, 9)
        for k, basis in enumerate(bases):
            us, v = basis.factors("w.weight")
            got = joint.left @ joint.cores[k] @ joint.right.T
            torch.testing.assert_close(got, us.double() @ v.double().T, atol=1e-10, rtol=0)
        kept = min(shape[0], 9)
        torch.testing.assert_close((joint.left.T @ joint.left)[:kept, :kept], torch.eye(kept).double())
        layout = layout_of([b.manifest for b in bases], "Core")
        genomes = expert_genomes(bases, layout)
        np.testing.assert_allclose(genomes[1].values, joint.cores[1].reshape(-1), rtol=1e-6, atol=1e-7)


def _low_rank_basis(base: Checkpoint, folder: Path, rank: int, seed: int) -> Basis:
    """Factorise a LoRA expert of one matrix, written by hand because peft wants a model."""
    m, n = base.shape("w.weight")
    generator = torch.Generator().manual_seed(seed)
    a, b = torch.randn(rank, n, generator=generator), torch.randn(m, rank, generator=generator)
    folder.mkdir()
    (folder / "adapter_config.json").write_text(f'{{"peft_type": "LORA", "lora_alpha": {rank}}}')
    names = {"base_model.model.w.lora_A.weight": a, "base_model.model.w.lora_B.weight": b}
    save_file(names, folder / "adapter_model.safetensors")
    factorise(str(seed), Adapter(folder), base, folder / "basis")
    return Basis(folder / "basis")
