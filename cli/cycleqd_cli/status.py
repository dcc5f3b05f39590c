"""``cycleqd status``: how a run stands, from its store or from the cluster that it is in."""

from __future__ import annotations

from functools import partial
from typing import Annotated

import typer
from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from cycleqd.errors import EXIT_BAD_INPUT
from cycleqd.kept import kept_notes
from cycleqd_cli.answers import write_records
from cycleqd_cli.cluster_run import ClusterRun
from cycleqd_cli.cluster_status import cluster_standing, picture
from cycleqd_cli.layout import archive_table, unscored_notes
from cycleqd_cli.opening import OpenedRun, find_run
from cycleqd_cli.options import FormOption, RunArgument
from cycleqd_cli.results import show_results
from cycleqd_cli.standing import Standing, read_snapshot, standing
from cycleqd_cli.texts import PHASES
from cycleqd_cli.watching import View, watch
from cycleqd_cli.where import Where

EPILOG = """
Examples:

- `cycleqd status run.yaml` of the run of a manifest
- `cycleqd status s3://runs/llama3-agents -o json` for scripts
- `cycleqd status quickstart -n research --watch` of a run in the cluster, until it ends

With `--watch`, `-o json` and output that is no terminal give a line of JSON per change. Exit code 2: the run failed.
"""


def status(
    run: RunArgument,
    where: Where,
    output: FormOption = "table",
    live: Annotated[bool, typer.Option("--watch", "-w", help="Look again and again, until the run ends.")] = False,
) -> None:
    """Show how a run stands: phase, children, archives, and the result once there is one."""
    found, console = find_run(run, where), Console()
    look = partial(_look_at_cluster, found) if isinstance(found, ClusterRun) else partial(_look_at_store, found)
    if live:
        view = watch(look, console, pictures=output == "table" and console.is_terminal)
    else:
        view = look()
        if output == "table":
            console.print(view.picture)
        else:
            write_records(view.record, output)
    if view.outcome == "Succeeded" and output == "table" and isinstance(found, OpenedRun):
        show_results(console, found.store, found.name)
    if live and view.outcome == "Failed":
        raise typer.Exit(EXIT_BAD_INPUT)


def _look_at_cluster(run: ClusterRun) -> View:
    now = run.again()
    record = cluster_standing(now)
    return View(record, picture(record), now.outcome)


def _look_at_store(run: OpenedRun) -> View:
    now = standing(run.name, run.spec, read_snapshot(run))
    outcome = now.phase if now.phase in ("Succeeded", "Cancelled") else ""
    return View(now, _picture(run, now), outcome)


def _picture(run: OpenedRun, now: Standing) -> RenderableType:
    grid = Table.grid(padding=(0, 2))
    state = "" if run.spec.desired_state == "Running" else f" (desired state: {run.spec.desired_state})"
    grid.add_row("run", now.run)
    grid.add_row("storage", Text(run.store.uri, overflow="fold"))
    grid.add_row("phase", f"{PHASES[now.phase]}{state}")
    grid.add_row("experts", f"{len(now.prepared)} of {len(now.experts)} read, {len(now.evaluated)} scored")
    grid.add_row("children", ", ".join([f"{now.children} of {now.target}", *unscored_notes(now)]))
    archives = [archive_table(now)] if now.archives else []
    notes = [Text(note) for note in (*now.notes, *kept_notes(run.store, run.spec))]
    return Group(grid, *archives, *notes, *(Text(problem, "yellow") for problem in now.damaged.values()))
