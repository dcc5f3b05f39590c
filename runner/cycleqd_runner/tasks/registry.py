"""Which evaluator runs which ``type`` of the manifest."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from cycleqd.api.tasks import EvaluatorBase
from cycleqd.errors import UnsupportedHere, near_misses
from cycleqd_runner.tasks.agentbench_db import agentbench_db_evaluator
from cycleqd_runner.tasks.contract import Evaluator
from cycleqd_runner.tasks.python_tests import python_tests_evaluator
from cycleqd_runner.tasks.shell import shell_evaluator
from cycleqd_runner.tasks.sql import sql_evaluator

Fetch = Callable[[str], bytes]
"""Returns the content behind a ``data`` URI."""

FACTORIES: dict[str, Callable[[Any, bytes | None], Evaluator]] = {
    "Sql": sql_evaluator,
    "Shell": shell_evaluator,
    "PythonTests": python_tests_evaluator,
    "AgentBenchDB": agentbench_db_evaluator,
}
LATER = ("AgentBenchOS", "LmEval", "Inspect", "Container")
"""Types that the manifest's schema knows and this version cannot run."""


def make_evaluator(spec: EvaluatorBase, fetch: Fetch) -> Evaluator:
    """Return the evaluator of a manifest's ``evaluator`` block.

    Args:
        spec: the validated block.
        fetch: reads its ``data``.

    Raises:
        UnsupportedHere: this version has no evaluator of that type.
        BadData: the items file is broken or missing.
    """
    kind = str(getattr(spec, "type", ""))
    factory = FACTORIES.get(kind)
    if factory is None:
        hint = "" if kind in LATER else near_misses(kind, FACTORIES)
        raise UnsupportedHere(
            f"This version cannot run evaluators of type {kind}{hint}: use one of {', '.join(sorted(FACTORIES))}."
        )
    data = getattr(spec, "data", None)
    return factory(spec, None if data is None else fetch(data))
