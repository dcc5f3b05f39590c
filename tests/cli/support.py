"""Runs as a store holds them, written by tests: manifests, results, reports. No models, so no torch."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from typer.testing import CliRunner
from typer.testing import Result as Invocation

from cycleqd import keys
from cycleqd.identity import claim
from cycleqd.manifest import load_manifest
from cycleqd.records import ItemOutcome, Result, TaskEvaluation, Transcript
from cycleqd.report import Candidate, Individual, Interval, Report
from cycleqd.store import ObjectStore, open_store
from cycleqd_cli import app
from cycleqd_runner.transcripts import packed

ITEMS = 20
TASKS = ("sql", "shell", "python")
TYPES = {"sql": "Sql", "shell": "Shell", "python": "PythonTests"}
SCORES = {0: (0.8, 0.1, 0.0), 1: (0.1, 0.9, 0.1), 2: (0.0, 0.1, 0.7), 3: (0.6, 0.5, 0.4), 4: (0.5, 0.3, 0.6)}
"""Search scores of three experts and two children."""


def document(folder: Path, name: str = "tiny") -> dict[str, Any]:
    """Return a manifest with three experts of procedural tasks, stored in ``folder``/run."""
    return {
        "apiVersion": "cycleqd.dev/v1alpha1",
        "kind": "CycleQDRun",
        "metadata": {"name": name},
        "spec": {
            "baseModel": {"uri": str(folder / "base")},
            "experts": [{"name": f"{task}-expert", "uri": str(folder / task)} for task in TASKS],
            "tasks": [
                {
                    "name": task,
                    "expert": f"{task}-expert",
                    "evaluator": {"type": TYPES[task]},
                    "items": {"search": ITEMS, "validation": 10, "test": 10},
                }
                for task in TASKS
            ],
            "search": {"children": 10},
            "storage": {"uri": str(folder / "run")},
        },
    }


def write(path: Path, manifest: Mapping[str, Any]) -> Path:
    """Write a manifest and return its path."""
    path.write_text(yaml.safe_dump(dict(manifest)), encoding="utf-8")
    return path


def started(folder: Path, ids: Iterable[int] = SCORES, **search: object) -> tuple[Path, ObjectStore]:
    """Start a run as an executor does, with prepared experts and these results; return its manifest and its store."""
    content = document(folder)
    content["spec"]["search"] |= search
    manifest = write(folder / "tiny.yaml", content)
    run = load_manifest(manifest)
    store = open_store(run.spec.storage.uri)
    claim(store, run)
    for expert in run.spec.experts:
        store.put(keys.basis_manifest(expert.name), b"{}")
    for individual in ids:
        add_result(store, individual, SCORES[individual])
    return manifest, store


def add_result(store: ObjectStore, individual: int, scores: Iterable[float]) -> None:
    """Write the result of an individual with these mean scores."""
    result = Result(
        id=individual,
        parents=() if individual < len(TASKS) else (0, 1),
        active_task=None if individual < len(TASKS) else 1,
        genome_sha256="0" * 64,
        evaluations=tuple(_evaluation(task, score) for task, score in zip(TASKS, scores, strict=True)),
    )
    store.put_once(keys.result(individual), result.model_dump_json().encode())
    solved = [said(own.task, one.item) for own in result.evaluations for one in own.outcomes if one.score == 1]
    store.put_once(keys.transcripts(individual), packed(solved))


def said(task: str, item: str, answer: str = "42", score: float | None = 1.0, **fields: Any) -> Transcript:
    """Return a conversation of one question."""
    messages = ({"role": "system", "content": f"You know {task}."}, {"role": "user", "content": f"Solve {item}."})
    return Transcript(task=task, item=item, messages=messages, answer=answer, score=score, **fields)


def _evaluation(task: str, score: float) -> TaskEvaluation:
    right = round(score * ITEMS)
    outcomes = (ItemOutcome(item=f"{task}-{i}", score=float(i < right)) for i in range(ITEMS))
    return TaskEvaluation(task=task, split="search", outcomes=tuple(outcomes))


def add_report(store: ObjectStore, ids: Iterable[int] = SCORES) -> Report:
    """Write the final report about these individuals, and a model of two files."""
    models = ("base", *(f"{task}-expert" for task in TASKS), "average", "merged")
    report = Report(
        run="tiny",
        uid="u",
        tasks=TASKS,
        experts=tuple(f"{task}-expert" for task in TASKS),
        scores={name: {task: _interval(0.1 * row) for task in TASKS} for row, name in enumerate(models)},
        means={name: _interval(0.1 * row) for row, name in enumerate(models)},
        candidates=(
            Candidate(name="individual-3", weights={3: 1.0}, validation=dict.fromkeys(TASKS, 0.5), chosen=True),
        ),
        individuals=tuple(Individual(id=i, scores=SCORES.get(i)) for i in ids),
    )
    store.put(f"{keys.MODEL}/config.json", b"{}")
    store.put(f"{keys.MODEL}/model.safetensors", np.arange(1000).tobytes())
    store.put(keys.REPORT, report.model_dump_json().encode())
    return report


def _interval(mean: float) -> Interval:
    return Interval(mean=mean, low=max(0.0, mean - 0.1), high=min(1.0, mean + 0.1), items=10)


def cycleqd(*arguments: str | Path, **environment: str) -> Invocation:
    """Call the command in this process."""
    return CliRunner().invoke(app, [str(argument) for argument in arguments], env={"COLUMNS": "300", **environment})


def process(*arguments: str | Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Call the command in a process of its own."""
    command = [sys.executable, "-m", "cycleqd_cli", *map(str, arguments)]
    return subprocess.run(
        command, capture_output=True, text=True, env={**os.environ, **environment}, timeout=60, check=False
    )


def objects(folder: Path) -> dict[str, bytes]:
    """Return all files below a folder, to see that nothing was lost."""
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def lines_of(invocation: Invocation) -> list[Any]:
    """Return the JSON lines that a command printed."""
    return [json.loads(line) for line in invocation.stdout.splitlines()]
