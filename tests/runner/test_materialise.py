"""Genomes to weights, against lineages done with dense float64 matrices and numpy's SVD, and against mergekit."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch

from cycleqd.api.search import LinearCrossover, SvdMutation
from cycleqd.crossover import cross
from cycleqd.errors import BadData
from cycleqd.genome import Genome, Layout, combine
from cycleqd.mutation import mutate
from cycleqd_runner.basis import Basis
from cycleqd_runner.checkpoints import Checkpoint
from cycleqd_runner.compatibility import open_expert
from cycleqd_runner.factorise import factorise
from cycleqd_runner.layouts import expert_genomes, layout_of
from cycleqd_runner.materialise import Materialiser
from tests.runner.models import fine_tune, save_adapter, save_llama, save_matrices

Dense = dict[str, npt.NDArray[np.float64]]

MATRICES = {"tall.weight": (48, 20), "wide.weight": (20, 48), "square.weight": (32, 32)}
OTHERS = {"final_norm.weight": (20,), "square_norm.weight": (4, 4), "tall.bias": (48,)}
NO_MERGEKIT = "the oracle mergekit is not installed (pip install mergekit==0.1.5)"
GENERATIONS = 40
EXPERTS = 3


def _prepare(base: Checkpoint, folders: Sequence[Path], work: Path, form: str = "Gains") -> tuple[list[Basis], Layout]:
    bases = []
    for k, folder in enumerate(folders):
        expert = open_expert(folder)
        factorise(f"expert{k}", expert, base, work / f"basis{k}")
        bases.append(Basis(work / f"basis{k}", expert))
    return bases, layout_of([basis.manifest for basis in bases], form)  # type: ignore[arg-type]


def _full_models(work: Path, dtype: torch.dtype = torch.float32) -> tuple[Checkpoint, list[Path]]:
    """Save a base and three experts of a few bare tensors."""
    generator = torch.Generator().manual_seed(0)

    def tensors(scale: float) -> dict[str, torch.Tensor]:
        shapes = MATRICES | OTHERS
        return {name: torch.randn(shape, generator=generator).mul(scale).to(dtype) for name, shape in shapes.items()}

    origin = tensors(1.0)
    base = Checkpoint(save_matrices(work / "base", origin))
    moved = [{n: origin[n] + t for n, t in tensors(0.5).items()} for _ in range(EXPERTS)]
    return base, [save_matrices(work / f"model{k}", tensors) for k, tensors in enumerate(moved)]


def _dense(source: Checkpoint) -> Dense:
    return {name: source.tensor(name).double().numpy() for name in source.names}


def _svd_step(tau: npt.NDArray[np.float64], weights: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
    """Return U diag(w S) V^T of a dense task vector; w beyond the rank of tau does not matter."""
    u, s, vh = np.linalg.svd(tau, full_matrices=False)
    used = min(len(s), len(weights))
    step: npt.NDArray[np.float64] = (u[:, :used] * (weights[:used].astype(np.float64) * s[:used])) @ vh[:used]
    return step


class _Lineage:
    """Two individuals bred for generations, as genomes and as dense float64 task vectors, by the same random draws."""

    def __init__(self, base: Dense, experts: Sequence[Dense], genomes: Sequence[Genome], layout: Layout) -> None:
        self.layout = layout
        self.base = base
        self.experts = [{n: e[n] - base[n] for n in base} for e in experts]
        self.genomes = [genomes[0], genomes[1]]
        self.dense = [dict(self.experts[0]), dict(self.experts[1])]
        self.founders = list(genomes)

    def breed(self, generation: int) -> None:
        """Replace the older individual by a mutated child of both, or of the newer one and an expert."""
        mate = generation % EXPERTS if generation % 4 == 0 else None
        other = self.genomes[0] if mate is None else self.founders[mate]
        other_dense = self.dense[0] if mate is None else self.experts[mate]
        rng = np.random.default_rng(generation)
        law = LinearCrossover(standard_deviation=0.3)
        child, draws = cross(other, self.genomes[1], self.layout, law, rng)
        share = draws["firstParentShare"]
        dense = {n: share * other_dense[n] + (1 - share) * self.dense[1][n] for n in self.base}
        task = generation % EXPERTS
        child, _ = mutate(child, self.layout, task, SvdMutation(), np.random.default_rng(1000 + generation))
        self._mutate_dense(dense, task, np.random.default_rng(1000 + generation))
        self.genomes, self.dense = [self.genomes[1], child], [self.dense[1], dense]

    def _mutate_dense(self, dense: Dense, task: int, rng: np.random.Generator) -> None:
        for matrix in self.layout.matrices:
            is_core = self.layout.form == "Core"
            tau = dense[matrix.name] if is_core else self.experts[task][matrix.name]
            count = sum(matrix.ranks) if is_core else matrix.ranks[task]
            weights = rng.random(count, np.float32) * np.float32(0.3)
            dense[matrix.name] = dense[matrix.name] + _svd_step(tau, weights)

    def error(self, materialiser: Materialiser) -> float:
        """Return the largest relative error of a tensor's task vector in the newest individual."""
        errors = {}
        for name, tensor in materialiser.tensors(self.genomes[1], dtype=torch.float64):
            expected = self.dense[1][name]
            difference = np.linalg.norm(tensor.numpy() - self.base[name] - expected)
            errors[name] = float(difference / (np.linalg.norm(expected) or 1.0))
        assert errors.keys() == self.base.keys()
        return max(errors.values())


@pytest.mark.parametrize("arithmetic", [torch.float64, torch.float32], ids=str)
def test_lineage_of_full_rank_experts(tmp_path: Path, arithmetic: torch.dtype) -> None:
    base, folders = _full_models(tmp_path)
    bases, layout = _prepare(base, folders, tmp_path)
    assert layout.others == tuple(name for name in base.names if name in OTHERS)
    experts = [_dense(Checkpoint(folder)) for folder in folders]
    lineage = _Lineage(_dense(base), experts, expert_genomes(bases, layout), layout)
    for generation in range(GENERATIONS):
        lineage.breed(generation)
    assert lineage.error(Materialiser(base, bases, layout, arithmetic=arithmetic)) <= 1e-5


def _lora_models(work: Path) -> tuple[Checkpoint, list[Path], list[Dense]]:
    """Save a tiny Llama, three adapters on different modules with different ranks, and return their dense weights."""
    base = Checkpoint(save_llama(work / "base", dtype=torch.float32))
    modules = [["q_proj", "down_proj"], ["q_proj", "up_proj", "v_proj"], ["q_proj", "down_proj", "v_proj"]]
    folders = [
        save_adapter(base.folder, work / f"lora{k}", k, r=2 + k, target_modules=targets)
        for k, targets in enumerate(modules)
    ]
    dense = []
    for folder in folders:
        adapter = open_expert(folder)
        weights = _dense(base)
        for name in adapter.matrices:  # type: ignore[union-attr]
            left, right = adapter.factors(name)  # type: ignore[union-attr]
            weights[name] = weights[name] + (left @ right).numpy()
        dense.append(weights)
    return base, folders, dense


@pytest.mark.parametrize("form", ["Gains", "Core"])
def test_lineage_of_lora_experts(tmp_path: Path, form: str) -> None:
    base, folders, experts = _lora_models(tmp_path)
    bases, layout = _prepare(base, folders, tmp_path, form)
    lineage = _Lineage(_dense(base), experts, expert_genomes(bases, layout), layout)
    materialiser = Materialiser(base, bases, layout, arithmetic=torch.float64)
    assert lineage.error(materialiser) <= 1e-6
    for generation in range(GENERATIONS):
        lineage.breed(generation)
    assert lineage.error(materialiser) <= 1e-5


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32], ids=str)
def test_experts_and_base_come_back_bit_for_bit(tmp_path: Path, dtype: torch.dtype) -> None:
    base, folders = _full_models(tmp_path, dtype)
    bases, layout = _prepare(base, folders, tmp_path)
    materialiser = Materialiser(base, bases, layout)
    genomes = expert_genomes(bases, layout)
    for genome, folder in zip(genomes, folders, strict=True):
        expert = Checkpoint(folder)
        for name, tensor in materialiser.tensors(genome):
            assert torch.equal(tensor, expert.tensor(name)), name
            assert tensor.dtype == dtype
    nothing = combine(genomes, [0.0, 0.0, 0.0])
    for name, tensor in materialiser.tensors(nothing):
        assert torch.equal(tensor, base.tensor(name)), name


def test_a_truncated_basis_gives_the_truncated_expert(tmp_path: Path) -> None:
    base, folders = _full_models(tmp_path)
    expert = Checkpoint(folders[0])
    factorise("expert0", expert, base, tmp_path / "basis", rank=5)
    basis = Basis(tmp_path / "basis", expert)
    layout = layout_of([basis.manifest])
    materialiser = Materialiser(base, [basis], layout, arithmetic=torch.float64)
    for name, tensor in materialiser.tensors(expert_genomes([basis], layout)[0], dtype=torch.float64):
        if name in MATRICES:
            old, new = base.tensor(name).double().numpy(), expert.tensor(name).double().numpy()
            expected = _svd_step(new - old, np.ones(5, np.float32))
            np.testing.assert_allclose(tensor.numpy() - old, expected, atol=2e-5)
            entry = basis.matrix(name)
            share = np.linalg.norm(expected) ** 2 / np.linalg.norm(new - old) ** 2
            assert (entry.rank, entry.is_exact) == (5, False)
            assert entry.energy == pytest.approx(share)


def test_a_child_is_rounded_once(tmp_path: Path) -> None:
    base, folders = _full_models(tmp_path, torch.bfloat16)
    bases, layout = _prepare(base, folders, tmp_path)
    child = combine(expert_genomes(bases, layout), [0.5, 0.3, 0.2])
    exact = dict(Materialiser(base, bases, layout, arithmetic=torch.float64).tensors(child, dtype=torch.float64))
    for name, tensor in Materialiser(base, bases, layout).tensors(child):
        expected = exact[name].to(torch.bfloat16)
        assert (tensor != expected).double().mean() < 0.01, name  # float32 may fall on the other side of a tie


def test_only_what_can_change_is_yielded_on_request(tmp_path: Path) -> None:
    base, folders, _ = _lora_models(tmp_path)
    bases, layout = _prepare(base, folders, tmp_path)
    materialiser = Materialiser(base, bases, layout)
    genome = expert_genomes(bases, layout)[0]
    changed = [name for name, _ in materialiser.tensors(genome, changed_only=True)]
    assert changed == [matrix.name for matrix in layout.matrices]
    assert [name for name, _ in materialiser.tensors(genome)] == list(base.names)


def test_saved_modules_of_an_adapter_take_part(tmp_path: Path) -> None:
    def train(model: torch.nn.Module) -> None:
        for name, parameter in model.named_parameters():
            if "modules_to_save" in name:
                parameter.add_(torch.linspace(0, 1, parameter.numel()).view(parameter.shape))

    base = Checkpoint(save_llama(tmp_path / "base", dtype=torch.float32))
    saved = ["lm_head", "model.norm"]
    folders = [
        save_adapter(base.folder, tmp_path / "a", 0, modules_to_save=saved, change=train),
        save_adapter(base.folder, tmp_path / "b", 1),
    ]
    bases, layout = _prepare(base, folders, tmp_path)
    assert layout.others == ("model.norm.weight",)
    assert bases[0].manifest.kind == "Full"
    half = combine(expert_genomes(bases, layout), [0.5, 0.5])
    got = dict(Materialiser(base, bases, layout).tensors(half))
    for name in ("lm_head.weight", "model.norm.weight"):
        expected = (base.tensor(name) + bases[0].tensor(name)) / 2
        torch.testing.assert_close(got[name], expected)


def test_genomes_and_bases_of_another_run_are_refused(tmp_path: Path) -> None:
    base, folders, _ = _lora_models(tmp_path)
    bases, layout = _prepare(base, folders, tmp_path)
    with pytest.raises(BadData, match=r"of the experts expert0, expert1, expert2 but the bases of expert1, expert0"):
        Materialiser(base, [bases[1], bases[0]], layout)
    wrong = Genome(np.zeros(layout.size + 1, np.float32), np.zeros((3, 0), np.float32))
    with pytest.raises(BadData, match="it is of another run"):
        next(Materialiser(base, bases, layout).tensors(wrong))


@pytest.mark.parametrize("method", ["linear", "task_arithmetic"])
def test_merges_are_mergekits(tmp_path: Path, method: str) -> None:
    base = Checkpoint(save_llama(tmp_path / "base", dtype=torch.float32))
    folders = [fine_tune(base.folder, tmp_path / f"model{k}", k) for k in range(EXPERTS)]
    bases, layout = _prepare(base, folders, tmp_path)
    weights = [0.5, 0.2, 0.9]
    # mergekit's linear method divides by the sum of the weights, task arithmetic does not.
    used = [w / sum(weights) for w in weights] if method == "linear" else weights
    expected = _mergekit(method, base.folder, folders, weights, tmp_path)
    merged = combine(expert_genomes(bases, layout), used)
    for name, tensor in Materialiser(base, bases, layout).tensors(merged):
        torch.testing.assert_close(tensor, expected.tensor(name), atol=2e-6, rtol=1e-6)


def _mergekit(method: str, base: Path, folders: Sequence[Path], weights: Sequence[float], work: Path) -> Checkpoint:
    parts = (pytest.importorskip(f"mergekit.{part}", reason=NO_MERGEKIT) for part in ("config", "merge", "options"))
    config, merge, options = parts
    models = [{"model": str(f), "parameters": {"weight": w}} for f, w in zip(folders, weights, strict=True)]
    content: dict[str, object] = {"merge_method": method, "models": models, "dtype": "float32"}
    if method == "task_arithmetic":
        content["base_model"] = str(base)
    merging = config.MergeConfiguration.model_validate(content)
    merge.run_merge(merging, str(work / "merged"), options.MergeOptions(quiet=True))
    return Checkpoint(work / "merged")


_PEAK = """
import sys
from pathlib import Path
import torch
torch.set_num_threads(1)
from cycleqd.genome import combine
from cycleqd_runner.basis import Basis
from cycleqd_runner.checkpoints import Checkpoint
from cycleqd_runner.layouts import expert_genomes, layout_of
from cycleqd_runner.materialise import Materialiser

def status(key):
    return next(int(line.split()[1]) * 1024 for line in open("/proc/self/status") if line.startswith(key))

work = Path(sys.argv[1])
base = Checkpoint(work / "base")
bases = [Basis(work / f"basis{k}", Checkpoint(work / f"model{k}")) for k in range(2)]
layout = layout_of([basis.manifest for basis in bases])
first, second = expert_genomes(bases, layout)
first.values[::2] *= 1.2
child = combine([first, second], [0.6, 0.4])
materialiser = Materialiser(base, bases, layout)
square = torch.randn(384, 384)  # the same operations once, for the buffers that the libraries keep
torch.linalg.householder_product(square, torch.ones(384))
torch.linalg.vector_norm(square, dim=0, dtype=torch.float64)
torch.zeros(3000, 384).addmm_(torch.zeros(3000, 384), square)
del square
open("/proc/self/clear_refs", "w").write("5")  # resets the peak
before = status("VmRSS")
model = [tensor for _, tensor in materialiser.tensors(child)]
print(status("VmHWM") - before)
"""


@pytest.mark.skipif(
    not Path("/proc/self/clear_refs").exists(), reason="the peak of a process is read from Linux' /proc"
)
def test_peak_memory_is_the_model_and_a_few_slabs(tmp_path: Path) -> None:
    """Shapes in the proportions of a Llama-3-8B: embeddings of 31 square matrices, MLP matrices of 3.5."""
    d = 384
    shapes = {"embed.weight": (31 * d, d), "q.weight": (d, d), "up.weight": (3 * d, d), "down.weight": (d, 3 * d)}
    generator = torch.Generator().manual_seed(0)

    def save(name: str) -> Path:
        tensors = {n: torch.randn(s, generator=generator, dtype=torch.bfloat16) for n, s in shapes.items()}
        tensors |= {f"{i}.{n}": t.clone() for i in range(3) for n, t in tensors.items() if n != "embed.weight"}
        return save_matrices(tmp_path / name, tensors)

    base = Checkpoint(save("base"))
    _prepare(base, [save("model0"), save("model1")], tmp_path)
    command = [sys.executable, "-c", _PEAK, str(tmp_path)]
    strict = os.environ | {"MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_ARENA_MAX": "1"}  # freed memory is given back
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=strict)
    slabs = 24 << 20  # a sum, the base's and a task vector's 4 MiB, their pages, the buffers of the libraries
    assert int(done.stdout) <= base.nbytes + slabs  # the largest matrix alone would be 18 MiB in float32, three times
