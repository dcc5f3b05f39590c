"""Which evaluator runs which ``type`` of the manifest."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from cycleqd.api.tasks import EvaluatorBase
from cycleqd_runner.tasks.agentbench_db import agentbench_db_evaluator
from cycleqd_runner.tasks.agentbench_os import agentbench_os_evaluator
from cycleqd_runner.tasks.container import container_evaluator
from cycleqd_runner.tasks.contract import Evaluator
from cycleqd_runner.tasks.inspect_tasks import inspect_evaluator
from cycleqd_runner.tasks.lm_eval import lm_eval_evaluator
from cycleqd_runner.tasks.python_tests import python_tests_evaluator
from cycleqd_runner.tasks.shell import shell_evaluator
from cycleqd_runner.tasks.sql import sql_evaluator

Fetch = Callable[[str], bytes]
"""Returns the content behind a ``data`` URI."""

Factory = Callable[[Any, Fetch], Evaluator]
"""Makes an evaluator of its block, and of what it reads with the other."""


def _with_data(make: Callable[[Any, bytes | None], Evaluator]) -> Factory:
    """Return the factory of an evaluator that reads nothing but its ``data``."""

    def factory(spec: EvaluatorBase, fetch: Fetch) -> Evaluator:
        data = getattr(spec, "data", None)
        return make(spec, None if data is None else fetch(data))

    return factory


FACTORIES: dict[str, Factory] = {
    "Sql": _with_data(sql_evaluator),
    "Shell": _with_data(shell_evaluator),
    "PythonTests": _with_data(python_tests_evaluator),
    "AgentBenchDB": _with_data(agentbench_db_evaluator),
    "AgentBenchOS": agentbench_os_evaluator,
    "Container": _with_data(container_evaluator),
    "Inspect": inspect_evaluator,
    "LmEval": lm_eval_evaluator,
}
"""By the ``type`` of the block: all that the schema knows."""


def make_evaluator(spec: EvaluatorBase, fetch: Fetch) -> Evaluator:
    """Return the evaluator of a manifest's ``evaluator`` block.

    Args:
        spec: the validated block.
        fetch: reads its ``data`` and other files that it names.

    Raises:
        UnsupportedHere: something that it needs is not installed.
        BadData: the items file is broken or missing.
    """
    kind: str = getattr(spec, "type", "")
    return FACTORIES[kind](spec, fetch)
