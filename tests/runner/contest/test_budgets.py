"""What methods of a comparison may spend, and what is kept back: tiny models, one seed, few methods at a time."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from cycleqd import keys
from cycleqd.errors import BadManifest
from cycleqd.records import read_result
from cycleqd.store import FolderStore
from cycleqd_runner.transcripts import read_transcripts
from tests.runner.contest.playing import GUIDED, TRAINING, compete, contest_in, trials_in

pytestmark = pytest.mark.usefixtures("quick_sandbox")
RANDOM = {"name": "random", "type": "RandomSearch"}


def test_training_that_the_budget_does_not_allow_is_refused(models: Path, tmp_path: Path) -> None:
    methods = [{"name": "lora", "type": "LoraOnTrainingData", **TRAINING, "steps": [1000]}]
    with pytest.raises(BadManifest, match=r"[\d,]+ of training and an evaluation of [\d,]+ do not fit, .* lower steps"):
        compete(contest_in(models, tmp_path, methods, seeds=[0], reference="base"))


def test_a_budget_that_is_too_small_is_refused(models: Path, tmp_path: Path) -> None:
    with pytest.raises(BadManifest, match=r"The budget of random is \d+ tokens, .* so raise spec\.budget"):
        compete(contest_in(models, tmp_path, [RANDOM], seeds=[0], reference="base", budget={"tokens": 40}))


def test_a_share_of_the_budget(models: Path, tmp_path: Path) -> None:
    methods: list[dict[str, Any]] = [
        {"name": "whole", "type": "RandomSearch"},
        {"name": "half", "type": "RandomSearch", "share": 0.5},
    ]
    compete(contest_in(models, tmp_path, methods, seeds=[0], reference="whole"))
    shutil.rmtree(tmp_path / "comparison/seeds")
    whole, half = (trials_in(tmp_path)[f"trials/{name}/0.json"].spending for name in ("whole", "half"))
    assert half.limit == whole.limit // 2
    assert half.tokens <= 1.05 * half.limit


def test_lessons_are_paid_for_by_those_who_learn(models: Path, tmp_path: Path) -> None:
    methods: list[dict[str, Any]] = [
        RANDOM,
        {"name": "ours", "type": "CycleQD", "search": GUIDED},
        {"name": "without", "type": "CycleQD", "search": GUIDED, "lessons": False},
    ]
    compete(contest_in(models, tmp_path, methods, lessons=4, seeds=[0], reference="ours", budget={"children": 12}))
    first = {one.method: one.curve[0].tokens for one in trials_in(tmp_path).values() if one.curve}
    assert first["ours"] == first["without"], "the experts' evaluations cost the same"
    store = FolderStore(tmp_path / "comparison/seeds/0")
    stores = {name: FolderStore(store.root / "methods" / name) for name in ("ours", "without")}
    said = {name: [one for k in (0, 1) for one in read_transcripts(own, k)] for name, own in stores.items()}
    splits = json.loads(store.get(f"shared/{keys.SPLITS}")).values()
    lessons = {item for split in splits for item in split["lessons"]}
    told = {name: any(one.item in lessons for one in own) for name, own in said.items()}
    assert told == {"ours": True, "without": False}
    shared = FolderStore(store.root / "shared")
    asked = [read_result(shared.get(keys.result(k)), "result").lessons for k in (0, 1)]
    paid = {"ours": sum(own.tokens for own in asked if own), "without": 0}
    for trial in trials_in(tmp_path).values():
        if trial.method in stores:
            children = [key for key in stores[trial.method].list("results/") if key not in map(keys.result, (0, 1))]
            bred = sum(sum(read_result(stores[trial.method].get(key), key).tokens) for key in children)
            assert trial.spending.search == first[trial.method] + paid[trial.method] + bred
    assert paid["ours"] > 0


def test_later_children_are_bred_as_long_as_their_few_steps_fit(models: Path, tmp_path: Path) -> None:
    law = GUIDED["emitter"] | {"firstSteps": 24}
    methods = [
        {"name": "ours", "type": "CycleQD", "search": {"cycle": "Fixed", "emitter": law}, "finalize": {"candidates": 1}}
    ]
    compete(contest_in(models, tmp_path, methods, lessons=4, seeds=[0], reference="ours", budget={"children": 24}))
    run = FolderStore(tmp_path / "comparison/seeds/0/methods/ours")
    children = [read_result(run.get(key), key) for key in run.list("results/")][2:]
    steps = [child.draws["steps"] for child in children]
    assert steps[0] == 24
    assert steps.count(1) >= 3, "a child of one step costs a small part of the first one"
    (own,) = (one for one in trials_in(tmp_path).values() if one.method == "ours")
    dearest = max(child.training_tokens + sum(child.tokens) for child in children[1:])
    assert own.spending.limit - 2 * dearest <= own.spending.tokens <= own.spending.limit + dearest


def test_what_polishing_takes_is_kept_back(models: Path, tmp_path: Path) -> None:
    methods = [{"name": "paper", "type": "CycleQD", "finalize": {"polishSteps": 2, "candidates": 1, "greedySteps": 0}}]
    compete(contest_in(models, tmp_path, methods, seeds=[0], reference="paper", budget={"children": 24}))
    (own,) = (one.spending for one in trials_in(tmp_path).values() if one.method == "paper")
    assert own.training > 0
    assert own.tokens <= 1.05 * own.limit
