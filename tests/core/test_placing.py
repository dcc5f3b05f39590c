from __future__ import annotations

from pathlib import Path

import pytest

from cycleqd.errors import BadManifest
from cycleqd.manifest import parse_manifest
from cycleqd.placing import below, beside
from tests.core.test_manifest import document

ELSEWHERE = ["s3://bucket/x", "hf://org/x", "file:///models/x", "/models/x"]
"""URIs that say themselves where they lead."""


@pytest.mark.parametrize(
    ("root", "uri", "expected"),
    [
        ("s3://cycleqd/", "experts/sql", "s3://cycleqd/experts/sql"),
        ("s3://cycleqd", "experts/sql", "s3://cycleqd/experts/sql"),
        ("s3://cycleqd/", "./experts//sql/", "s3://cycleqd/experts/sql"),
        ("s3://cycleqd/", "../../models/x", "s3://cycleqd/models/x"),
        ("s3://cycleqd/", "a/../b/./c", "s3://cycleqd/b/c"),
        ("s3://cycleqd/team/a", "../../models/x", "s3://cycleqd/team/a/models/x"),
        ("s3://cycleqd/team/a/", "x", "s3://cycleqd/team/a/x"),
        ("s3://cycleqd/", "items #1?.jsonl", "s3://cycleqd/items #1?.jsonl"),
        *(("s3://cycleqd/", uri, uri) for uri in ELSEWHERE),
        *(("", uri, uri) for uri in ELSEWHERE),
    ],
)
def test_a_relative_uri_starts_from_the_root_and_does_not_leave_it(root: str, uri: str, expected: str) -> None:
    assert below(root)(uri) == expected


def test_without_a_root_a_relative_uri_leads_nowhere() -> None:
    with pytest.raises(ValueError, match=r"^x/y is relative, .*: write s3://BUCKET/PREFIX, or install the chart with"):
        below("")("x/y")


def test_a_laptops_root_is_the_folder_of_the_manifest(tmp_path: Path) -> None:
    place = beside(tmp_path / "a")
    assert [place(uri) for uri in ELSEWHERE] == ELSEWHERE
    assert place("../models/x") == str(tmp_path / "models/x")


def test_every_uri_of_a_manifest_is_placed() -> None:
    manifest = document()
    manifest["spec"]["tasks"][1]["evaluator"] = {"type": "AgentBenchOS", "data": "os.json", "scripts": "../scripts"}
    benchmark = {"name": "b", "evaluator": {"type": "Container", "image": "judge:1", "data": "judged.jsonl"}}
    manifest["spec"]["report"] = {"benchmarks": [benchmark]}
    spec = parse_manifest(manifest, below("s3://cycleqd/")).spec
    assert spec.base_model.uri == "s3://cycleqd/models/base"
    assert [expert.uri for expert in spec.experts] == ["hf://org/x", "/models/y"]
    assert spec.storage.uri == "s3://cycleqd/runs/a"
    data = spec.model_dump(by_alias=True)
    assert data["tasks"][0]["evaluator"]["data"] == "s3://cycleqd/items.jsonl"
    assert data["tasks"][1]["evaluator"]["data"] == "s3://cycleqd/os.json"
    assert data["tasks"][1]["evaluator"]["scripts"] == "s3://cycleqd/scripts"
    assert data["report"]["benchmarks"][0]["evaluator"]["data"] == "s3://cycleqd/judged.jsonl"


def test_the_message_names_the_first_uri_that_leads_nowhere() -> None:
    with pytest.raises(BadManifest, match=r"^The manifest: spec\.baseModel\.uri: models/base is relative, .*2 more"):
        parse_manifest(document(), below(""))
