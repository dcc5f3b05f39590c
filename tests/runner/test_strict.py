"""Strict runs on the real small model: the same bits, whatever happens to the workers."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cycleqd.manifest import load_manifest
from cycleqd.store import FolderStore
from tests.runner.runs import (
    LONG_SECONDS,
    children_of,
    finish,
    population_of,
    report_of,
    results_of,
    start_run,
    wait_until,
    write_manifest,
)

ROOT = Path(__file__).parents[2]
BASE = ROOT / "models" / "smollm2-135m-instruct"
EXPERTS = ROOT / "examples" / "quickstart" / "experts"
CHILDREN = 5
SKILLS = {"sql": "Sql", "shell": "Shell", "python": "PythonTests"}


def real_spec(storage: Path, workers: int) -> dict[str, Any]:
    """Return the quickstart with a handful of items and children, strict."""
    splits = {"search": 4, "validation": 1, "test": 1}
    return {
        "baseModel": {"uri": str(BASE)},
        "experts": [{"name": f"{skill}-expert", "uri": str(EXPERTS / skill)} for skill in SKILLS],
        "tasks": [
            {"name": skill, "expert": f"{skill}-expert", "evaluator": {"type": kind, "maxTokens": 32}, "items": splits}
            for skill, kind in SKILLS.items()
        ],
        "search": {"children": CHILDREN, "seed": 3, "strict": True, "lag": 2},
        "finalize": {"candidates": 1, "greedySteps": 0},
        "storage": {"uri": str(storage)},
        "workers": {"parallelism": workers},
    }


@pytest.mark.skipif(not BASE.is_dir(), reason="no real small model: run examples/quickstart/prepare_base.py")
@pytest.mark.long
@pytest.mark.timeout(4 * LONG_SECONDS)
def test_a_strict_run_that_is_killed_gives_the_same_bits_as_one_that_is_not(tmp_path: Path) -> None:
    calm = write_manifest(tmp_path / "calm.yaml", real_spec(tmp_path / "calm", workers=1))
    stormy = write_manifest(tmp_path / "stormy.yaml", real_spec(tmp_path / "stormy", workers=3))

    process = start_run(calm)
    printed = finish(process, LONG_SECONDS)
    assert process.returncode == 0, printed

    killed = start_run(stormy)
    wait_until(lambda: len(results_of(stormy)) > len(SKILLS), LONG_SECONDS)  # experts and a child
    orphans = children_of(killed.pid)
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    wait_until(lambda: not any(Path(f"/proc/{orphan}").exists() for orphan in orphans))
    survivors = dict(results_of(stormy))
    resumed = start_run(stormy)
    wait_until(lambda: len(results_of(stormy)) > len(survivors) or resumed.poll() is not None, LONG_SECONDS)
    for worker in children_of(resumed.pid)[:1]:
        os.kill(worker, signal.SIGKILL)
    printed = finish(resumed, LONG_SECONDS)
    assert resumed.returncode == 0, printed

    one, three = results_of(calm), results_of(stormy)
    assert sorted(one) == sorted(three) == list(range(len(SKILLS) + CHILDREN))
    assert all(three[individual] == result for individual, result in survivors.items()), "what was written stays"
    for individual, result in one.items():
        assert three[individual].repeatable() == result.repeatable()
    folders = [FolderStore(Path(load_manifest(manifest).spec.storage.uri)) for manifest in (calm, stormy)]
    for individual in one:
        genomes = {folder.get(f"genomes/{individual:07d}.safetensors") for folder in folders}
        assert len(genomes) == 1
    for first, second in zip(population_of(calm).archives, population_of(stormy).archives, strict=True):
        assert np.array_equal(first.scores, second.scores)
        assert np.array_equal(first.members, second.members)
    assert report_of(calm)["scores"] == report_of(stormy)["scores"]
    assert len({result.scores for result in one.values()}) > 2, "individuals must differ, or this shows nothing"
