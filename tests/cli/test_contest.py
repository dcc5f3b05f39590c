"""``cycleqd compare`` with a file of methods: what it refuses, the manifests it writes, what it shows meanwhile."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from cycleqd.errors import BadManifest
from cycleqd.manifest import load_manifest
from cycleqd_cli.contest_display import Watcher
from cycleqd_runner.contest.trials import Point
from tests.cli.support import cycleqd, document, started, write
from tests.runner.contest.support import METHODS, trial, write_contest


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with a manifest of relative paths."""
    manifest = document(Path("models"))
    manifest["spec"]["storage"]["uri"] = "run"
    write(tmp_path / "tiny.yaml", manifest)
    return tmp_path


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        pytest.param(["compare.yaml", "tiny.yaml"], "is a comparison of its own: give it alone", id="two of a kind"),
        pytest.param(["tiny.yaml"], "is no file of kind Comparison: name a second run", id="one run"),
        pytest.param(["nothing.yaml"], "is no file of kind Comparison: name a second run", id="no file"),
        pytest.param(
            ["tiny.yaml", "tiny.yaml", "--manifests", "out"], "--manifests is for the file of a comparison", id="option"
        ),
    ],
)
def test_mistakes(folder: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], sentence: str) -> None:
    write_contest(folder)
    monkeypatch.chdir(folder)
    told = cycleqd("compare", *arguments)
    assert told.exit_code == 2
    assert sentence in told.stderr
    assert len(told.stderr.splitlines()) == 1


def test_two_runs_are_still_compared(tmp_path: Path) -> None:
    manifest, _ = started(tmp_path)
    told = cycleqd("compare", manifest, manifest)
    assert told.exit_code == 0, told.stderr
    assert "best mean" in told.stdout


def test_manifests_for_a_cluster_keep_relative_paths(folder: Path) -> None:
    """They start from the operator's storage root there, not from a folder of this machine."""
    methods: list[dict[str, Any]] = [*METHODS, {"name": "half", "type": "CycleQD", "share": 0.5}]
    file = write_contest(folder, methods, budget={"children": 40}, storage={"uri": "s3://runs/tiny"})
    told = cycleqd("compare", file, "--manifests", folder / "out")
    assert told.exit_code == 0, told.stderr
    names = [f"tiny-{method}-{seed}.yaml" for method in ("paper", "half") for seed in (0, 1)]
    assert told.stdout.split() == [str(folder / "out" / name) for name in names]
    written = yaml.safe_load((folder / "out" / names[-1]).read_text(encoding="utf-8"))
    assert written["spec"]["baseModel"]["uri"] == "models/base"
    assert written["spec"]["storage"]["uri"] == "s3://runs/tiny/seeds/1/methods/half"
    assert written["spec"]["search"] == {"children": 20, "seed": 1}
    assert load_manifest(folder / "out" / names[-1]).metadata.name == "tiny-half-1"


def test_a_cluster_counts_children(folder: Path) -> None:
    told = cycleqd("compare", write_contest(folder, budget={"tokens": 9}), "--manifests", folder / "out")
    assert told.exit_code == 2
    assert "use budget.children" in told.stderr
    assert not (folder / "out").exists()


def test_what_goes_on_is_told_with_the_time_that_is_left() -> None:
    said, drawn, clock = list[str](), list[tuple[str, float]](), iter([0.0, 10.0, 25.0, 25.0, 40.0])
    watcher = Watcher({"paper": 1.0, "half": 0.5}, said.append, lambda *what: drawn.append(what), lambda: next(clock))
    watcher.plans([("paper", 0), ("half", 0), ("paper", 1)])
    watcher.begins("paper", 0, 1000)
    watcher.goes_on(Point(tokens=500, evaluations=5, best=0.25))
    watcher.ends(trial("paper", 0, sql=[1, 0]))
    watcher.begins("half", 0, 500)
    watcher.goes_on(Point(tokens=600, evaluations=9, best=0.5))
    assert said[0] == "3 trials to go"
    assert said[1] == "seed 0, paper: test 50.0 %, 900 tokens, about 0:38 left"
    assert drawn[0] == ("seed 0, paper", 0.0)
    assert drawn[1][0] == "seed 0, paper: 5 evaluations, best 25.0 %, about 0:40 left"
    assert drawn[3][0] == "seed 0, half: 9 evaluations, best 50.0 %, about 0:17 left"
    assert [share for _, share in drawn] == pytest.approx([0.0, 0.2, 0.4, 0.6])


def test_nothing_to_do_is_told() -> None:
    said = list[str]()
    Watcher({}, said.append, lambda *_: None).plans([])
    assert said == ["Every trial has its record already."]


def test_the_example_is_valid() -> None:
    from cycleqd_runner.contest.entries import load_contest  # noqa: PLC0415

    try:
        contest = load_contest(Path(__file__).parents[2] / "examples" / "quickstart" / "compare.yaml")
    except BadManifest as error:
        pytest.fail(str(error))
    assert len(contest.spec.seeds) >= 5
