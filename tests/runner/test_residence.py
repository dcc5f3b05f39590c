"""What stays in memory from child to child: the bits are the same without it, and nothing is read twice with it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from cycleqd.errors import BadModel
from cycleqd.genome import Form, Genome
from cycleqd_runner.basis import Basis
from cycleqd_runner.checkpoints import Checkpoint
from cycleqd_runner.compatibility import open_expert
from cycleqd_runner.factorise import factorise
from cycleqd_runner.individual import Individual, Sources
from cycleqd_runner.layouts import layout_of
from cycleqd_runner.materialise import Materialiser
from cycleqd_runner.memory import Memory
from cycleqd_runner.residence import Held, Residence
from tests.runner.models import fine_tune, save_adapter, save_llama, save_matrices

CPU = torch.device("cpu")
Make = Callable[[Residence], Materialiser]


def _with_room(nbytes: int) -> Residence:
    """Return a residence that keeps at most so many bytes."""
    residence = Residence(Memory(CPU, lambda: nbytes - residence.nbytes))
    return residence


def _count_opened(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Return a list to which every file that is opened from now on is added."""
    opened: list[Path] = []
    own = Path.open

    def counted(path: Path, *args: Any, **kwargs: Any) -> Any:
        opened.append(path)
        return own(path, *args, **kwargs)

    monkeypatch.setattr(Path, "open", counted)
    return opened


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Checkpoint:
    return Checkpoint(save_llama(tmp_path_factory.mktemp("models") / "base"))


def _sources(base: Checkpoint, work: Path, kind: str, form: Form) -> tuple[Sources, list[Basis]]:
    """Return two experts on ``base``, made in ``work``: full-rank ones, LoRA adapters, or one of each."""
    full: Callable[..., Path] = fine_tune
    lora: Callable[..., Path] = save_adapter
    made = {"full": (full, full), "lora": (lora, lora), "mixed": (full, lora)}
    folders = [make(base.folder, work / f"model{k}", k) for k, make in enumerate(made[kind])]
    bases = []
    for k, folder in enumerate(folders):
        factorise(f"expert{k}", open_expert(folder), base, work / f"basis{k}")
        bases.append(Basis(work / f"basis{k}", open_expert(folder)))
    layout = layout_of([basis.manifest for basis in bases], form)
    return Sources(base.folder, tuple(folders), tuple(basis.folder for basis in bases), layout), bases


def _children(sources: Sources, count: int) -> list[Genome]:
    """Return genomes with a gain of its own for every direction; one matrix of full-rank experts has equal gains."""
    layout, rng = sources.layout, np.random.default_rng(0)
    shape = len(layout.experts), len(layout.others)
    found = []
    for _ in range(count):
        values = rng.uniform(0.3, 0.9, layout.size).astype(np.float32)
        if layout.form == "Gains":
            for k in range(len(layout.experts)):
                values[layout.gains_of(k, 0)] = 0.25
        found.append(Genome(values, rng.uniform(0, 0.5, shape).astype(np.float32)))
    return found


KINDS = [("full", "Gains"), ("lora", "Gains"), ("lora", "Core"), ("mixed", "Gains")]


@pytest.mark.parametrize(("kind", "form"), KINDS)
@pytest.mark.parametrize("share", [1.0, 0.4, 0.0], ids=["room for all", "for some", "for nothing"])
def test_a_child_is_the_same_bit_for_bit(base: Checkpoint, tmp_path: Path, kind: str, form: Form, share: float) -> None:
    sources, bases = _sources(base, tmp_path, kind, form)
    needed = _with_room(1 << 40)
    children = _children(sources, 3)
    list(Materialiser(base, bases, sources.layout, residence=needed).tensors(children[0]))
    residence = _with_room(int(share * needed.nbytes))
    resident = Materialiser(base, bases, sources.layout, residence=residence)
    for child in (*children, children[0]):
        expected = dict(Materialiser(base, bases, sources.layout).tensors(child))
        for name, tensor in resident.tensors(child):
            assert torch.equal(tensor, expected[name]), name
            tensor.zero_()  # whoever received a tensor may overwrite it
    assert residence.nbytes <= share * needed.nbytes
    assert (residence.nbytes > 0) == (share > 0)


@pytest.mark.parametrize(("kind", "form"), KINDS)
def test_the_second_swap_reads_no_file(
    base: Checkpoint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, form: Form
) -> None:
    sources, _ = _sources(base, tmp_path, kind, form)
    first, second = (Individual(sources, genome) for genome in _children(sources, 2))
    assert sources.open().resident_bytes == 0
    opened = _count_opened(monkeypatch)
    before = dict(first)
    assert {path.suffix for path in opened} >= {".safetensors"}, "else nothing is counted"
    opened.clear()
    after = dict(second)
    assert not [path for path in opened if path.suffix == ".safetensors"]
    assert before.keys() == after.keys() == first.names
    assert not torch.equal(before["model.layers.1.mlp.down_proj.weight"], after["model.layers.1.mlp.down_proj.weight"])


def test_directions_are_unpacked_once(base: Checkpoint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sources, bases = _sources(base, tmp_path, "full", "Gains")
    unpacked: list[str] = []
    own = Basis.directions

    def counted(basis: Basis, name: str, *args: Any) -> torch.Tensor:
        unpacked.append(f"{basis.expert} {name}")
        return own(basis, name, *args)

    monkeypatch.setattr(Basis, "directions", counted)
    materialiser = Materialiser(base, bases, sources.layout, residence=_with_room(1 << 40))
    for child in _children(sources, 3):
        list(materialiser.tensors(child, changed_only=True))
    assert len(unpacked) == len(set(unpacked)) == 2 * (len(sources.layout.matrices) - 1)  # one has equal gains


def test_one_model_to_be_written_keeps_nothing(base: Checkpoint, tmp_path: Path) -> None:
    sources, _ = _sources(base, tmp_path, "lora", "Gains")
    child = _children(sources, 1)[0]
    alone = sources.open()
    written = dict(alone.tensors(child))
    assert alone.resident_bytes == 0
    for name, tensor in sources.materialiser.tensors(child):
        assert torch.equal(tensor, written[name])
    assert sources.materialiser.resident_bytes >= sum(base.stored(n.name).nbytes for n in sources.layout.matrices)


class TestResidence:
    @pytest.fixture
    def model(self, tmp_path: Path) -> Checkpoint:
        rows = {f"{i}.w": torch.full((10, 25), float(i), dtype=torch.bfloat16) for i in range(4)}
        return Checkpoint(save_matrices(tmp_path / "model", rows))

    def test_first_come_first_kept(self, model: Checkpoint) -> None:
        residence = _with_room(1200)  # two of 500 bytes, and not three
        for _ in range(2):
            parts = [residence.part(model.stored(name)) for name in model.names]
            assert [isinstance(part, Held) for part in parts] == [True, True, False, False]
            for i, part in enumerate(parts):
                assert torch.equal(part.slab(slice(2, 5)), torch.full((3, 25), float(i), dtype=torch.bfloat16))
        assert residence.nbytes == 1000

    def test_what_is_small_enough_is_kept_still(self, model: Checkpoint) -> None:
        residence = _with_room(600)
        residence.part(model.stored("0.w"))
        assert not isinstance(residence.part(model.stored("1.w")), Held)
        small = torch.ones(20)
        assert residence.tensors("small", lambda: (small,))[0] is residence.tensors("small", lambda: (small + 1,))[0]

    def test_room_may_come_later(self, model: Checkpoint) -> None:
        rooms = iter((0, 500))
        residence = Residence(Memory(CPU, lambda: next(rooms)))
        assert not isinstance(residence.part(model.stored("0.w")), Held)
        assert isinstance(residence.part(model.stored("0.w")), Held)

    def test_the_first_memory_with_room_takes_it(self) -> None:
        calls = []

        def room(name: str, nbytes: int) -> Memory:
            return Memory(CPU, lambda: calls.append(name) or nbytes)  # type: ignore[func-returns-value]

        residence = Residence(room("near", 10), room("far", 100))
        residence.tensors("large", lambda: (torch.ones(5), torch.ones(5)))
        residence.tensors("small", lambda: (torch.ones(2),))
        assert calls == ["near", "far", "near"]

    def test_a_system_that_pins_nothing_keeps_it_all_the_same(self) -> None:
        if torch.cuda.is_available():
            pytest.skip("this system pins")
        residence = Residence(Memory(CPU, lambda: 100, is_pinned=True))
        columns = torch.arange(6.0).view(2, 3).T
        (kept,) = residence.tensors("columns", lambda: (columns,))
        assert torch.equal(kept, columns)
        assert kept.stride() == columns.stride()

    def test_a_part_in_memory_is_the_part_in_its_file(self, tmp_path: Path) -> None:
        numbers = torch.arange(77.0).view(7, 11)
        stored = Checkpoint(save_matrices(tmp_path / "model", {"w": numbers})).stored("w")
        held = _with_room(1000).part(stored)
        assert isinstance(held, Held)
        assert (held.shape, held.dtype) == (stored.shape, stored.dtype)
        for asked in ((), (5,), (5, 20), (77,), (3, 0)):
            assert torch.equal(held.mapped(*asked), stored.mapped(*asked)), asked
        for block in (slice(0, 3), slice(5, 99), slice(None)):
            assert torch.equal(held.slab(block), stored.slab(block))
            assert torch.equal(held.slab(block, columns=True), stored.slab(block, columns=True))

    def test_a_file_that_became_shorter_is_an_error(self, model: Checkpoint) -> None:
        stored = model.stored("3.w")
        with stored.file.open("r+b") as stream:
            stream.truncate(stored.start + 10)
        with pytest.raises(BadModel, match="truncated"):
            _with_room(1000).part(stored)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("place", ["near", "pinned", "nowhere"])
def test_a_gpu_makes_the_same_child_wherever_things_are_kept(base: Checkpoint, tmp_path: Path, place: str) -> None:
    gpu = torch.device("cuda")
    sources, bases = _sources(base, tmp_path, "full", "Gains")
    memories = {
        "near": (Memory(gpu, lambda: 1 << 40),),
        "pinned": (Memory(gpu, lambda: 0), Memory(CPU, lambda: 1 << 40, is_pinned=True)),
        "nowhere": (),
    }
    residence = Residence(*memories[place])
    materialiser = Materialiser(base, bases, sources.layout, device=gpu, residence=residence)
    first, second = _children(sources, 2)
    list(materialiser.tensors(first))
    held = [tensor for tensors in residence._kept.values() for tensor in tensors]
    assert all(tensor.is_cuda if place == "near" else tensor.is_pinned() for tensor in held)
    expected = dict(Materialiser(base, bases, sources.layout, device=gpu).tensors(second))
    near = dict(Materialiser(base, bases, sources.layout).tensors(second))
    for name, tensor in materialiser.tensors(second):
        assert torch.equal(tensor, expected[name])
        torch.testing.assert_close(tensor.cpu(), near[name], atol=1e-2, rtol=1e-2)
