"""``cycleqd report``: renders report.html and its pictures on this machine, from report.json, which stays as it is."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from cycleqd import keys
from cycleqd.store import FolderStore
from cycleqd_cli import completion
from cycleqd_cli.opening import OpenedRun, open_run
from cycleqd_cli.options import RunArgument
from cycleqd_cli.results import read_report, read_test, show_results
from cycleqd_cli.where import Where

if TYPE_CHECKING:
    from cycleqd_runner.report.beside import Beside

EPILOG = """Examples:

- `cycleqd report run.yaml` renders the report of a finished run again, after an update of cycleqd
- `cycleqd report quickstart -n research` renders that of a run in the cluster into quickstart-report
- `cycleqd report s3://runs/a --output a-report` names another folder
- `cycleqd report run.yaml --beside paper.yaml` shows another finished run beside it
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
    beside: Annotated[
        list[str] | None,
        typer.Option(
            metavar="RUN",
            help="Show another finished run beside it, named like RUN; may be given several times.",
            autocompletion=completion.runs,
        ),
    ] = None,
) -> None:
    """Render the final report (HTML page and pictures) of a finished run, and show its results.

    With --beside, the page says what other runs took and reached, and how the final models differ, item by item.
    """
    opened = open_run(run, where)
    found = read_report(opened.store, opened.name)
    from cycleqd_runner.report.html import render  # noqa: PLC0415 - matplotlib and jinja2 cost half a second
    from cycleqd_runner.report.plots import pictures  # noqa: PLC0415 - likewise

    shown = _beside(opened, [open_run(other, where) for other in beside]) if beside else None
    folder = output or opened.folder("final" if isinstance(opened.store, FolderStore) else "report")
    store, page = FolderStore(folder), keys.REPORT_PAGE.removeprefix(keys.FINAL)
    for name, png in pictures(found).items():
        store.put(name, png)
    store.put(page, render(found, shown).encode())
    show_results(Console(), opened.store, opened.name)
    typer.echo(folder / page)


def _beside(opened: OpenedRun, others: Sequence[OpenedRun]) -> Beside:
    """Return finished runs beside another one. Raises what reading their reports and tests raises."""
    from cycleqd_runner.report.beside import FinishedRun, side_by_side  # noqa: PLC0415 - only --beside needs numpy

    def finished(run: OpenedRun) -> FinishedRun:
        found = read_report(run.store, run.name)
        return FinishedRun(found, run.spec, read_test(run.store, found))

    return side_by_side(finished(opened), [finished(other) for other in others])
