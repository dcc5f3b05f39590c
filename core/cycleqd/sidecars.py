"""What stands beside a worker in its pod, and where worker and sidecar meet: operator and runner agree on it here.

A sidecar shares one folder with the worker, a socket or files in it, and nothing else. The operator says in a variable
of the worker that it is there; without the variable, the worker does by itself what it can.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence

from cycleqd.api.run import RunSpec
from cycleqd.api.tasks import AgentBenchDbEvaluator, ContainerEvaluator, Evaluator, InspectEvaluator, LmEvalEvaluator
from cycleqd.plan import Role

SANDBOX_SOCKET = "CYCLEQD_SANDBOX_SOCKET"
"""Variable of the worker: the socket of the sandbox beside it, where model-written code runs."""
SANDBOX_FOLDER = "/run/cycleqd-sandbox"

MYSQL_SOCKET = "CYCLEQD_MYSQL_SOCKET"
"""Variable of the worker: the socket of the MariaDB server beside it, of which it is root without a password."""
MYSQL_FOLDER = "/run/cycleqd-mysql"

CONTAINERS = "CYCLEQD_CONTAINERS"
"""Variable of the worker: the folder with a folder for each image of ``Container`` evaluators beside it, by
:func:`container_key`."""
CONTAINERS_FOLDER = "/run/cycleqd-containers"


def evaluators(spec: RunSpec) -> Iterator[Evaluator]:
    """Yield all evaluators of a run: those of its tasks, then those of the report's benchmarks."""
    yield from (task.evaluator for task in spec.tasks)
    yield from (benchmark.evaluator for benchmark in spec.report.benchmarks)


def is_first(spec: RunSpec, role: Role, subject: str) -> bool:
    """Return whether a worker is the run's first one, which tries what evaluators need although it scores nobody.

    What is missing is found out then, and not by the first evaluation, after hours of work.

    Args:
        spec: of the run.
        role: of the worker.
        subject: the expert that it prepares.
    """
    return role == "prepare" and subject == spec.experts[0].name


def runs_model_code(evaluator: Evaluator) -> bool:
    """Return whether an evaluator may run what a model wrote in the sandbox."""
    if isinstance(evaluator, AgentBenchDbEvaluator):
        return evaluator.server == "SQLite"
    return not isinstance(evaluator, LmEvalEvaluator | InspectEvaluator | ContainerEvaluator)


def needs_mysql(evaluator: Evaluator) -> bool:
    """Return whether an evaluator needs a server of MySQL's protocol."""
    return isinstance(evaluator, AgentBenchDbEvaluator) and evaluator.server == "MySQL"


def container_key(image: str, command: Sequence[str]) -> str:
    """Return the name of the folder that the worker shares with one image's container: 12 hexadecimal digits."""
    return hashlib.sha256("\0".join((image, *command)).encode()).hexdigest()[:12]
