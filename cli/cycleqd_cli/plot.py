"""``cycleqd plot``: pictures of a run as it stands, or stood."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cycleqd.errors import Unscored
from cycleqd_cli.opening import open_run
from cycleqd_cli.options import RunArgument
from cycleqd_cli.pictures import draw, interim_report
from cycleqd_cli.where import Where

EPILOG = """Examples:

- `cycleqd plot run.yaml` draws the archives into the run's folder
- `cycleqd plot quickstart -n research` those of a run in the cluster into quickstart-pictures
- `cycleqd plot runs/a --children 100 --output early` draws how they stood after 100 children
"""


def plot(
    run: RunArgument,
    where: Where,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="Folder; `pictures` in the run's folder, or NAME-pictures here."),
    ] = None,
    children: Annotated[
        int | None, typer.Option(min=0, help="Draw the archives as they stood after so many children.")
    ] = None,
) -> None:
    """Draw a run's archives and progress as PNG files."""
    from cycleqd_runner.report.build import view_run  # noqa: PLC0415 - reads nothing, but costs half a second

    opened = open_run(run, where)
    view = view_run(opened.store, opened.spec, children)
    if not view.archives:
        raise Unscored(
            f"The run {opened.name} has no archives yet, because not all of its experts have scores: "
            "wait until they have, `cycleqd status` says how far they are."
        )
    for path in draw(interim_report(opened.name, opened.spec, view), output or opened.folder("pictures")):
        typer.echo(path)
