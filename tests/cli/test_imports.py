from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.support import started

BLOCKED = """
import sys

class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("torch", "transformers", "peft", "huggingface_hub"):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Blocker())
from cycleqd_cli import main
main()
"""


@pytest.mark.parametrize(
    "arguments",
    [
        ["--help"],
        ["--version"],
        ["init", "new.yaml"],
        ["validate", "tiny.yaml", "--quick"],
        ["status", "tiny.yaml"],
        ["plot", "tiny.yaml", "--output", "drawn"],
    ],
    ids=lambda arguments: arguments[0],
)
def test_what_touches_no_weights_works_without_torch(tmp_path: Path, arguments: list[str]) -> None:
    started(tmp_path)
    command = [sys.executable, "-c", BLOCKED, *arguments]
    told = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, timeout=60, check=False)
    assert told.returncode == 0, told.stderr


@pytest.mark.parametrize(
    "arguments",
    [["validate", "tiny.yaml"], ["export", "tiny.yaml", "--child", "0", "out"], ["worker", "finalize", "--run", "run"]],
    ids=lambda arguments: arguments[0],
)
def test_what_touches_weights_says_that_torch_is_missing(tmp_path: Path, arguments: list[str]) -> None:
    started(tmp_path)
    command = [sys.executable, "-c", BLOCKED, *arguments]
    told = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, timeout=60, check=False)
    assert told.returncode == 2, told.stderr
    assert "Traceback" not in told.stderr
    assert "install cycleqd[runner]" in " ".join((told.stdout + told.stderr).split())
