"""``cycleqd report``: renders report.html and its pictures on this machine, from report.json, which stays as it is."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from cycleqd import keys
from cycleqd.store import FolderStore
from cycleqd_cli.opening import open_run
from cycleqd_cli.options import RunArgument
from cycleqd_cli.results import read_report, show_results
from cycleqd_cli.where import Where

EPILOG = """Examples:

- `cycleqd report run.yaml` renders the report of a finished run again, after an update of cycleqd
- `cycleqd report quickstart -n research` renders that of a run in the cluster into quickstart-report
- `cycleqd report s3://runs/a --output a-report` names another folder
"""


def report(
    run: RunArgument,
    where: Where,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            help="Folder for page and pictures; the run's own `final`, or NAME-report here if it lies elsewhere.",
        ),
    ] = None,
) -> None:
    """Render the final report (HTML page and pictures) of a finished run, and show its results."""
    opened = open_run(run, where)
    found = read_report(opened.store, opened.name)
    from cycleqd_runner.report.html import render  # noqa: PLC0415 - matplotlib and jinja2 cost half a second
    from cycleqd_runner.report.plots import pictures  # noqa: PLC0415 - likewise

    folder = output or opened.folder("final" if isinstance(opened.store, FolderStore) else "report")
    store, page = FolderStore(folder), keys.REPORT_PAGE.removeprefix(keys.FINAL)
    for name, png in pictures(found).items():
        store.put(name, png)
    store.put(page, render(found).encode())
    show_results(Console(), opened.store, opened.name)
    typer.echo(folder / page)
