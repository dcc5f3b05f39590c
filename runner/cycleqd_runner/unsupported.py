"""What a run needs and this machine lacks: refused before anything is computed, never ignored."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from cycleqd.api import RunSpec
from cycleqd.api.tasks import ContainerEvaluator, Evaluator
from cycleqd.errors import Unscored, UnsupportedHere
from cycleqd.sidecars import evaluators, needs_mysql
from cycleqd_runner.sandbox import Sandbox, open_sandbox
from cycleqd_runner.tasks.agentbench_db.mysql import require_answer
from cycleqd_runner.tasks.agentbench_db.private_server import require_server, server_beside
from cycleqd_runner.tasks.container.launchers import open_launcher


async def refuse_without_sandbox(spec: RunSpec) -> None:
    """Refuse a run whose workers could not open the sandbox of its manifest, or whose items need machines it lacks.

    Raises:
        UnsupportedHere: one sentence about what is missing.
        Unscored: the sandbox cannot be opened just now.
    """
    async with open_sandbox(spec.sandbox) as sandbox:
        require_machines(spec, sandbox)


def require_machines(spec: RunSpec, sandbox: Sandbox) -> None:
    """Raise UnsupportedHere if items of a task or benchmark need machines and the sandbox has none."""
    for whose, evaluator in _named(spec):
        if evaluator.needs_machines:
            try:
                sandbox.require_machines()
            except UnsupportedHere as error:
                raise UnsupportedHere(f"{whose} ({evaluator.type}) needs machines, but {error}.") from error


def require_neighbours(spec: RunSpec) -> None:
    """Refuse a run whose evaluators need a server or containers beside the worker that it does not reach.

    For the first worker of a run: what does not answer now is taken for missing, not for away. Blocks for as long as
    a server takes to refuse or answer.

    Raises:
        UnsupportedHere: one sentence about what is missing.
    """
    refuse_without_containers(evaluators(spec))
    refuse_without_server(evaluators(spec))
    socket = server_beside()
    for whose, evaluator in _named(spec):
        if socket and needs_mysql(evaluator):
            try:
                require_answer(socket)
            except Unscored as error:
                raise UnsupportedHere(
                    f"{whose} ({evaluator.type}) needs a MySQL-protocol server, but the one beside the worker, on "
                    f"{socket}, cannot be used: {error}"
                ) from error


def refuse_without_server(evaluated: Iterable[Evaluator]) -> None:
    """Refuse evaluators that need a database server where there is none and none can be started.

    Raises:
        UnsupportedHere: one sentence about what to install.
    """
    for evaluator in evaluated:
        if needs_mysql(evaluator):
            require_server()


def refuse_without_containers(evaluators: Iterable[Evaluator]) -> None:
    """Refuse evaluators in containers where nothing starts any.

    Raises:
        UnsupportedHere: one sentence about what to install.
    """
    for evaluator in evaluators:
        if isinstance(evaluator, ContainerEvaluator):
            open_launcher(evaluator)


def _named(spec: RunSpec) -> Iterator[tuple[str, Evaluator]]:
    """Yield all evaluators of a run with whose they are, as sentences begin."""
    yield from ((f"Task {task.name}", task.evaluator) for task in spec.tasks)
    yield from ((f"Benchmark {benchmark.name}", benchmark.evaluator) for benchmark in spec.report.benchmarks)
