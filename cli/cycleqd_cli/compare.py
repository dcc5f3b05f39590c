"""``cycleqd compare``: two runs side by side. What is compared is in :mod:`cycleqd_cli.comparison`."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.console import Console

from cycleqd_cli import completion
from cycleqd_cli.answers import write_records
from cycleqd_cli.comparison import compare_runs, tables
from cycleqd_cli.opening import open_run
from cycleqd_cli.options import FormOption, RunArgument
from cycleqd_cli.where import Where

EPILOG = """Examples:

- `cycleqd compare a.yaml b.yaml` of two manifests
- `cycleqd compare paper guided -n research` of two runs in the cluster
- `cycleqd compare runs/a s3://runs/b -o json` for scripts
"""


def compare(
    run: RunArgument,
    other: Annotated[
        str, typer.Argument(metavar="OTHER", help="The run to compare with.", autocompletion=completion.runs)
    ],
    where: Where,
    output: FormOption = "table",
) -> None:
    """Compare two runs: what their manifests differ in, how far they are, and what their models score."""
    found = compare_runs(open_run(run, where), open_run(other, where))
    if output == "table":
        console = Console()
        for table in tables(found):
            console.print(table)
    else:
        write_records(found, output)
