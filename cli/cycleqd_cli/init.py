"""``cycleqd init``: writes a manifest to begin with. Its text is in :mod:`cycleqd_cli.starter`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
import yaml

from cycleqd.errors import BadData, BadManifest
from cycleqd.manifest import parse_manifest
from cycleqd_cli.folders import write_text
from cycleqd_cli.starter import StarterExpert, run_name, starter_manifest

EPILOG = """Examples:

- `cycleqd init` writes run.yaml with examples to replace
- `cycleqd init a.yaml --base hf://me/base --expert sql=hf://me/sql:Sql --expert shell=./shell:Shell`
"""


def init(
    file: Annotated[Path, typer.Argument(metavar="[FILE]", help="The manifest to write.", show_default=True)] = Path(
        "run.yaml"
    ),
    base: Annotated[str | None, typer.Option(metavar="URI", help="The base model.")] = None,
    expert: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=URI:EVALUATOR", help="An expert and the evaluator of its task; repeat it for each one."
        ),
    ] = None,
    store: Annotated[
        str | None, typer.Option(metavar="URI", help="Where the run's state goes; runs/NAME if not given.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace a file that is there.")] = False,
) -> None:
    """Write a commented manifest to begin with."""
    experts = [StarterExpert.parse(text) for text in expert or []]
    if len(experts) == 1:
        raise BadManifest("--expert is given once, expected at least two: merging needs two experts.")
    if file.exists() and not force:
        raise BadData(f"{file} exists: name another file, or replace it with --force.")
    text = starter_manifest(run_name(file.stem), base, experts, store)
    parse_manifest(yaml.safe_load(text))
    write_text(file, text)
    typer.echo(f"Wrote {file}. Look it over, then: cycleqd validate {file}")
