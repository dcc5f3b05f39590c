"""The file of a comparison: what it means, and one sentence for each mistake."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from cycleqd.errors import BadManifest
from cycleqd_runner.contest.entries import changed, is_contest, load_contest
from cycleqd_runner.contest.spec import CycleQD, LoraOnTrainingData
from tests.cli.support import document, write
from tests.runner.contest.support import METHODS, write_contest


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with a manifest of three experts."""
    write(tmp_path / "tiny.yaml", document(tmp_path))
    return tmp_path


def test_relative_paths_start_from_their_own_files(folder: Path) -> None:
    contest = load_contest(write_contest(folder))
    assert contest.manifest.spec.base_model.uri == str(folder / "base")
    assert contest.uri(1, None) == str(folder / "comparison/seeds/1/shared")
    assert contest.names[:5] == ("base", "sql-expert", "shell-expert", "python-expert", "average")


def test_a_method_is_a_run_of_the_manifest_with_differences(folder: Path) -> None:
    search = {"mutation": {"maxScale": 0.1}, "sampling": {"type": "Random"}, "cycle": "Fixed"}
    methods = [*METHODS, {"name": "other", "type": "CycleQD", "search": search, "finalize": {"candidates": 1}}]
    contest = load_contest(write_contest(folder, methods))
    (other,) = (method for method in contest.spec.methods if method.name == "other")
    assert isinstance(other, CycleQD)
    run, shared = contest.run(7, other, 45), contest.run(7, None)
    assert run.metadata.name == "tiny-other-7"
    assert run.spec.storage.uri == str(folder / "comparison/seeds/7/methods/other")
    assert (run.spec.search.seed, run.spec.search.children, run.spec.search.cycle) == (7, 45, "Fixed")
    assert run.spec.search.mutation == contest.manifest.spec.search.mutation.model_copy(update={"max_scale": 0.1})
    assert run.spec.search.sampling.type == "Random"
    assert (run.spec.finalize.candidates, run.spec.finalize.greedy_steps) == (1, 4)
    assert shared.spec.search.sampling.type == "Elite"
    assert (run.spec.experts, run.spec.tasks) == (shared.spec.experts, shared.spec.tasks)


def test_a_method_may_be_played_with_some_of_the_seeds(folder: Path) -> None:
    whole = load_contest(write_contest(folder, METHODS))
    some = load_contest(write_contest(folder, [METHODS[0], {**METHODS[1], "seeds": [1]}]))
    assert [some.seeds_of(name) for name in ("base", "random", "paper")] == [(0, 1), (0, 1), (1,)]
    paper = [contest.fingerprint(1, contest.spec.methods[1]) for contest in (whole, some)]
    assert paper[0] == paper[1], "what a trial reaches does not depend on which others are played"


def test_fingerprints_tell_settings_apart(folder: Path) -> None:
    one = load_contest(write_contest(folder))
    richer = load_contest(write_contest(folder, budget={"children": 9}))
    random, paper = one.spec.methods
    assert one.fingerprint(0, random) == load_contest(write_contest(folder)).fingerprint(0, random)
    assert len({one.fingerprint(seed, method) for seed in (0, 1) for method in (random, paper, None)}) == 6
    assert one.fingerprint(0, random) != richer.fingerprint(0, random)
    assert one.fingerprint(0, None) == richer.fingerprint(0, None), "who does not search has no budget"


def test_fingerprints_stay_where_the_folder_of_all_files_is_moved(tmp_path: Path) -> None:
    def of(name: str, model: str) -> dict[str, str]:
        folder = tmp_path / name
        folder.mkdir()
        write(folder / "tiny.yaml", document(Path(model)))
        contest = load_contest(write_contest(folder))
        return {method.name: contest.fingerprint(0, method) for method in contest.spec.methods}

    here = of("here", "models")
    assert here == of("there", "models")
    assert not here.items() & of("elsewhere", "other").items()


@pytest.mark.parametrize(
    ("old", "differences", "expected"),
    [
        ({"a": 1, "b": 2}, {"b": 3}, {"a": 1, "b": 3}),
        ({"a": {"x": 1, "y": 2}}, {"a": {"y": 3}}, {"a": {"x": 1, "y": 3}}),
        ({"a": {"type": "P", "x": 1}}, {"a": {"type": "P", "y": 3}}, {"a": {"type": "P", "x": 1, "y": 3}}),
        ({"a": {"type": "P", "x": 1}}, {"a": {"type": "Q"}}, {"a": {"type": "Q"}}),
        ({}, {"a": {"type": "Q"}}, {"a": {"type": "Q"}}),
    ],
    ids=["a value", "inside of an object", "an object of the same type", "another type", "a new field"],
)
def test_differences(old: dict[str, Any], differences: dict[str, Any], expected: dict[str, Any]) -> None:
    before = yaml.safe_load(yaml.safe_dump(old))
    assert changed(old, differences) == expected
    assert old == before


RUN = {"name": "x", "type": "CycleQD"}
TRAINED = {"name": "x", "type": "LoraOnTrainingData"}


@pytest.mark.parametrize(
    ("methods", "spec", "sentence"),
    [
        pytest.param([{"name": "x", "type": "Cmaes"}], {}, r"type is 'Cmaes', .* \(did you mean CmaEs", id="type"),
        pytest.param([{"name": "x"}], {}, r"spec\.methods\[0\]\.type is missing", id="no type"),
        pytest.param(
            [{"name": "x", "type": "CmaEs", "sigmas": 1}], {}, r"unknown field spec\.methods\[0\]\.sigmas", id="field"
        ),
        pytest.param([*METHODS, METHODS[0]], {}, "the name random is used twice", id="a name twice"),
        pytest.param([{"name": "base", "type": "CmaEs"}], {}, "the name base is used twice", id="a name that is taken"),
        pytest.param([{"name": "a" * 25, "type": "CmaEs"}], {}, "at most 24 characters", id="a long name"),
        pytest.param([], {}, r"spec\.methods has 0 entries, expected at least 1", id="no methods"),
        pytest.param(METHODS, {"reference": "papre"}, r"does not take part \(did you mean paper", id="reference"),
        pytest.param(METHODS, {"seeds": []}, r"spec\.seeds has 0 entries", id="no seeds"),
        pytest.param(METHODS, {"seeds": [1, 1]}, "a seed is named twice", id="a seed twice"),
        pytest.param(
            [*METHODS, {**RUN, "seeds": [0, 7]}],
            {},
            "method x has seed 7, which spec.seeds lacks",
            id="a strange seed",
        ),
        pytest.param(METHODS, {"budget": {}}, "either children or tokens", id="no budget"),
        pytest.param(METHODS, {"budget": {"children": 1, "tokens": 9}}, "got both or none", id="two budgets"),
        pytest.param(METHODS, {"budget": {"children": 0}}, r"spec\.budget\.children: .* got 0", id="nothing to spend"),
        pytest.param(METHODS, {"manifest": "none.yaml"}, r"none\.yaml cannot be read", id="no manifest"),
        pytest.param([{**RUN, "search": {"seed": 1}}], {}, r"search\.seed is the comparison's", id="own seed"),
        pytest.param([{**RUN, "search": {"children": 1}}], {}, r"search\.children is what the budget", id="children"),
        pytest.param([{**RUN, "search": {"basis": {}}}], {}, r"search\.basis is shared", id="own basis"),
        pytest.param(
            [*METHODS, {**RUN, "search": {"mutaton": {}}}],
            {},
            r"Method x: unknown field spec\.search\.mutaton \(did you mean mutation",
            id="an unknown difference",
        ),
        pytest.param(
            [*METHODS, {**RUN, "finalize": {"candidates": -1}}],
            {},
            r"Method x: spec\.finalize\.candidates: .* got -1",
            id="a bad difference",
        ),
        pytest.param(
            [*METHODS, {**TRAINED, "data": {"sqll": "a.jsonl"}}],
            {},
            r"method x has data of sqll, which is no task \(did you mean sql",
            id="training data of nobody",
        ),
        pytest.param([{**TRAINED, "lessons": True}], {}, r"unknown field spec\.methods\[0\]\.lessons", id="lessons"),
    ],
)
def test_a_mistake_is_told_in_one_sentence(
    folder: Path, methods: list[dict[str, Any]], spec: dict[str, Any], sentence: str
) -> None:
    with pytest.raises(BadManifest, match=sentence) as told:
        load_contest(write_contest(folder, methods, **spec))
    assert "\n" not in str(told.value)


def test_training_data_are_generated_or_named(tmp_path: Path) -> None:
    manifest = document(tmp_path)
    manifest["spec"]["tasks"][1]["evaluator"]["data"] = "items.jsonl"
    write(tmp_path / "tiny.yaml", manifest)
    with pytest.raises(BadManifest, match=r"method x has no training data of task shell, .* in its data\.shell\."):
        load_contest(write_contest(tmp_path, [*METHODS, TRAINED]))
    named = {**TRAINED, "data": {"shell": "train/shell.jsonl", "sql": "s3://bucket/sql.jsonl"}}
    contest = load_contest(write_contest(tmp_path, [*METHODS, named]))
    method = contest.spec.methods[-1]
    assert isinstance(method, LoraOnTrainingData)
    assert method.data == {"shell": str(tmp_path / "train/shell.jsonl"), "sql": "s3://bucket/sql.jsonl"}
    assert not contest.is_taught(method)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        pytest.param("kind: [", "is not YAML in line", id="no YAML"),
        pytest.param("", "holds 0 documents, expected one Comparison", id="empty"),
        pytest.param("kind: Comparison", "apiVersion is missing", id="nothing in it"),
    ],
)
def test_a_file_that_is_none(folder: Path, text: str, sentence: str) -> None:
    (folder / "bad.yaml").write_text(text, encoding="utf-8")
    with pytest.raises(BadManifest, match=sentence):
        load_contest(folder / "bad.yaml")


def test_a_comparison_is_told_from_a_manifest(folder: Path) -> None:
    assert is_contest(write_contest(folder))
    assert not is_contest(folder / "tiny.yaml")


def test_only_those_who_learn_are_given_lessons(folder: Path) -> None:
    guided = {"emitter": {"type": "Guided"}}
    methods = [
        *METHODS,
        {"name": "ours", "type": "CycleQD", "search": guided},
        {"name": "ours-without", "type": "CycleQD", "search": guided, "lessons": False},
        {"name": "polished", "type": "CycleQD", "finalize": {"polishSteps": 2}},
        {"name": "reg-mean", "type": "RegMean"},
        {"name": "reg-mean-without", "type": "RegMean", "lessons": False},
    ]
    with_lessons = load_contest(write_contest(folder, methods, lessons=2))
    without = load_contest(write_contest(folder, methods))
    taught = {method.name: with_lessons.is_taught(method) for method in with_lessons.spec.methods}
    assert [name for name, own in taught.items() if own] == ["ours", "polished", "reg-mean"]
    for one, other in zip(with_lessons.spec.methods, without.spec.methods, strict=True):
        is_same = with_lessons.fingerprint(0, one) == without.fingerprint(0, other)
        assert is_same == (not taught[one.name]), f"lessons decide only what {one.name} reaches if it learns"
    assert with_lessons.fingerprint(0, None) == without.fingerprint(0, None)
