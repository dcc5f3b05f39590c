"""``cycleqd status``: how a run stands, from its store alone."""

from __future__ import annotations

import sys
from typing import Annotated, Literal

import typer
import yaml
from rich.console import Console
from rich.table import Table

from cycleqd_cli.layout import archive_table
from cycleqd_cli.opening import OpenedRun, RunArgument, open_run
from cycleqd_cli.results import show_results
from cycleqd_cli.standing import Standing, read_snapshot, standing
from cycleqd_cli.texts import PHASES

EPILOG = """
Examples:

- `cycleqd status run.yaml` of the run of a manifest
- `cycleqd status s3://runs/llama3-agents -o json` for scripts
"""


def status(
    run: RunArgument,
    output: Annotated[
        Literal["table", "json", "yaml"], typer.Option("--output", "-o", help="Form of the answer.")
    ] = "table",
) -> None:
    """Show how a run stands: phase, children, archives, and the result once there is one."""
    opened = open_run(run)
    now = standing(opened.name, opened.spec, read_snapshot(opened))
    if output == "json":
        typer.echo(now.model_dump_json(indent=1))
    elif output == "yaml":
        yaml.safe_dump(now.model_dump(mode="json"), sys.stdout, sort_keys=False, allow_unicode=True)
    else:
        _show(Console(), opened, now)


def _show(console: Console, run: OpenedRun, now: Standing) -> None:
    grid = Table.grid(padding=(0, 2))
    state = "" if run.spec.desired_state == "Running" else f" (desired state: {run.spec.desired_state})"
    grid.add_row("run", now.run)
    grid.add_row("storage", run.store.uri)
    grid.add_row("phase", f"{PHASES[now.phase]}{state}")
    grid.add_row("experts", f"{len(now.prepared)} of {len(now.experts)} read, {len(now.evaluated)} scored")
    grid.add_row("children", f"{now.children} of {now.target}")
    console.print(grid)
    if now.archives:
        console.print(archive_table(now))
    for problem in now.damaged.values():
        console.print(problem, style="yellow", markup=False, soft_wrap=True)
    if now.phase == "Succeeded":
        show_results(console, run.store, run.name)
