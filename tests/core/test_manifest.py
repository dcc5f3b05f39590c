from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from cycleqd.errors import BadManifest
from cycleqd.manifest import load_manifest, parse_manifest

DOCUMENT: dict[str, Any] = {
    "apiVersion": "cycleqd.dev/v1alpha1",
    "kind": "CycleQDRun",
    "metadata": {"name": "a-run"},
    "spec": {
        "baseModel": {"uri": "models/base"},
        "experts": [{"name": "x", "uri": "hf://org/x"}, {"name": "y", "uri": "/models/y"}],
        "tasks": [
            {"name": "s", "expert": "x", "evaluator": {"type": "Sql", "data": "items.jsonl"}},
            {"name": "t", "expert": "y", "evaluator": {"type": "Shell"}},
        ],
        "storage": {"uri": "runs/a"},
    },
}


def document() -> dict[str, Any]:
    return copy.deepcopy(DOCUMENT)


def test_relative_paths_start_at_the_manifest(tmp_path: Path) -> None:
    path = tmp_path / "run.yaml"
    path.write_text(yaml.safe_dump(DOCUMENT), encoding="utf-8")
    spec = load_manifest(path).spec
    assert spec.base_model.uri == str(tmp_path / "models/base")
    assert [expert.uri for expert in spec.experts] == ["hf://org/x", "/models/y"]
    assert spec.storage.uri == str(tmp_path / "runs/a")


MISTAKES: dict[str, tuple[Callable[[dict[str, Any]], object], str]] = {
    "unknown field": (lambda d: d["spec"].update(expertz=1), "unknown field spec.expertz (did you mean experts"),
    "unknown field in a list": (
        lambda d: d["spec"]["tasks"][1].update(repeat=2),
        "unknown field spec.tasks[1].repeat (did you mean repeats",
    ),
    "unknown field of an evaluator": (
        lambda d: d["spec"]["tasks"][0]["evaluator"].update(datas="x"),
        "unknown field spec.tasks[0].evaluator.datas (did you mean data?)",
    ),
    "unknown evaluator": (
        lambda d: d["spec"]["tasks"][0]["evaluator"].update(type="Sqll"),
        "spec.tasks[0].evaluator.type is 'Sqll', which is not a type (did you mean Sql",
    ),
    "evaluator without a type": (
        lambda d: d["spec"]["tasks"][0].update(evaluator={}),
        "spec.tasks[0].evaluator.type is missing",
    ),
    "missing field": (lambda d: d["spec"].pop("storage"), "spec.storage is missing: add it"),
    "one expert": (lambda d: d["spec"]["experts"].pop(), "spec.experts has 1 entries, expected at least 2"),
    "unknown expert": (
        lambda d: d["spec"]["tasks"][0].update(expert="z"),
        "task s names the unknown expert z (known: x, y)",
    ),
    "out of range": (
        lambda d: d["spec"].update(search={"children": -1}),
        "spec.search.children: input should be greater than or equal to 0, got -1",
    ),
    "an expert without a task": (
        lambda d: d["spec"]["tasks"][1].update(expert="x"),
        "give every expert exactly one task",
    ),
    "a reserved name": (
        lambda d: d["spec"]["experts"][0].update(name="merged"),
        "expert name merged is reserved",
    ),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_one_sentence(mistake: str) -> None:
    change, expected = MISTAKES[mistake]
    broken = document()
    change(broken)
    with pytest.raises(BadManifest) as caught:
        parse_manifest(broken)
    message = str(caught.value)
    assert expected in message
    assert "\n" not in message
    assert "more)" not in message, "what follows from the mistake is not counted"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param("a: [", "is not YAML in line", id="not YAML"),
        pytest.param("", "holds 0 documents", id="empty"),
        pytest.param("a: 1\n---\nb: 2\n", "holds 2 documents", id="two documents"),
        pytest.param("- 1\n", "expected one CycleQDRun", id="a list"),
    ],
)
def test_a_file_that_is_no_manifest(tmp_path: Path, text: str, expected: str) -> None:
    path = tmp_path / "run.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(BadManifest, match=expected):
        load_manifest(path)


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(BadManifest, match="cannot be read"):
        load_manifest(tmp_path / "nothing.yaml")
