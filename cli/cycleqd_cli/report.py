"""``cycleqd report``: renders report.html and its pictures again, from report.json, which stays as it is."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from cycleqd import keys
from cycleqd.store import FolderStore, ObjectStore
from cycleqd_cli.opening import open_run
from cycleqd_cli.options import RunArgument
from cycleqd_cli.results import read_report, show_results
from cycleqd_cli.where import Where

EPILOG = """Examples:

- `cycleqd report run.yaml` renders the report of a finished run again, after an update of cycleqd
- `cycleqd report s3://runs/a --output a-report` renders it into a folder of this machine
"""


def report(
    run: RunArgument,
    where: Where,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="Folder for page and pictures; the run's own `final` if not given."),
    ] = None,
) -> None:
    """Render the final report (HTML page and pictures) of a finished run again, and show its results."""
    opened = open_run(run, where)
    found = read_report(opened.store, opened.name)
    from cycleqd_runner.report.html import render  # noqa: PLC0415 - matplotlib and jinja2 cost half a second
    from cycleqd_runner.report.plots import pictures  # noqa: PLC0415 - likewise

    store: ObjectStore = opened.store if output is None else FolderStore(output)
    prefix = keys.FINAL if output is None else ""
    for name, png in pictures(found).items():
        store.put(f"{prefix}{name}", png)
    page = keys.REPORT_PAGE.removeprefix(keys.FINAL)
    store.put(f"{prefix}{page}", render(found).encode())
    show_results(Console(), opened.store, opened.name)
    typer.echo(output / page if output else f"{store.uri}/{keys.REPORT_PAGE}")
