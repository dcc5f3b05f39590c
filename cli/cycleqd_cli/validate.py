"""``cycleqd validate``: a check list of what a run will need. The checks are in :mod:`cycleqd_cli.checks`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from cycleqd.errors import EXIT_BAD_INPUT
from cycleqd.manifest import load_manifest
from cycleqd_cli.checks import Finding, findings

EPILOG = """Examples:

- `cycleqd validate run.yaml` looks at everything; models of the Hub are downloaded
- `cycleqd validate run.yaml --quick` leaves out models and engine
"""

MARKS = {"ok": Text("✓", "green"), "warning": Text("!", "yellow"), "missing": Text("✗", "red")}


def validate(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The manifest (kind CycleQDRun).")],
    quick: Annotated[bool, typer.Option("--quick", help="Leave out models and engine: nothing is downloaded.")] = False,
) -> None:
    """Check a manifest and everything that its run will need, without starting it.

    Exit code 0: `cycleqd run` can start. Exit code 2: every ✗ has to be put right first.
    """
    manifest = load_manifest(file)
    console = Console()
    table = Table.grid(padding=(0, 1))
    missing = 0
    with console.status("Looking"):
        _add(table, Finding("manifest", "ok", f"{file} describes the run {manifest.metadata.name}."))
        for finding in findings(manifest.spec, quick=quick):
            missing += finding.mark == "missing"
            _add(table, finding)
    console.print(table)
    if missing:
        console.print(
            f"{missing} of these {'has' if missing == 1 else 'have'} to be put right before the run can start."
        )
        raise typer.Exit(EXIT_BAD_INPUT)
    console.print(f"Start it with: cycleqd run {file}", soft_wrap=True, highlight=False, markup=False)


def _add(table: Table, finding: Finding) -> None:
    table.add_row(MARKS[finding.mark], Text(finding.what), Text(finding.sentence))
