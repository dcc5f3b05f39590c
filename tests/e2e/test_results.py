"""The claims of docs/results.md in small: one seed, few items and steps, a real model; `make results` is the whole."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from cycleqd_runner.contest.standings import Standings
from tests.e2e.manifests import QUICKSTART

pytestmark = pytest.mark.e2e
ITEMS = {"search": 24, "validation": 4, "test": 24}
STEPS = 12


def in_small(folder: Path) -> Path:
    """Write the comparison of the examples with the same methods' settings but for sizes, and return its path."""
    whole: dict[str, Any] = yaml.safe_load((QUICKSTART / "compare.yaml").read_text(encoding="utf-8"))
    run: dict[str, Any] = yaml.safe_load((QUICKSTART / whole["spec"]["manifest"]).read_text(encoding="utf-8"))
    for source in (run["spec"]["baseModel"], *run["spec"]["experts"]):
        source["uri"] = str((QUICKSTART / source["uri"]).resolve())
    for task in run["spec"]["tasks"]:
        task["items"] = ITEMS
    (folder / "run.yaml").write_text(yaml.safe_dump(run), encoding="utf-8")
    methods = {method["name"]: method for method in whole["spec"]["methods"]}
    methods["ours"]["search"]["emitter"]["firstSteps"] = STEPS
    whole["spec"] |= {
        "manifest": "run.yaml",
        "seeds": [0],
        "lessons": 24,
        "budget": {"children": 14},
        "methods": [methods["ours"], methods["paper"]],
        "storage": {"uri": "compared"},
    }
    file = folder / "compare.yaml"
    file.write_text(yaml.safe_dump(whole), encoding="utf-8")
    return file


@pytest.mark.timeout(1800)
def test_ours_is_better_than_the_papers_setting_at_an_equal_budget(tmp_path: Path) -> None:
    subprocess.run([sys.executable, "-m", "cycleqd_cli", "compare", in_small(tmp_path)], check=True)
    found = Standings.model_validate_json((tmp_path / "compared/comparison.json").read_bytes())
    rows = {row.method: row for row in found.rows}
    assert not found.missing
    for name in ("ours", "paper"):
        assert 0 < rows[name].tokens <= 1.1 * rows[name].limit
    for name in ("paper", "average"):
        versus = rows[name].versus
        assert versus is not None
        assert versus.high < 0, f"{name} differs from ours by {versus}"
