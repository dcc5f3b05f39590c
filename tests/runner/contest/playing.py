"""Whole comparisons on tiny models: how they are written, played and read back."""

from __future__ import annotations

import asyncio
import shutil
from pathlib import Path
from typing import Any

from cycleqd.store import FolderStore
from cycleqd_runner.contest.entries import ALL, Part, load_contest
from cycleqd_runner.contest.play import play
from cycleqd_runner.contest.trials import Trial
from tests.runner.contest.support import Notes, write_contest

GUIDED = {"emitter": {"type": "Guided", "firstSteps": 2, "steps": 1, "batchItems": 2}}
TRAINING = {"steps": [4], "learningRates": [0.05], "batchItems": 2, "data": {"t-a": "a.jsonl", "t-b": "b.jsonl"}}


def contest_in(models: Path, folder: Path, methods: list[dict[str, Any]], **spec: Any) -> Path:
    """Write a comparison of the models whose storage is below ``folder``."""
    manifest, storage = str(models / "tiny.yaml"), {"uri": str(folder / "comparison")}
    for name in ("a", "b"):
        shutil.copy(models / f"{name}.jsonl", folder)
    return write_contest(folder, methods, manifest=manifest, storage=storage, **spec)


def compete(file: Path, notes: Notes | None = None, part: Part = ALL) -> Notes:
    notes = notes or Notes()
    asyncio.run(play(load_contest(file), notes, part))
    return notes


def trials_in(folder: Path) -> dict[str, Trial]:
    found = FolderStore(folder / "comparison")
    return {key: Trial.model_validate_json(found.get(key)) for key in found.list("trials/")}
