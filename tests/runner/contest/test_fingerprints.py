"""Fingerprints of trials: they stay what they are when the manifest gets a field, and tell what is set to it."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import pytest

from cycleqd.api import search
from cycleqd.api.run import RunSpec
from cycleqd.manifest import load_manifest
from cycleqd_runner.contest.entries import load_contest
from cycleqd_runner.contest.fingerprints import counted
from tests.cli.support import document, write
from tests.runner.contest.support import write_contest

CORES = {"type": "Svd", "basis": "Child"}
METHODS: list[dict[str, Any]] = [
    {"name": "random", "type": "RandomSearch"},
    {"name": "ours", "type": "CycleQD", "search": {"emitter": {"type": "Guided"}, "mutation": CORES}},
    {"name": "paper", "type": "CycleQD"},
    {"name": "reg-mean", "type": "RegMean"},
    {"name": "lora", "type": "Lora", "steps": [96], "learningRates": [0.002]},
]
FIRST = {
    "base": "7eadfca2a0f49d982a7232fc16e84ea91444f4561b39fde4add57cd6a3519af8",
    "random": "2adfef4caa88f4f264b34ec8fbb854ae51fdcc66ac9c653963e949af5e38f764",
    "ours": "0a4bf98dbe569254ba3e8749f877b3ef85903e8e38af84d2a7f928b7d3ad9ae3",
    "paper": "ed98baeec5034741255632101d20aca8042c1114931dad184e6259f8ead8c995",
    "reg-mean": "dd1ba5acdca2adc65fa7ed14eba65f136a22a72e46a3810c1f4cf10f2fc7a7ba",
    "lora": "62cca153cb553ca2a10ebd1c0fb1af895ca7edf273d53aad7bbc010f5454e9e2",
}
"""What trials of such a comparison were first recorded with. Another digest here throws users' trials away."""


@pytest.fixture
def spec(tmp_path: Path) -> RunSpec:
    return load_manifest(write(tmp_path / "tiny.yaml", document(tmp_path))).spec


def test_fingerprints_are_those_of_the_first_trials(tmp_path: Path) -> None:
    write(tmp_path / "tiny.yaml", document(Path()))
    contest = load_contest(write_contest(tmp_path, METHODS, lessons=2), here=False)
    methods = {"base": None, **{method.name: method for method in contest.spec.methods}}
    assert {name: contest.fingerprint(1, method) for name, method in methods.items()} == FIRST


def test_what_counts_is_the_whole_of_a_spec_of_the_first_trials(spec: RunSpec) -> None:
    whole = spec.model_dump(mode="json", by_alias=True)
    for task in whole["tasks"]:
        del task["evaluator"]["temperature"], task["evaluator"]["topP"]  # which came later
    assert {name: counted(getattr(spec, name)) for name in ("tasks", "search", "storage")} == {
        name: whole[name] for name in ("tasks", "search", "storage")
    }


class Grid(search.Grid):
    """As a later version may have it."""

    depth: int = 3


class Search(search.Search):
    """As a later version may have it."""

    courage: Literal["None", "Much"] = "None"
    archive: Grid = Grid()


@pytest.mark.parametrize(
    ("later", "expected"),
    [
        ({}, {}),
        ({"courage": "None"}, {}),
        ({"courage": "Much"}, {"courage": "Much"}),
        ({"archive": Grid(depth=4)}, {"archive": {"depth": 4}}),
    ],
    ids=["unset", "at its default", "set", "set inside"],
)
def test_a_later_field_counts_where_it_is_set(spec: RunSpec, later: dict[str, Any], expected: dict[str, Any]) -> None:
    before, now = counted(spec), counted(spec.model_copy(update={"search": Search(children=10, **later)}))
    search = before["search"] | expected
    if "archive" in expected:
        search["archive"] = before["search"]["archive"] | expected["archive"]
    assert now == before | {"search": search}
