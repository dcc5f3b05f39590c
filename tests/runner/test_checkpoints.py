"""Reading checkpoints: what transformers saved is what is read, and every damage is one sentence."""

from __future__ import annotations

import json
import shutil
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

from cycleqd.errors import (
    AccessDenied,
    BadManifest,
    BadModel,
    CycleQDError,
    MissingInput,
    StoreUnreachable,
    UnsupportedHere,
)
from cycleqd_runner.checkpoints import INDEX, SINGLE, Checkpoint, require_finite
from cycleqd_runner.models_source import resolve
from cycleqd_runner.safetensors_file import read_header
from cycleqd_runner.safetensors_writer import Planned, write_file
from tests.runner.models import save_llama


@pytest.fixture(scope="module")
def single(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_llama(tmp_path_factory.mktemp("single") / "model")


@pytest.fixture(scope="module")
def sharded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_llama(tmp_path_factory.mktemp("sharded") / "model", shard="20KB")


@pytest.fixture
def damaged(sharded: Path, tmp_path: Path) -> Path:
    """A copy of the sharded checkpoint that a test may break."""
    return Path(shutil.copytree(sharded, tmp_path / "model"))


@pytest.mark.parametrize("form", ["single", "sharded"])
def test_every_tensor_is_what_transformers_saved(form: str, request: pytest.FixtureRequest) -> None:
    folder = request.getfixturevalue(form)
    expected = AutoModelForCausalLM.from_pretrained(folder, dtype="auto").state_dict()
    checkpoint = Checkpoint(folder)
    assert len(checkpoint.files) == (1 if form == "single" else len(list(folder.glob("model-*.safetensors"))))
    assert set(checkpoint.names) == set(expected)
    for name, tensor in expected.items():
        assert checkpoint.shape(name) == tuple(tensor.shape)
        assert checkpoint.dtype(name) == tensor.dtype == torch.bfloat16
        assert torch.equal(checkpoint.tensor(name), tensor)
    assert checkpoint.nbytes == sum(t.nbytes for t in expected.values())
    assert checkpoint.config["model_type"] == "llama"


def test_tied_output_embeddings_are_not_a_tensor_of_their_own(tmp_path: Path) -> None:
    folder = save_llama(tmp_path / "tied", tie_word_embeddings=True)
    names = Checkpoint(folder).names
    assert "lm_head.weight" not in names
    tensors = load_file(folder / SINGLE)  # some tools save the copy all the same
    save_file({**tensors, "lm_head.weight": tensors["model.embed_tokens.weight"].clone()}, folder / SINGLE)
    assert set(Checkpoint(folder).names) == set(names)


def _first_shard(folder: Path) -> Path:
    return min(folder.glob("model-*.safetensors"))


def _truncate(folder: Path) -> None:
    data = _first_shard(folder).read_bytes()
    _first_shard(folder).write_bytes(data[:-10])


def _cut_header(folder: Path) -> None:
    _first_shard(folder).write_bytes(_first_shard(folder).read_bytes()[:40])


def _drop_tensor(folder: Path) -> None:
    tensors = load_file(_first_shard(folder))
    tensors.pop(min(tensors))
    save_file(tensors or {"nothing": torch.zeros(1)}, _first_shard(folder))


def _pickled(folder: Path) -> None:
    for file in [*folder.glob("*.safetensors"), folder / INDEX]:
        file.unlink()
    (folder / "pytorch_model.bin").touch()


DAMAGES: dict[str, tuple[Callable[[Path], object], str]] = {
    "missing folder": (shutil.rmtree, "There is no model folder"),
    "missing config": (lambda f: (f / "config.json").unlink(), "has no config.json"),
    "config not JSON": (lambda f: (f / "config.json").write_text("{"), "not valid JSON"),
    "config a list": (lambda f: (f / "config.json").write_text("[]"), "must hold a JSON object"),
    "missing index": (lambda f: (f / INDEX).unlink(), "neither model.safetensors nor"),
    "empty index": (lambda f: (f / INDEX).write_text("{}"), "has no weight_map"),
    "missing shard": (lambda f: _first_shard(f).unlink(), r"shard model-00001-of-\d+.safetensors .* is missing"),
    "truncated shard": (_truncate, "is truncated: its header promises"),
    "shard shorter than its header": (_cut_header, "is truncated"),
    "tensor absent from its shard": (_drop_tensor, "which lacks it"),
    "not safetensors": (lambda f: _first_shard(f).write_bytes(b"\x10" + bytes(100)), "not a safetensors file"),
    "pickled weights": (_pickled, "pickled weights only"),
}


@pytest.mark.parametrize(("damage", "message"), DAMAGES.values(), ids=DAMAGES)
def test_damage_is_one_sentence(damaged: Path, damage: Callable[[Path], object], message: str) -> None:
    Checkpoint(damaged)
    damage(damaged)
    with pytest.raises(BadModel, match=message) as caught:
        Checkpoint(damaged)
    assert "\n" not in str(caught.value)


def test_a_file_that_shrinks_while_in_use_is_noticed(damaged: Path) -> None:
    checkpoint = Checkpoint(damaged)
    _first_shard(damaged).write_bytes(b"")
    name = next(n for n, s in json.loads((damaged / INDEX).read_text())["weight_map"].items() if "00001" in s)
    with pytest.raises(BadModel, match="truncated"):
        checkpoint.tensor(name)


def test_unknown_tensor_lists_near_misses(single: Path) -> None:
    with pytest.raises(BadModel, match=r"did you mean .*model\.norm\.weight"):
        Checkpoint(single).tensor("model.norms.weight")


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
def test_numbers_must_be_finite(value: float, dtype: torch.dtype) -> None:
    tensor = torch.ones(3, 4, dtype=dtype)
    assert require_finite(tensor, "w", "base model") is tensor
    tensor[1, 2] = value
    with pytest.raises(BadModel, match=r"expert sql has 1 NaN or infinite numbers among the 12 of q_proj"):
        require_finite(tensor, "q_proj", "expert sql")


def test_files_are_written_as_safetensors_reads_them(tmp_path: Path) -> None:
    tensors = {"a": torch.randn(3, 5).bfloat16(), "b": torch.arange(4), "c": torch.tensor(2.5), "d": torch.zeros(0, 3)}
    plan = [Planned(name, tensor.dtype, tuple(tensor.shape)) for name, tensor in tensors.items()]
    write_file(tmp_path / "x.safetensors", plan, iter(tensors.values()))
    for name, tensor in load_file(tmp_path / "x.safetensors").items():
        assert torch.equal(tensor, tensors[name])
        assert torch.equal(read_header(tmp_path / "x.safetensors")[name].read(), tensors[name])
    with pytest.raises(ValueError, match="a: planned"):
        write_file(tmp_path / "y.safetensors", plan, reversed(tensors.values()))


def _cached_snapshot(cache: Path, source: Path, revision: str) -> Path:
    """Lay out what huggingface_hub's cache looks like after a download."""
    repository = cache / "models--org--tiny"
    snapshot = repository / "snapshots" / ("0" * 40)
    shutil.copytree(source, snapshot)
    (repository / "refs").mkdir()
    (repository / "refs" / revision).write_text("0" * 40)
    return snapshot


class TestResolve:
    @pytest.mark.parametrize("uri", ["{}", "file://{}"])
    def test_folder(self, single: Path, uri: str) -> None:
        assert resolve(uri.format(single)) == single

    def test_relative_path_starts_at_the_manifest(self, single: Path) -> None:
        assert resolve(single.name, relative_to=single.parent) == single

    def test_missing_folder(self, tmp_path: Path) -> None:
        with pytest.raises(MissingInput, match=r"There is no model folder .*nowhere"):
            resolve("nowhere", relative_to=tmp_path)

    def test_s3_is_fetched_by_the_caller(self, tmp_path: Path) -> None:
        assert resolve("s3://models/base", fetch=lambda uri: tmp_path / uri.removeprefix("s3://")) == (
            tmp_path / "models/base"
        )
        with pytest.raises(UnsupportedHere, match="no object store"):
            resolve("s3://models/base")

    def test_unknown_scheme(self) -> None:
        with pytest.raises(BadManifest, match="scheme gopher"):
            resolve("gopher://models/base")

    @pytest.mark.parametrize("revision", [None, "v2"])
    def test_hub_model_from_the_cache(
        self, single: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, revision: str | None
    ) -> None:
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
        snapshot = _cached_snapshot(tmp_path, single, revision or "main")
        folder = resolve("hf://org/tiny", revision=revision)
        assert folder.samefile(snapshot)
        assert Checkpoint(folder).names == Checkpoint(single).names

    def test_hub_model_that_is_not_cached(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
        with pytest.raises(BadModel, match="hf://org/tiny at revision v9 is not in the cache and HF_HUB_OFFLINE"):
            resolve("hf://org/tiny", revision="v9")

    def test_hub_that_does_not_answer(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
        monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:9")
        with pytest.raises(StoreUnreachable, match="did not deliver hf://org/tiny"):
            resolve("hf://org/tiny")

    @pytest.mark.parametrize(
        ("status", "code", "kind", "message"),
        [
            pytest.param(401, "RepoNotFound", MissingInput, "does not exist or is private", id="no such model"),
            pytest.param(404, "RevisionNotFound", MissingInput, "correct the revision", id="no such revision"),
            pytest.param(403, "GatedRepo", AccessDenied, "is gated", id="gated"),
        ],
    )
    def test_hub_that_refuses(
        self,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
        status: int,
        code: str,
        kind: type[CycleQDError],
        message: str,
    ) -> None:
        seen: set[str | None] = set()

        class Hub(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                seen.add(self.headers["Authorization"])
                self.send_response(status)
                self.send_header("X-Error-Code", code)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: object) -> None: ...

        with ThreadingHTTPServer(("127.0.0.1", 0), Hub) as server:
            threading.Thread(target=server.serve_forever, daemon=True).start()
            monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
            monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
            monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", f"http://127.0.0.1:{server.server_port}")
            with pytest.raises(kind, match=message):
                resolve("hf://org/tiny", revision="v9", token="hf_mine")
            server.shutdown()
        assert seen == {"Bearer hf_mine"}

    def test_not_a_model_name(self) -> None:
        with pytest.raises(BadManifest, match="write hf://ORG/NAME"):
            resolve("hf://a/b/c")
