"""Coordinator work per child: reading its result, folding all results, planning what comes next.

Run ``python -m benchmarks.coordinator``. Nothing of a model is involved. The store is a folder, so this is the
coordinator's own work, not a network's. Work is processor time, which neighbours on a busy machine do not change; the
time on the clock is shown beside it.
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from benchmarks.report import Figure, at_most, publish
from cycleqd import keys
from cycleqd.api import RunSpec
from cycleqd.log import ResultLog
from cycleqd.plan import Observed, Work, plan
from cycleqd.records import ItemOutcome, Result, TaskEvaluation
from cycleqd.store import FolderStore

TASKS, ITEMS, CHILDREN, WORKERS = 3, 48, 1200, 8
LATE = 100
"""Children at the end of the run, where each one costs most."""


def _spec() -> RunSpec:
    names = [f"skill-{k}" for k in range(TASKS)]
    return RunSpec.model_validate(
        {
            "baseModel": {"uri": "base"},
            "experts": [{"name": name, "uri": name} for name in names],
            "tasks": [{"name": name, "expert": name, "evaluator": {"type": "Sql"}} for name in names],
            "search": {"children": CHILDREN},
            "workers": {"parallelism": WORKERS},
            "storage": {"uri": "run"},
        }
    )


def _result(individual: int) -> bytes:
    """Return a result of the size that a real one has."""
    rng = np.random.default_rng(individual)
    evaluations = tuple(
        TaskEvaluation(
            task=f"skill-{k}",
            split="search",
            outcomes=tuple(
                ItemOutcome(
                    item=f"search-{n:05d}",
                    score=float(rng.random() < rng.random()),
                    reason="rows differ: expected 3, got 2",
                    prompt_sha256="0123456789abcdef" * 4,
                    prompt_tokens=150,
                    answer_tokens=30,
                    seconds=0.123,
                )
                for n in range(ITEMS)
            ),
        )
        for k in range(TASKS)
    )
    return Result(id=individual, genome_sha256="0" * 64, evaluations=evaluations).model_dump_json().encode()


def main() -> int:
    """Grow a run to its last child; publish what one child costs on average and at the end, in milliseconds."""
    spec = _spec()
    prepared = frozenset(expert.name for expert in spec.experts)
    steps: dict[str, list[float]] = {"refresh": [], "fold": [], "plan": [], "compact": []}
    on_the_clock: list[float] = []
    with tempfile.TemporaryDirectory() as folder:
        store = FolderStore(Path(folder))
        log = ResultLog(store)
        running = tuple(Work("breed", ids=tuple(range(start, start + 30))) for start in range(TASKS, TASKS + 210, 30))
        for individual in range(TASKS + CHILDREN):
            store.put_once(keys.result(individual), _result(individual))
            if individual < TASKS:
                continue
            started = time.perf_counter()
            clock = [time.process_time()]
            log.refresh()
            clock.append(time.process_time())
            _ = log.population(spec).coverage
            clock.append(time.process_time())
            plan(spec, Observed(prepared, frozenset(log.done), running=running))
            clock.append(time.process_time())
            log.compact()
            clock.append(time.process_time())
            on_the_clock.append(1000 * (time.perf_counter() - started))
            for name, begin, end in zip(steps, clock, clock[1:], strict=False):
                steps[name].append(1000 * (end - begin))
    total = np.sum(list(steps.values()), axis=0)
    late = float(total[-LATE:].mean())
    figures = [Figure(f"{name}, last {LATE} children", float(np.mean(ms[-LATE:])), "ms") for name, ms in steps.items()]
    figures += [
        Figure(f"time on the clock per child, last {LATE} children", float(np.mean(on_the_clock[-LATE:])), "ms"),
        at_most("coordinator work per child, whole run", float(total.mean()), "ms", 5),
        at_most(f"coordinator work per child, last {LATE} children", late, "ms", 5),
    ]
    return publish(__file__, figures)


if __name__ == "__main__":
    sys.exit(main())
