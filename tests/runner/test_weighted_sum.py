"""Weighted sums of stored tensors, against numpy in float64, and files made of them against the materialiser."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cycleqd.genome import Genome, combine
from cycleqd_runner import safetensors_writer, weighted_sum
from cycleqd_runner.basis import Basis
from cycleqd_runner.checkpoints import Checkpoint
from cycleqd_runner.export import export_checkpoint
from cycleqd_runner.factorise import factorise
from cycleqd_runner.layouts import expert_genomes, layout_of
from cycleqd_runner.materialise import Materialiser
from cycleqd_runner.model_card import ModelCard
from cycleqd_runner.safetensors_file import Stored, read_header
from cycleqd_runner.weighted_sum import WeightedSum, merged
from tests.runner.models import save_matrices

DTYPES = (torch.bfloat16, torch.float16, torch.float32)
SHAPES = {"embed.weight": (67, 12), "wide.weight": (12, 40), "norm.weight": (13,), "one.bias": (1,)}
CARD = ModelCard(name="merged", base_model="base", experts={})


def _models(folder: Path, count: int, dtype: torch.dtype, seed: int = 0) -> list[Checkpoint]:
    """Save ``count`` unrelated models; the first is the base."""
    generator = torch.Generator().manual_seed(seed)
    return [
        Checkpoint(
            save_matrices(
                folder / f"model{k}",
                {name: torch.randn(shape, generator=generator).to(dtype) for name, shape in SHAPES.items()}
                | {"steps": torch.arange(5)},
            )
        )
        for k in range(count)
    ]


def _materialiser(models: list[Checkpoint], work: Path) -> tuple[Materialiser, list[Genome]]:
    base, *experts = models
    bases = []
    for k, expert in enumerate(experts):
        factorise(f"expert{k}", expert, base, work / f"basis{k}")
        bases.append(Basis(work / f"basis{k}", expert))
    layout = layout_of([basis.manifest for basis in bases])
    return Materialiser(base, bases, layout), expert_genomes(bases, layout)


def _dense(stored: Stored) -> npt.NDArray[np.float64]:
    return stored.read().double().numpy()


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    dtype=st.sampled_from(DTYPES),
    weights=st.lists(st.floats(-2, 2, width=32), min_size=0, max_size=4),
    mean=st.booleans(),
    piece=st.integers(1, 60),
)
def test_a_merge_is_the_float64_one_rounded_once(
    tmp_path_factory: pytest.TempPathFactory, dtype: torch.dtype, weights: list[float], mean: bool, piece: int
) -> None:
    if mean and weights:
        weights = [float(np.float32(1 / len(weights)))] * len(weights)
    base, *experts = _models(tmp_path_factory.mktemp("sum"), 1 + len(weights), dtype)
    for name in SHAPES:
        old = _dense(base.stored(name))
        tau = [_dense(expert.stored(name)) - old for expert in experts]
        exact = old + sum(np.multiply(w, t) for w, t in zip(weights, tau, strict=True))
        found = merged(
            base.stored(name), [(e.stored(name), w) for e, w in zip(experts, weights, strict=True)], torch.float32
        )
        assert found.dtype == dtype
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(weighted_sum, "_PIECE", piece)
            whole = found.tensor(dtype)
            got = torch.cat([found.chunk(0, 1), found.chunk(1, whole.numel() - 1)]).view(whole.shape)
        assert torch.equal(got, whole), "parts are the whole's"
        size = np.abs(old) + sum(np.abs(w) * (np.abs(t) + np.abs(old)) for w, t in zip(weights, tau, strict=True))
        float32 = size * np.finfo(np.float32).eps * (2 + len(weights))
        nearest = [torch.from_numpy(exact + sign * float32).to(dtype) for sign in (-1, 1)]  # one rounding of either end
        assert ((whole >= nearest[0]) & (whole <= nearest[1])).all()


def test_a_mean_does_not_read_the_base(tmp_path: Path) -> None:
    base, *experts = _models(tmp_path, 4, torch.bfloat16)
    third = float(np.float32(1 / 3))
    parts = [(expert.stored("embed.weight"), third) for expert in experts]
    assert merged(base.stored("embed.weight"), parts, torch.float32).parts == tuple(part for part, _ in parts)
    assert merged(base.stored("embed.weight"), parts[:2], torch.float32).weights == (1 - 2 * third, third, third)


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_files_hold_bit_for_bit_what_is_materialised(
    tmp_path: Path, dtype: torch.dtype, threads: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(safetensors_writer, "CHUNK_BYTES", 100)
    materialiser, experts = _materialiser(_models(tmp_path, 3, dtype), tmp_path)
    noisy = combine(experts, [0.4, 0.6])
    own = materialiser.layout.gains_of(0, 1)
    noisy.values[own] *= np.linspace(0.5, 1.5, own.stop - own.start, dtype=np.float32)
    genomes = {
        "average": combine(experts, [0.5, 0.5]),
        "arithmetic": combine(experts, [0.9, 0.4]),
        "expert": experts[1],
        "base": combine(experts, [0.0, 0.0]),
        "one matrix with gains": noisy,
    }
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        for name, genome in genomes.items():
            streamed = dict(materialiser.streamed(genome))
            computed = [tensor for tensor, own in streamed.items() if not isinstance(own, WeightedSum)]
            assert computed == (["wide.weight"] if genome is noisy else [])
            folder = export_checkpoint(tmp_path / name, materialiser.base, materialiser.streamed(genome), CARD)
            written = Checkpoint(folder)
            for tensor, expected in materialiser.tensors(genome):
                assert torch.equal(written.tensor(tensor), expected), (name, tensor)
        assert torch.get_num_threads() == threads
    finally:
        torch.set_num_threads(before)


def test_parts_are_mapped_wherever_a_tensor_begins(tmp_path: Path) -> None:
    """Other software's headers have any length, and a page is 4096 bytes."""
    numbers = torch.arange(9000, dtype=torch.float32).bfloat16()
    for ahead in (8, 11, 4096, 5001):
        file = tmp_path / str(ahead)
        file.write_bytes(b" " * ahead + numbers.view(torch.uint8).numpy().tobytes())
        stored = Stored(file, torch.bfloat16, (90, 100), ahead, 2 * 9000)
        assert torch.equal(stored.mapped(), numbers)
        assert torch.equal(stored.mapped(4321, 777), numbers[4321 : 4321 + 777])
        assert torch.equal(stored.slab(slice(80, 95)), numbers.view(90, 100)[80:])
        assert torch.equal(stored.slab(slice(3, 9), columns=True), numbers.view(90, 100)[:, 3:9])
        assert stored.mapped(9000).numel() == 0


def test_an_error_in_a_thread_is_the_writers(tmp_path: Path) -> None:
    class Broken:
        dtype, shape = torch.bfloat16, (10,)

        def chunk(self, first: int, count: int) -> torch.Tensor:
            raise OSError(28, "No space left on device")

    plan = [safetensors_writer.Planned("w", torch.bfloat16, (10,))]
    with pytest.raises(OSError, match="No space"):
        safetensors_writer.write_file(tmp_path / "x.safetensors", plan, [Broken()])


_PEAK = """
import sys
from pathlib import Path
import torch
torch.set_num_threads(2)
from cycleqd_runner.checkpoints import Checkpoint
from cycleqd_runner.safetensors_writer import Planned, write_file
from cycleqd_runner.weighted_sum import merged

def status(key):
    return next(int(line.split()[1]) * 1024 for line in open("/proc/self/status") if line.startswith(key))

work = Path(sys.argv[1])
base, *experts = (Checkpoint(work / f"model{k}") for k in range(3))
open("/proc/self/clear_refs", "w").write("5")  # resets the peak
before = status("VmRSS")
plan = [Planned(name, base.dtype(name), base.shape(name)) for name in base.names]
sums = (merged(base.stored(n), [(e.stored(n), 0.6) for e in experts], torch.float32) for n in base.names)
write_file(work / "out.safetensors", plan, sums)
print(status("VmHWM") - before)
"""


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="the peak is read from Linux' /proc")
def test_peak_memory_of_a_merge_does_not_know_the_model(tmp_path: Path) -> None:
    """Mapped pages of the models count, too: 64 MiB and three chunks a thread hold everything, of 290 MB of files."""
    rows = 12_000
    for k in range(3):
        save_matrices(
            tmp_path / f"model{k}", {f"{i}.w": torch.full((rows, 1000), 0.5 + k).bfloat16() for i in range(4)}
        )
    command = [sys.executable, "-c", _PEAK, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=os.environ)
    assert int(done.stdout) <= (64 << 20) + 2 * 3 * safetensors_writer.CHUNK_BYTES
    expected = torch.full((1,), 0.5 + 0.6 * (1.5 - 0.5) + 0.6 * (2.5 - 0.5)).bfloat16()
    got = read_header(tmp_path / "out.safetensors")["3.w"].read()
    assert (got == expected).all()
