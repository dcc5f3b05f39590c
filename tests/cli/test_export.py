from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from cycleqd import keys
from cycleqd.api import CycleQDRun
from cycleqd.genome import combine
from cycleqd.identity import claim
from cycleqd.manifest import load_manifest
from cycleqd.store import FolderStore
from tests.cli.support import add_report, cycleqd, document, objects, started, write


def test_the_final_model_is_copied(tmp_path: Path) -> None:
    manifest, store = started(tmp_path)
    add_report(store)
    told = cycleqd("export", manifest, "--final", tmp_path / "out" / "model")
    assert told.exit_code == 0, told.stderr
    assert objects(tmp_path / "out" / "model") == objects(tmp_path / "run" / keys.MODEL)
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["model"], "nothing else is left"
    assert f'from_pretrained("{tmp_path}/out/model")' in told.stdout


def test_a_folder_with_something_in_it_is_kept_unless_forced(tmp_path: Path) -> None:
    manifest, store = started(tmp_path)
    add_report(store)
    output = tmp_path / "model"
    output.mkdir()
    (output / "mine").write_text("mine", encoding="utf-8")

    told = cycleqd("export", manifest, "--final", output)
    assert told.exit_code == 2
    assert "--force" in told.stderr
    assert objects(output) == {"mine": b"mine"}

    assert cycleqd("export", manifest, "--child", "77", output, "--force").exit_code == 2
    assert objects(output) == {"mine": b"mine"}, "what fails replaces nothing"
    assert cycleqd("export", manifest, "--final", output, "--force").exit_code == 0
    assert sorted(objects(output)) == ["config.json", "model.safetensors"]


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        pytest.param([], "either --final or --child", id="neither"),
        pytest.param(["--final", "--child", "3"], "either --final or --child", id="both"),
        pytest.param(
            ["--child", "77"], "no individual 77: 0 to 2 are its experts, and the latest child is 4", id="no such child"
        ),
        pytest.param(["--final"], "no final report yet", id="not finished"),
        pytest.param(["--final", "--adapter"], "no final report yet", id="not finished, as an adapter"),
    ],
)
def test_what_cannot_be_exported(tmp_path: Path, options: list[str], expected: str) -> None:
    manifest, store = started(tmp_path)
    store.put(keys.genome(4), b"")
    told = cycleqd("export", manifest, *options, tmp_path / "out")
    assert told.exit_code == 2
    assert expected in told.stderr
    assert told.stderr.count("\n") == 1
    assert not (tmp_path / "out").exists()


def prepared(tmp_path: Path, *, lora: bool, targets: str | None = None, **size: Any) -> tuple[Path, FolderStore]:
    """Return the manifest and store of a run of three tiny experts whose child 3 is the mean of the first two.

    Args:
        tmp_path: where everything lies.
        lora: whether the experts are adapters.
        targets: modules that adapters change.
        size: of the base model, where it is not tiny.
    """
    from cycleqd_runner.roles.prepare import prepare  # noqa: PLC0415 - torch
    from cycleqd_runner.session import Session  # noqa: PLC0415 - torch
    from tests.runner.models import fine_tune, save_adapter, save_llama  # noqa: PLC0415 - torch

    base = save_llama(tmp_path / "base", **size)
    modules: dict[str, Any] = {"target_modules": targets} if targets else {}
    for seed, task in enumerate(("sql", "shell", "python"), start=1):
        (save_adapter if lora else fine_tune)(base, tmp_path / task, seed, **modules)
    manifest = write(tmp_path / "tiny.yaml", document(tmp_path))
    run: CycleQDRun = load_manifest(manifest)
    store = FolderStore(Path(run.spec.storage.uri))
    claim(store, run)
    session = Session(store)
    for expert in run.spec.experts:
        prepare(session, expert.name)
    store.put_once(keys.genome(3), combine(session.experts[:2], [0.5, 0.5]).save(session.layout))
    return manifest, store


def test_a_child_becomes_a_checkpoint_with_its_scores(tmp_path: Path) -> None:
    import torch  # noqa: PLC0415
    from transformers import AutoModelForCausalLM  # noqa: PLC0415

    manifest, _ = prepared(tmp_path, lora=False)
    told = cycleqd("export", manifest, "--child", "3", tmp_path / "child")
    assert told.exit_code == 0, told.stderr

    child, first, second = (
        AutoModelForCausalLM.from_pretrained(tmp_path / name, dtype=torch.float32).state_dict()
        for name in ("child", "sql", "shell")
    )
    for name, tensor in child.items():
        assert torch.allclose(tensor, (first[name] + second[name]) / 2, atol=4e-3), name  # one rounding to bfloat16
    assert "tiny: individual-3" in (tmp_path / "child" / "README.md").read_text(encoding="utf-8")


def test_a_child_of_adapters_becomes_an_adapter(tmp_path: Path) -> None:
    from peft import PeftModel  # noqa: PLC0415
    from transformers import AutoModelForCausalLM  # noqa: PLC0415

    manifest, _ = prepared(tmp_path, lora=True)
    told = cycleqd("export", manifest, "--child", "3", "--adapter", tmp_path / "child")
    assert told.exit_code == 0, told.stderr
    base = AutoModelForCausalLM.from_pretrained(tmp_path / "base")
    assert PeftModel.from_pretrained(base, tmp_path / "child")
    assert "PeftModel" in told.stdout


_PEAK = """
import sys
from pathlib import Path
import torch
torch.set_num_threads(1)
from cycleqd.store import open_store
from cycleqd_runner.export import export_checkpoint
from cycleqd_runner.model_card import ModelCard
from cycleqd_runner.session import Session
from tests.cli.support import cycleqd

def status(key):
    return next(int(line.split()[1]) * 1024 for line in open("/proc/self/status") if line.startswith(key))

def peak(work):
    open("/proc/self/clear_refs", "w").write("5")  # resets the peak
    before = status("VmRSS")
    work()
    return status("VmHWM") - before

def command(*options):
    told = cycleqd("export", work / "tiny.yaml", "--child", "3", *options)
    assert told.exit_code == 0, told.stderr

work = Path(sys.argv[1])
command("--adapter", work / "adapter")  # what is imported on the way stays
print(peak(lambda: command(work / "checkpoint")))

session = Session(open_store(str(work / "run")))
child = session.genome_of(3)
print(peak(lambda: [None for _ in session.individual(child)]))  # what a worker keeps is counted
card = ModelCard("final", "base", {})
print(peak(lambda: export_checkpoint(work / "final", session.base, session.streamed(child), card)))
"""


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="the peak is read from Linux' /proc")
def test_writing_a_model_of_adapters_takes_no_memory_of_its_size(tmp_path: Path) -> None:
    """All matrices but the embeddings are changed: 6 layers of 6 MB. A worker keeps them, the command does not."""
    size = {"hidden_size": 512, "intermediate_size": 1408, "num_hidden_layers": 6}
    prepared(tmp_path, lora=True, targets="all-linear", **size)
    model = (tmp_path / "base" / "model.safetensors").stat().st_size
    largest = 2 * 1408 * 512
    command = [sys.executable, "-c", _PEAK, str(tmp_path)]
    strict = os.environ | {"MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_ARENA_MAX": "1"}  # freed memory is given back
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=strict)
    exported, kept, finalized = map(int, done.stdout.splitlines()[-3:])
    assert model > 30 << 20
    for written in (exported, finalized):
        assert written <= 3 * largest + (16 << 20)  # slabs in float32, the report and the libraries' buffers
    assert 0.9 * model < kept < 1.5 * model, "in the base's dtype"
    assert (tmp_path / "final" / "model.safetensors").read_bytes() == (
        tmp_path / "checkpoint" / "model.safetensors"
    ).read_bytes()
