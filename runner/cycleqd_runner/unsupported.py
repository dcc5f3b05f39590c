"""What the schema knows and this version cannot do yet: refused before anything is computed, never ignored."""

from __future__ import annotations

from collections.abc import Iterable

from cycleqd.api import RunSpec
from cycleqd.api.tasks import AgentBenchDbEvaluator, ContainerEvaluator, Evaluator, Task
from cycleqd.errors import UnsupportedHere
from cycleqd_runner.sandbox import Sandbox, open_sandbox
from cycleqd_runner.tasks.agentbench_db.private_server import require_server
from cycleqd_runner.tasks.container.launchers import open_launcher


def refuse_unsupported(spec: RunSpec) -> None:
    """Refuse a manifest that asks for what this version lacks.

    Evaluators of tasks are refused where tasks are opened, with the run's first evaluation; those of benchmarks would
    be opened by finalize, when the search has been paid for.

    Raises:
        UnsupportedHere: one sentence about the first such wish.
    """
    if not spec.report.benchmarks:
        return
    from cycleqd_runner.tasks.registry import FACTORIES  # noqa: PLC0415 - most runs have no benchmarks

    for benchmark in spec.report.benchmarks:
        if benchmark.evaluator.type not in FACTORIES:
            raise UnsupportedHere(
                f"spec.report.benchmarks has {benchmark.name} of type {benchmark.evaluator.type}, which this version "
                f"cannot run: use one of {', '.join(sorted(FACTORIES))}, or leave it out."
            )


async def refuse_without_machines(spec: RunSpec) -> None:
    """Refuse a run whose items need machines where the sandbox of its manifest has none; others are not looked at.

    Raises:
        UnsupportedHere: one sentence about what is missing.
        Unscored: the sandbox cannot be opened just now.
    """
    if any(task.evaluator.needs_machines for task in spec.tasks):
        async with open_sandbox(spec.sandbox) as sandbox:
            require_machines(spec, sandbox)


def require_machines(spec: RunSpec, sandbox: Sandbox) -> None:
    """Raise UnsupportedHere if a task's items need machines and the sandbox has none."""
    for task in spec.tasks:
        if task.evaluator.needs_machines:
            try:
                sandbox.require_machines()
            except UnsupportedHere as error:
                raise UnsupportedHere(
                    f"Task {task.name} ({task.evaluator.type}) needs machines, but {error}."
                ) from error


def refuse_without_server(tasks: Iterable[Task]) -> None:
    """Refuse tasks that need a database server where there is none and none can be started.

    Raises:
        UnsupportedHere: one sentence about what to install.
    """
    for task in tasks:
        if isinstance(task.evaluator, AgentBenchDbEvaluator) and task.evaluator.server == "MySQL":
            require_server()


def refuse_without_containers(evaluators: Iterable[Evaluator]) -> None:
    """Refuse evaluators in containers where nothing starts any.

    Raises:
        UnsupportedHere: one sentence about what to install.
    """
    for evaluator in evaluators:
        if isinstance(evaluator, ContainerEvaluator):
            open_launcher(evaluator)
