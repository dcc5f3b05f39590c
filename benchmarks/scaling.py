"""How busy 1, 2 and 4 workers of a local run are, if an evaluation takes between one and two units of time.

Run ``python -m benchmarks.scaling``. Executor, planner, worker processes, store and breeding are the real ones, with
tiny experts; only the evaluation is a sleep (:mod:`benchmarks.synthetic.worker`), so workers do not compete for the
processors and what is left is our own coordination: claims, folds, plans, writes, and the waiting for others. The three
runs are played at once, each with an executor of its own, so all meet the same machine, and it takes three minutes.

Counted is the time from the moment when breeding can begin, with warm workers, until the executor has noticed the last
result. So the tail counts: workers with nothing left to do while others finish are idle. That is lost once a run, half
an evaluation a worker; its share shrinks with the number of children, of which there are few here, 22 a worker.

What else uses the processors delays coordination, and the figures with it: the machine should be idle.
"""

from __future__ import annotations

import asyncio
import contextlib
import multiprocessing
import sys
import tempfile
import time
from collections import defaultdict
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from benchmarks.report import Figure, at_least, publish
from cycleqd import keys
from cycleqd.api import CycleQDRun
from cycleqd.records import Result, read_result
from cycleqd.store import FolderStore
from cycleqd_runner.local import LocalRun, Snapshot

WORKERS = (1, 2, 4)
CHILDREN = 22
"""For each worker. A run of the paper's size has ten times as many as ours with four, and a tenth of its tail."""
EXPERTS = max(WORKERS)
"""As many as workers, so that all are warm when breeding begins."""
SHORTEST, LONGEST = 2.5, 5.0
"""Seconds of an evaluation, half of the quickstart's on two cores. Children of bigger models take longer, and
coordination weighs less."""


class Bred(Exception):
    """All children are done."""


@dataclass
class Watch:
    """Notes when breeding begins and ends, in seconds since 1970, and ends the run there."""

    began: float = 0.0
    ended: float = 0.0

    def show(self, snapshot: Snapshot) -> None:
        """See :class:`cycleqd_runner.local.Observer`."""
        if snapshot.phase == "Breeding" and not self.began:
            self.began = time.time()
        if snapshot.phase == "Finalizing":
            self.ended = time.time()
            raise Bred

    def say(self, message: str) -> None:
        """See :class:`cycleqd_runner.local.Observer`; nothing should be said."""
        print(message, file=sys.stderr)


def manifest(models: Path, storage: Path, workers: int) -> CycleQDRun:
    """Return a run of the experts in ``models`` with this many workers."""
    names = [f"skill-{k}" for k in range(EXPERTS)]
    spec = {
        "baseModel": {"uri": str(models / "base")},
        "experts": [{"name": name, "uri": str(models / name)} for name in names],
        "tasks": [{"name": name, "expert": name, "evaluator": {"type": "Sql"}} for name in names],
        "search": {"children": CHILDREN * workers},
        "workers": {"parallelism": workers},
        "storage": {"uri": str(storage)},
    }
    kind = {"apiVersion": "cycleqd.dev/v1alpha1", "kind": "CycleQDRun", "metadata": {"name": f"scaling-{workers}"}}
    return CycleQDRun.model_validate({**kind, "spec": spec})


def bred(models: Path, workers: int) -> tuple[Watch, list[Result]]:
    """Breed all children of a run; return when, and their results."""
    folder = models / f"{workers}"
    watch, store = Watch(), FolderStore(folder / "run")
    command = (sys.executable, "-m", "benchmarks.synthetic.worker", str(SHORTEST), str(LONGEST))
    run = LocalRun(manifest(models, folder / "run", workers), store, watch, folder / "logs", command)
    with contextlib.suppress(Bred):
        asyncio.run(run.execute())
    results = (read_result(store.get(key), key) for key in store.list(keys.RESULTS))
    return watch, [result for result in results if result.id >= EXPERTS]


def figures(workers: int, watch: Watch, children: list[Result]) -> list[Figure]:
    """Return how busy the workers were, and what the rest of their time was."""
    whole = workers * (watch.ended - watch.began)
    busy = sum(child.timings.evaluate_seconds for child in children)
    last: defaultdict[str, float] = defaultdict(float)
    for child in children:
        last[child.worker] = max(last[child.worker], child.finished_at)
    tail = sum(watch.ended - moment for moment in last.values())
    name = f"{workers} {'worker' if workers == 1 else 'workers'}"
    share = 100 * busy / whole
    return [
        at_least(f"{name}: busy", share, "%", 95) if workers == max(WORKERS) else Figure(f"{name}: busy", share, "%"),
        Figure(f"{name}: idle at the end, while others finish", 100 * tail / whole, "%"),
        Figure(f"{name}: breeding, folding, reading and writing", 100 * (whole - busy - tail) / whole, "%"),
        Figure(f"{name}: children a minute", 60 * len(children) / (watch.ended - watch.began), "1/min"),
    ]


def main() -> int:
    """Publish the figures."""
    from tests.runner.models import save_adapter, save_llama  # imports PEFT, which the processes below would do, too

    with tempfile.TemporaryDirectory() as name:
        models = Path(name)
        base = save_llama(models / "base")
        for k in range(EXPERTS):
            save_adapter(base, models / f"skill-{k}", seed=k)
        with ProcessPoolExecutor(len(WORKERS), multiprocessing.get_context("spawn")) as processes:
            runs = list(processes.map(partial(bred, models), WORKERS))
    found = [figure for workers, run in zip(WORKERS, runs, strict=True) for figure in figures(workers, *run)]
    return publish(__file__, found)


if __name__ == "__main__":
    sys.exit(main())
