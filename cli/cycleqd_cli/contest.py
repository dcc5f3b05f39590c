"""``cycleqd compare FILE``: methods against each other. How, is :mod:`cycleqd_runner.contest`'s knowledge."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING

import typer
import yaml
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from cycleqd.errors import BadManifest
from cycleqd_cli.answers import write_records
from cycleqd_cli.contest_display import watching
from cycleqd_cli.folders import write_text
from cycleqd_cli.options import Form
from cycleqd_runner.contest.entries import Contest, Part, load_contest
from cycleqd_runner.contest.spec import CycleQD

if TYPE_CHECKING:
    from cycleqd_runner.contest.standings import Standings


def compete(file: Path, part: Part, output: Form) -> None:
    """Make what is missing of a part of a comparison, and show the tables of all that is there."""
    contest = load_contest(file)
    from cycleqd_runner.contest.play import play  # noqa: PLC0415 - torch takes seconds
    from cycleqd_runner.contest.publish import current  # noqa: PLC0415 - matplotlib likewise

    with watching({method.name: method.share for method in contest.spec.methods}) as observer:
        asyncio.run(play(contest, observer, part))
    show(contest, current(contest), output)


def write_manifests(file: Path, folder: Path) -> None:
    """Write one CycleQDRun per CycleQD method and seed, for a cluster, and print their paths."""
    contest = load_contest(file, here=False)
    children = contest.spec.budget.children
    if children is None:
        raise BadManifest("spec.budget is in tokens, which runs on a cluster cannot count: use budget.children.")
    for method in contest.spec.methods:
        if not isinstance(method, CycleQD):
            continue
        for seed in contest.seeds_of(method.name):
            run = contest.run(seed, method, round(children * method.share))
            document = run.model_dump(mode="json", by_alias=True, exclude_defaults=True)
            target = folder / f"{run.metadata.name}.yaml"
            write_text(target, yaml.safe_dump(document, sort_keys=False))
            typer.echo(target)


def show(contest: Contest, found: Standings, output: Form) -> None:
    """Print the tables, or the data for scripts."""
    from cycleqd_runner.contest.tables import tables  # noqa: PLC0415

    if output != "table":
        write_records(found, output)
        return
    console = Console()
    for own in tables(found, brief=True):
        shown = Table(title=Text(own.heading), title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
        for column, justify in zip(own.columns, ("left", *["right"] * len(own.columns)), strict=False):
            shown.add_column(Text(column), justify=justify, no_wrap=True)  # type: ignore[arg-type]  # two literals
        for position, row in enumerate(own.rows):
            shown.add_row(*map(Text, row), style="bold" if position in own.bold else "")
        if own.rows:
            console.print(shown)
    for note in found.notes:
        console.print(Text(note))
    console.print(f"Tables and pictures are in {contest.spec.storage.uri}", markup=False, highlight=False)
