from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.cli.api_server import ApiServer
from tests.cli.support import started

BLOCKER = """
import sys

BLOCKED = {blocked!r}

class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in BLOCKED:
            raise ModuleNotFoundError("No module named " + name, name=name)

sys.meta_path.insert(0, Blocker())
from cycleqd_cli import main
main()
"""

MODELS = ("torch", "transformers", "peft", "huggingface_hub")


def _without(packages: Sequence[str], *arguments: str) -> list[str]:
    """Return the command line of a cycleqd that these packages were not installed with."""
    return [sys.executable, "-c", BLOCKER.format(blocked=tuple(packages)), *arguments]


@pytest.mark.parametrize(
    "arguments",
    [
        ["--help"],
        ["--version"],
        ["init", "new.yaml"],
        ["validate", "tiny.yaml", "--quick"],
        ["status", "tiny.yaml"],
        ["plot", "tiny.yaml", "--output", "drawn"],
        ["transcripts", "tiny.yaml"],
    ],
    ids=lambda arguments: arguments[0],
)
def test_what_touches_no_weights_works_without_torch(tmp_path: Path, arguments: list[str]) -> None:
    started(tmp_path)
    command = _without(MODELS, *arguments)
    told = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, timeout=250, check=False)
    assert told.returncode == 0, told.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        ["validate", "tiny.yaml"],
        ["experts", "tiny.yaml"],
        ["export", "tiny.yaml", "--child", "0", "out"],
        ["worker", "finalize", "--run", "run"],
    ],
    ids=lambda arguments: arguments[0],
)
def test_what_touches_weights_says_that_torch_is_missing(tmp_path: Path, arguments: list[str]) -> None:
    started(tmp_path)
    command = _without(MODELS, *arguments)
    told = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, timeout=250, check=False)
    assert told.returncode == 2, told.stderr
    assert "Traceback" not in told.stderr
    assert "install cycleqd[runner]" in " ".join((told.stdout + told.stderr).split())


@pytest.mark.parametrize("arguments", [["list"], ["status", "tiny"], ["pause", "tiny"]], ids=lambda given: given[0])
def test_a_cluster_needs_no_torch_but_its_client(api_server: ApiServer, arguments: list[str]) -> None:
    api_server.add_run("tiny", {"state": "Breeding"})
    told = subprocess.run(_without(MODELS, *arguments), capture_output=True, text=True, timeout=250, check=False)
    assert (told.returncode, "tiny" in told.stdout) == (0, True), told.stderr
    command = _without(["kubernetes"], *arguments, "-n", "research")
    told = subprocess.run(command, capture_output=True, text=True, timeout=250, check=False)
    assert told.returncode == 2, told.stderr
    assert "install cycleqd[cluster]" in told.stderr
