"""``cycleqd compare``: two runs side by side (:mod:`cycleqd_cli.comparison`), or the methods of a file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from cycleqd.errors import BadManifest
from cycleqd_cli import completion, contest
from cycleqd_cli.answers import write_records
from cycleqd_cli.comparison import compare_runs, tables
from cycleqd_cli.opening import MANIFEST_SUFFIXES, open_run
from cycleqd_cli.options import FormOption
from cycleqd_cli.where import Where
from cycleqd_runner.contest.entries import Part, is_contest

EPILOG = """Examples:

- `cycleqd compare compare.yaml` lets the methods of a file compete, or goes on with it after any interruption
- `cycleqd compare compare.yaml --seed 0 --seed 1` plays two of its seeds; others may be played elsewhere meanwhile
- `cycleqd compare compare.yaml --manifests runs` writes its runs for a cluster
- `cycleqd compare a.yaml b.yaml` of two manifests
- `cycleqd compare paper guided -n research` of two runs in the cluster
- `cycleqd compare runs/a s3://runs/b -o json` for scripts
"""


def compare(
    run: Annotated[
        str,
        typer.Argument(
            metavar="RUN|FILE",
            help="A run, or the file of a comparison (kind Comparison): then there is no OTHER.",
            autocompletion=completion.runs,
        ),
    ],
    where: Where,
    other: Annotated[
        str | None, typer.Argument(metavar="OTHER", help="The run to compare with.", autocompletion=completion.runs)
    ] = None,
    output: FormOption = "table",
    manifests: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Only with FILE: run nothing, write a manifest per CycleQD method and seed."),
    ] = None,
    method: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="Only with FILE: play this method only. Can be given several times."),
    ] = None,
    seed: Annotated[
        list[int] | None,
        typer.Option(metavar="N", help="Only with FILE: play this seed only. Can be given several times."),
    ] = None,
) -> None:
    """Compare two runs, or many methods.

    Of two runs: what their manifests differ in, how far they are, and what their models score. Of a file: every method
    is given the same budget of tokens with every seed, and tables with intervals say what their models score. What is
    done is in the file's storage at once, so the command can be killed at any moment and goes on when started again.
    """
    file = Path(run)
    if file.suffix in MANIFEST_SUFFIXES and file.is_file() and is_contest(file):
        if other is not None:
            raise BadManifest(f"{file} is a comparison of its own: give it alone, without {other}.")
        if manifests:
            contest.write_manifests(file, manifests)
        else:
            contest.compete(file, Part(tuple(method or ()), tuple(seed or ())), output)
        return
    if other is None:
        raise BadManifest(f"{run} is no file of kind Comparison: name a second run to compare it with.")
    for option, given in (("--manifests", manifests), ("--method", method), ("--seed", seed)):
        if given:
            raise BadManifest(f"{option} is for the file of a comparison: leave it out.")
    found = compare_runs(open_run(run, where), open_run(other, where))
    if output == "table":
        console = Console()
        for table in tables(found):
            console.print(table)
    else:
        write_records(found, output)
