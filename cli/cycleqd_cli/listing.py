"""``cycleqd list``: the runs of a cluster, one line each."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from cycleqd.records import Record
from cycleqd_cli.answers import write_records
from cycleqd_cli.cluster import Cluster
from cycleqd_cli.cluster_run import ClusterRun
from cycleqd_cli.failures import complain
from cycleqd_cli.options import FormOption
from cycleqd_cli.texts import age, percent
from cycleqd_cli.where import Where

EPILOG = """Examples:

- `cycleqd list` lists the runs of the current context's namespace
- `cycleqd list -A` those of all namespaces
- `cycleqd list -n research -o json` for scripts
"""

UNCUT = 1000
"""Columns; as with kubectl, a line is as long as its names are, and a narrow terminal wraps it."""


class ListedRun(Record):
    """A run as the operator told it last."""

    namespace: str
    name: str
    state: str
    desired_state: str
    progress: str
    """Children with a result / children wanted."""
    coverage: float | None
    """Mean coverage of the archives, in [0, 1]."""
    best: float | None
    """Best mean search score of any individual, in [0, 1]."""
    running: int
    """Workers running now."""
    created: datetime


def list_runs(
    where: Where,
    everywhere: Annotated[bool, typer.Option("--all-namespaces", "-A", help="Runs of all namespaces.")] = False,
    output: FormOption = "table",
) -> None:
    """List the runs of a cluster."""
    cluster = Cluster.connect(where)
    found = [listed(ClusterRun(cluster, body, where)) for body in cluster.runs(everywhere=everywhere)]
    if output != "table":
        write_records(found, output)
    elif found:
        Console(width=UNCUT).print(_table(found, datetime.now(UTC), everywhere=everywhere))
    else:
        place = "" if everywhere else f" in the namespace {cluster.namespace}"
        complain(f"There are no runs{place} of the cluster {cluster.context}.")


def listed(run: ClusterRun) -> ListedRun:
    """Return a run's line."""
    status = run.status
    return ListedRun(
        namespace=run.body["metadata"]["namespace"],
        name=run.name,
        state=status.state,
        desired_state=run.desired_state,
        progress=status.progress,
        coverage=status.coverage,
        best=status.best,
        running=status.running,
        created=run.body["metadata"]["creationTimestamp"],
    )


def _table(found: list[ListedRun], now: datetime, *, everywhere: bool) -> Table:
    table = Table(box=None, pad_edge=False)
    for title in (["namespace"] if everywhere else []) + ["name", "state"]:
        table.add_column(title, no_wrap=True)
    for title in ("children", "coverage", "best", "running", "age"):
        table.add_column(title, justify="right", no_wrap=True)
    for run in found:
        names = [run.namespace, run.name] if everywhere else [run.name]
        numbers = (run.progress or "–", percent(run.coverage), percent(run.best), str(run.running))
        table.add_row(*names, run.state, *numbers, age((now - run.created).total_seconds()))
    return table
