"""Small comparisons: the file, its manifest, tiny models that sometimes answer right, and records that are made up."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

import yaml

from cycleqd.api.tasks import SandboxLimits
from cycleqd.records import ItemOutcome, TaskEvaluation
from cycleqd_runner.contest.trials import Point, Spending, Trial
from cycleqd_runner.sandbox import Completed, Execution, Machine, MachineSpec
from tests.runner.models import save_adapter, save_llama
from tests.runner.runs import write_manifest
from tests.runner.test_run import tiny_spec

METHODS: list[dict[str, Any]] = [
    {"name": "random", "type": "RandomSearch"},
    {"name": "paper", "type": "CycleQD"},
]


def tiny_models(folder: Path) -> Path:
    """Save a base and two LoRA experts, and return the manifest of a run of them."""
    base = save_llama(folder / "base")
    experts = {name: save_adapter(base, folder / name, seed) for seed, name in enumerate(("a", "b"), start=1)}
    return write_manifest(folder / "tiny.yaml", tiny_spec(folder, experts, base))


def write_contest(folder: Path, methods: Sequence[dict[str, Any]] = METHODS, **spec: Any) -> Path:
    """Write the file of a comparison of ``folder``/tiny.yaml and return its path."""
    document = {
        "apiVersion": "cycleqd.dev/v1alpha1",
        "kind": "Comparison",
        "metadata": {"name": "tiny"},
        "spec": {
            "manifest": "tiny.yaml",
            "seeds": [0, 1],
            "budget": {"children": 8},
            "finalists": 2,
            "reference": "paper",
            "methods": list(methods),
            "storage": {"uri": "comparison"},
            **spec,
        },
    }
    path = folder / "compare.yaml"
    path.write_text(yaml.safe_dump(document), encoding="utf-8")
    return path


class QuickSandbox:
    """Runs nothing: what code prints depends on its length. Real ones take longer than the tiny model does."""

    name = "Quick"

    async def run(self, execution: Execution, limits: SandboxLimits) -> Completed:
        code = "".join(execution.argv or ())
        stdout = b"hello\n" if len(code) % 3 else b""
        return Completed(0, stdout, b"", timed_out=False, limit=None, tree={}, seconds=0.0)

    def machine(self, spec: MachineSpec, limits: SandboxLimits) -> AbstractAsyncContextManager[Machine]:
        raise AssertionError("no machine should have been needed")

    def require_machines(self) -> None:
        raise AssertionError("no machine should have been needed")

    async def close(self) -> None:
        pass


@contextlib.asynccontextmanager
async def open_quick_sandbox(_: str) -> AsyncIterator[QuickSandbox]:
    yield QuickSandbox()


class Notes:
    """Remembers what an observer is told."""

    def __init__(self) -> None:
        self.left: list[tuple[str, int]] = []
        self.begun: list[tuple[str, int]] = []
        self.ended: list[Trial] = []
        self.evaluations = 0

    def plans(self, left: Sequence[tuple[str, int]]) -> None:
        self.left = list(left)

    def begins(self, method: str, seed: int, limit: int) -> None:
        self.begun.append((method, seed))

    def goes_on(self, point: Point) -> None:
        self.evaluations += 1

    def ends(self, trial: Trial) -> None:
        self.ended.append(trial)


def trial(method: str, seed: int, **scores: Sequence[float]) -> Trial:
    """Return a record with these scores of items 0, 1, ... by task."""
    evaluations = tuple(
        TaskEvaluation(
            task=task,
            split="test",
            outcomes=tuple(ItemOutcome(item=f"{task}-{i}", score=score) for i, score in enumerate(own)),
        )
        for task, own in scores.items()
    )
    spending = Spending(limit=1000, search=700, training=100, validation=100, evaluations=7)
    curve = (Point(tokens=400, evaluations=4, best=0.4), Point(tokens=800, evaluations=7, best=0.6))
    return Trial(
        method=method, seed=seed, fingerprint="f", final="it", test=evaluations, spending=spending, curve=curve
    )
