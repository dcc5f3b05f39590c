"""What the schema knows and this version cannot do yet: refused before anything is computed, never ignored."""

from __future__ import annotations

from cycleqd.api import RunSpec
from cycleqd.errors import UnsupportedHere


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
