from __future__ import annotations

from pathlib import Path

import pytest

from cycleqd.manifest import load_manifest
from tests.cli.support import cycleqd

GIVEN = ["--expert", "db=s3://models/db:Sql", "--expert", "os=./os expert:Shell"]


def test_the_starter_manifest_is_a_manifest(tmp_path: Path) -> None:
    file = tmp_path / "My first.run.yaml"
    told = cycleqd("init", file)
    assert told.exit_code == 0, told.stderr
    manifest = load_manifest(file)
    assert manifest.metadata.name == "my-first-run"
    assert [task.evaluator.type for task in manifest.spec.tasks] == ["Sql", "Shell", "PythonTests"]
    assert "#" in file.read_text(encoding="utf-8")


def test_what_is_given_is_written(tmp_path: Path) -> None:
    file = tmp_path / "sub" / "a.yaml"
    told = cycleqd("init", file, "--base", "hf://me/base", *GIVEN, "--store", "s3://runs/a")
    assert told.exit_code == 0, told.stderr
    spec = load_manifest(file).spec
    assert spec.base_model.uri == "hf://me/base"
    assert [expert.uri for expert in spec.experts] == ["s3://models/db", str(tmp_path / "sub" / "os expert")]
    assert [(task.expert, task.evaluator.type) for task in spec.tasks] == [("db", "Sql"), ("os", "Shell")]
    assert spec.storage.uri == "s3://runs/a"
    assert "Replace" not in file.read_text(encoding="utf-8")


def test_a_file_that_is_there_is_kept_unless_forced(tmp_path: Path) -> None:
    file = tmp_path / "run.yaml"
    file.write_text("mine", encoding="utf-8")
    told = cycleqd("init", file)
    assert told.exit_code == 2
    assert "--force" in told.stderr
    assert file.read_text(encoding="utf-8") == "mine"
    assert cycleqd("init", file, "--force").exit_code == 0
    assert load_manifest(file).metadata.name == "run"
    assert [path.name for path in tmp_path.iterdir()] == ["run.yaml"]


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        pytest.param(["--expert", "db"], "expected NAME=URI:EVALUATOR", id="no URI"),
        pytest.param(
            ["--expert", "db=hf://me/db"], "which is none (known: PythonTests, Shell, Sql)", id="no evaluator"
        ),
        pytest.param(["--expert", "db=hf://me/db:sql"], "(did you mean Sql?)", id="unknown evaluator"),
        pytest.param(["--expert", "db=hf://me/db:Sql"], "at least two", id="one expert"),
        pytest.param([*GIVEN, "--expert", "db=x:Sql"], "db is used twice", id="a name twice"),
        pytest.param([*GIVEN, "--base", "ftp://x"], "spec.baseModel.uri", id="base that is no URI"),
    ],
)
def test_options_that_make_no_manifest_write_none(tmp_path: Path, options: list[str], expected: str) -> None:
    told = cycleqd("init", tmp_path / "a.yaml", *options)
    assert told.exit_code == 2
    assert expected in told.stderr
    assert told.stderr.count("\n") == 1
    assert not list(tmp_path.iterdir())
