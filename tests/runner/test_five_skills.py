"""Five experts become one model with archives of every type: a whole run on tiny models, role by role."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from cycleqd import keys
from cycleqd.api import API_VERSION, KIND, CycleQDRun
from cycleqd.identity import claim
from cycleqd.report import Report
from cycleqd.store import FolderStore
from cycleqd_runner.report import heatmaps, plots
from cycleqd_runner.roles.breed import breed
from cycleqd_runner.roles.evaluate import evaluate
from cycleqd_runner.roles.finalize import finalize
from cycleqd_runner.roles.prepare import prepare
from cycleqd_runner.sandbox import open_sandbox
from cycleqd_runner.session import Session
from tests.runner.models import save_adapter, save_llama

SKILLS = ("a", "b", "c", "d", "e")
CHILDREN = 3
ARCHIVES: dict[str, dict[str, Any]] = {
    "Grid": {},
    "Cvt": {"type": "Cvt", "cells": 20},
    "DominatedNovelty": {"type": "DominatedNovelty", "size": 6, "behaviour": "Items"},
}


def spec_of(folder: Path, archive: dict[str, Any]) -> dict[str, Any]:
    """Return a spec whose tasks a random model answers by chance: silence is right for half of the items."""
    evaluator = {"type": "Shell", "data": str(folder / "items.jsonl"), "maxTokens": 2}
    splits = {"search": 2, "validation": 1, "test": 1}
    return {
        "baseModel": {"uri": str(folder / "base")},
        "experts": [{"name": name, "uri": str(folder / name)} for name in SKILLS],
        "tasks": [{"name": f"t-{name}", "expert": name, "evaluator": evaluator, "items": splits} for name in SKILLS],
        "search": {"children": CHILDREN, "archive": archive},
        "finalize": {"candidates": 1, "greedySteps": 0},
        "storage": {"uri": str(folder / "run")},
        "engine": {"args": {"dtype": "Float32"}},
    }


def session_of(folder: Path, store: FolderStore, archive: dict[str, Any]) -> Session:
    """Claim the store for a run with such archives, and open it."""
    document = {"apiVersion": API_VERSION, "kind": KIND, "metadata": {"name": "five"}, "spec": spec_of(folder, archive)}
    claim(store, CycleQDRun.model_validate(document))
    return Session(store)


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with five experts whose bases and results are in ``experts/``."""
    folder = tmp_path_factory.mktemp("five")
    lines = [{"id": f"i{i}", "prompt": f"say {i}", "stdout": "" if i % 2 else "hello\n"} for i in range(4)]
    (folder / "items.jsonl").write_text("\n".join(map(json.dumps, lines)), encoding="utf-8")
    base = save_llama(folder / "base")
    for seed, name in enumerate(SKILLS):
        save_adapter(base, folder / name, seed)
    session = session_of(folder, FolderStore(folder / "experts"), {})
    for name in SKILLS:
        prepare(session, name)

    async def score() -> None:
        async with open_sandbox("Unsafe") as sandbox:
            await evaluate(session, range(len(SKILLS)), sandbox)

    asyncio.run(score())
    return folder


@pytest.mark.parametrize("kind", ARCHIVES)
async def test_a_run_of_five_skills_ends_with_one_model(
    prepared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    monkeypatch.setattr(heatmaps, "MAX_MAPS", 5)  # drawing takes longer than the run
    monkeypatch.setattr(plots, "DOTS_PER_INCH", 20)
    experts, store = FolderStore(prepared / "experts"), FolderStore(tmp_path)
    for key in experts.list():
        if key not in {keys.RUN, keys.SPEC}:
            store.put(key, experts.get(key))
    session = session_of(prepared, store, ARCHIVES[kind])
    async with open_sandbox("Unsafe") as sandbox:
        assert await breed(session, range(5, 5 + CHILDREN), sandbox)
        await finalize(session, sandbox)

    population = session.population()
    assert len(population.ids) == 5 + CHILDREN
    report = Report.model_validate_json(store.get(keys.REPORT))
    assert [view.task for view in report.archives] == [f"t-{name}" for name in SKILLS]
    for view, archive in zip(report.archives, population.archives, strict=True):
        shown = view.members or tuple(member for _, member in view.cells)
        assert shown == tuple(archive.members.tolist())
        assert view.qd_score == archive.qd_score
    assert report.scores["merged"].keys() == {f"t-{name}" for name in SKILLS}
    assert store.exists(f"{keys.MODEL}/config.json")
    assert all(bool(entry.items) == (kind == "DominatedNovelty") for entry in session.log.entries.values())
