"""The comparison of docs/results.md in small: one seed, few items and steps, a real model; `make results` is the whole.

It needs minutes and no cluster, so it is played from the beginning, with what processor time the scenarios leave.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from cycleqd_runner.contest.standings import Standings
from tests.e2e.manifests import QUICKSTART

ITEMS = {"search": 8, "validation": 2, "test": 20}
CHILDREN, LESSONS = 28, 16
"""A quarter of 28 evaluations has to last for seven: of four models, and the tokens of two steps and a regression."""
FIRST_STEPS, QUARTER_STEPS = 10, 2
LOWEST_PRIORITY = ("nice", "-n", "19")


@dataclass(frozen=True)
class Comparison:
    """A comparison that is being played.

    Attributes:
        folder: with its manifest, its trials and what it prints.
        process: of the command.
    """

    folder: Path
    process: subprocess.Popen[bytes]

    def standings(self) -> Standings:
        """Wait for the end and return the methods' standings."""
        assert self.process.wait() == 0, (self.folder / "printed").read_text(encoding="utf-8")
        return Standings.model_validate_json((self.folder / "compared/comparison.json").read_bytes())


@contextmanager
def playing(folder: Path) -> Iterator[Comparison]:
    """Begin with the comparison; it ends with the context."""
    command = [*LOWEST_PRIORITY, sys.executable, "-m", "cycleqd_cli", "compare", str(_in_small(folder))]
    with (
        (folder / "printed").open("wb") as printed,
        subprocess.Popen(command, stdout=printed, stderr=subprocess.STDOUT) as process,
    ):
        try:
            yield Comparison(folder, process)
        finally:
            process.terminate()


def _in_small(folder: Path) -> Path:
    """Write the comparison of the examples with the same methods' settings but for sizes, and return its path."""
    whole: dict[str, Any] = yaml.safe_load((QUICKSTART / "compare.yaml").read_text(encoding="utf-8"))
    run: dict[str, Any] = yaml.safe_load((QUICKSTART / whole["spec"]["manifest"]).read_text(encoding="utf-8"))
    for source in (run["spec"]["baseModel"], *run["spec"]["experts"]):
        source["uri"] = str((QUICKSTART / source["uri"]).resolve())
    for task in run["spec"]["tasks"]:
        task["items"] = ITEMS
    (folder / "run.yaml").write_text(yaml.safe_dump(run), encoding="utf-8")
    methods = {method["name"]: method for method in whole["spec"]["methods"]}
    methods["ours"]["search"]["emitter"]["firstSteps"] = FIRST_STEPS
    methods["ours-quarter"]["steps"] = [QUARTER_STEPS]
    whole["spec"] |= {
        "manifest": "run.yaml",
        "seeds": [0],
        "lessons": LESSONS,
        "budget": {"children": CHILDREN},
        "methods": [methods[name] for name in ("ours", "ours-quarter", "paper")],
        "storage": {"uri": "compared"},
    }
    file = folder / "compare.yaml"
    file.write_text(yaml.safe_dump(whole), encoding="utf-8")
    return file
