"""Small specs and results for the tests of the core."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from cycleqd import keys
from cycleqd.api import RunSpec
from cycleqd.identity import read_identity, read_spec
from cycleqd.log import ResultLog
from cycleqd.records import ItemOutcome, Result, TaskEvaluation
from cycleqd.report import Individual, Report
from cycleqd.store import ObjectStore

SKILLS = ("sql", "shell", "python")


def spec_dict(n_tasks: int = 3, **fields: Any) -> dict[str, Any]:
    """Return a valid spec as a user would write it, with ``fields`` (camelCase) on top."""
    names = [SKILLS[k] if k < len(SKILLS) else f"skill-{k}" for k in range(n_tasks)]
    return {
        "baseModel": {"uri": "s3://models/base"},
        "experts": [{"name": name, "uri": f"s3://models/{name}"} for name in names],
        "tasks": [{"name": f"{name}-task", "expert": name, "evaluator": {"type": "Sql"}} for name in names],
        "storage": {"uri": "runs/test"},
        **fields,
    }


def run_spec(n_tasks: int = 3, **fields: Any) -> RunSpec:
    """Return :func:`spec_dict`, validated."""
    return RunSpec.model_validate(spec_dict(n_tasks, **fields))


def make_result(
    individual: int,
    scores: Sequence[float | None],
    evaluation: int = 0,
    items: int = 1,
    why: str = "sandbox down",
    **fields: Any,
) -> Result:
    """Return a result whose task k has ``items`` items that all score ``scores[k]``; None: no score, and ``why``."""
    evaluations = tuple(
        TaskEvaluation(
            task=f"task-{k}",
            split="search",
            outcomes=tuple(
                ItemOutcome(item=f"{k}-{n}", score=score, reason=why if score is None else None) for n in range(items)
            ),
        )
        for k, score in enumerate(scores)
    )
    return Result(id=individual, evaluation=evaluation, genome_sha256="0" * 64, evaluations=evaluations, **fields)


def write_report(store: ObjectStore) -> None:
    """Write the final report of a run, as far as whoever waits for it looks at it."""
    log, spec = ResultLog(store), read_spec(store)
    log.refresh()
    report = Report(
        run=read_identity(store).name,
        uid="",
        tasks=tuple(task.name for task in spec.tasks),
        experts=tuple(expert.name for expert in spec.experts),
        scores={},
        means={},
        individuals=tuple(Individual(id=individual) for individual in log.done - log.quarantined),
        quarantined=tuple(log.quarantined),
    )
    store.put(keys.REPORT, report.model_dump_json().encode())
