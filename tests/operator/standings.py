"""What a look at a small run of three experts found, for the tests of status, conditions and metrics."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from cycleqd.api import RunSpec
from cycleqd.api.status import Condition, ConditionType, RunStatus
from cycleqd.fold import Population
from cycleqd_operator.standing import Standing
from tests.core.support import run_spec

NOON = 1_800_000_000.0
"""2027-01-15T08:00:00Z."""
STORE = "s3://runs/test"


def spec(state: str = "Running", children: int = 6) -> RunSpec:
    return run_spec(desiredState=state, search={"children": children}, storage={"uri": STORE})


def population(of: RunSpec, ids: Iterable[int]) -> Population:
    """Individual i scores (i + 1) / 100 on each task, and 0.5 more on the task that it is an expert of."""
    chosen = np.array(sorted(ids), np.int64)
    scores = np.tile((chosen[:, None] + 1) / 100, (1, len(of.tasks)))
    for row, individual in enumerate(chosen[: len(of.experts)]):
        scores[row, individual % len(of.tasks)] += 0.5
    return Population(chosen, scores, len(of.experts), of.search.archive)


def standing(state: str = "Running", done: int | Iterable[int] = 5, children: int = 6, **fields: Any) -> Standing:
    """Return a look at a run that breeds; ``done`` is how many individuals, or which ones, are settled."""
    wanted = spec(state, children)
    settled = frozenset(range(done)) if isinstance(done, int) else frozenset(done)
    found = {
        "spec": wanted,
        "generation": 1,
        "now": NOON,
        "phase": "Breeding",
        "n_prepared": 3,
        "population": population(wanted, settled - set(fields.get("quarantined", ()))),
        "done": settled,
        "storage_uri": STORE,
        **fields,
    }
    return Standing(**found)


def blind(state: str = "Running", **fields: Any) -> Standing:
    """Return a look that could not read the store."""
    return Standing(**{"spec": spec(state), "generation": 1, "now": NOON, **fields})


def condition(status: RunStatus, kind: ConditionType) -> Condition:
    return next(found for found in status.conditions if found.type == kind)
