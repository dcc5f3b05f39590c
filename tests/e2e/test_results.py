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
ITEMS = {"search": 8, "validation": 2, "test": 20}
CHILDREN, LESSONS = 28, 16
"""A quarter of 28 evaluations has to last for seven: of four models, and the tokens of two steps and a regression."""
FIRST_STEPS, QUARTER_STEPS = 10, 2


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


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> Standings:
    folder = tmp_path_factory.mktemp("results")
    subprocess.run([sys.executable, "-m", "cycleqd_cli", "compare", in_small(folder)], check=True)
    return Standings.model_validate_json((folder / "compared/comparison.json").read_bytes())


@pytest.mark.timeout(1800)
def test_ours_is_better_than_the_papers_setting_at_an_equal_budget(found: Standings) -> None:
    rows = {row.method: row for row in found.rows}
    assert not found.missing
    for name in ("ours", "paper"):
        assert 0 < rows[name].tokens <= 1.1 * rows[name].limit
    for name in ("paper", "average"):
        versus = rows[name].versus
        assert versus is not None
        assert versus.high < 0, f"{name} differs from ours by {versus}"


def test_ours_keeps_more_of_every_experts_skill_than_an_average_does(found: Standings) -> None:
    kept = {row.method: min(share or 0.0 for share in row.kept.values()) for row in found.rows}
    assert kept["ours"] > max(kept["paper"], kept["average"])


def test_a_quarter_of_the_papers_tokens_suffices_for_its_score(found: Standings) -> None:
    rows = {row.method: row for row in found.rows}
    assert rows["ours-quarter"].tokens <= rows["paper"].tokens / 4
    assert rows["ours-quarter"].mean.mean > rows["paper"].mean.mean
