"""Manifests of small runs and the command that executes them, for tests of whole runs."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

from cycleqd.fold import Population
from cycleqd.log import ResultLog
from cycleqd.manifest import load_manifest
from cycleqd.records import Result, read_result
from cycleqd.store import open_store

COMMAND = [sys.executable, "-m", "cycleqd_cli"]
LONG_SECONDS = 900
"""For what takes a minute or two on a machine that is not shared."""


def write_manifest(path: Path, spec: dict[str, Any]) -> Path:
    """Write a manifest with this spec and return its path."""
    kind = {"apiVersion": "cycleqd.dev/v1alpha1", "kind": "CycleQDRun"}
    document = {**kind, "metadata": {"name": path.stem}, "spec": spec}
    path.write_text(yaml.safe_dump(document), encoding="utf-8")
    return path


def start_run(manifest: Path, *options: str) -> subprocess.Popen[str]:
    """Start ``cycleqd run`` in the manifest's folder."""
    command = [*COMMAND, "run", str(manifest), "--no-plots", *options]
    wide = {**os.environ, "COLUMNS": "200"}
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=wide, cwd=manifest.parent
    )


def finish(process: subprocess.Popen[str], seconds: float = 240) -> str:
    """Wait for a run and return what it printed."""
    printed, _ = process.communicate(timeout=seconds)
    return printed


def results_of(manifest: Path) -> dict[int, Result]:
    """Return the results of a run by id; every object below results/ must be one."""
    store = open_store(load_manifest(manifest).spec.storage.uri)
    found = [read_result(store.get(key), key) for key in store.list("results/")]
    return {result.id: result for result in found}


def population_of(manifest: Path) -> Population:
    """Return the fold of a run's results."""
    spec = load_manifest(manifest).spec
    log = ResultLog(open_store(spec.storage.uri))
    log.refresh()
    return log.population(spec)


def report_of(manifest: Path) -> dict[str, Any]:
    """Return a run's final/report.json."""
    store = open_store(load_manifest(manifest).spec.storage.uri)
    report: dict[str, Any] = json.loads(store.get("final/report.json"))
    return report


def wait_until(condition: Callable[[], bool], seconds: float = 180) -> None:
    """Wait for a condition, or fail the test."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise AssertionError("what the test waits for did not happen")
        time.sleep(0.1)


def children_of(process: int) -> list[int]:
    """Return the process ids of a process's children."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            try:
                parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
            except OSError:
                continue  # it ended while we looked
            if parent == process:
                found.append(int(entry.name))
    return found
