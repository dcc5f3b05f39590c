"""``cycleqd experts``: how close the experts of a manifest are. The comparison is in :mod:`cycleqd_runner.affinity`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from cycleqd.affinity import Affinity
from cycleqd.api import RunSpec
from cycleqd.manifest import load_manifest
from cycleqd_cli.answers import write_records
from cycleqd_cli.checks import VALIDATION
from cycleqd_cli.options import FormOption

EPILOG = """Examples:

- `cycleqd experts run.yaml` compares all pairs
- `cycleqd experts run.yaml -o json` for scripts
"""


def experts(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The manifest (kind CycleQDRun).")],
    output: FormOption = "table",
) -> None:
    """Compare the experts with each other, and say whether merging them is likely to work.

    Distances are shares of the base model's norm; cosines are of what the experts add to the base model; the last two
    compare its leading singular values and input directions. All weights are read once.
    """
    spec = load_manifest(file).spec
    with Console(stderr=True).status("Comparing"):
        found = _measure(spec)
    if output != "table":
        write_records(found, output)
        return
    console = Console()
    for table in tables(found):
        console.print(table)
    console.print(Text(found.verdict))


def _measure(spec: RunSpec) -> Affinity:
    """Open and check all models, and compare them. Raises what opening and checking raise."""
    from cycleqd_runner.affinity import measure  # noqa: PLC0415 - torch
    from cycleqd_runner.checkpoints import Checkpoint  # noqa: PLC0415 - torch
    from cycleqd_runner.compatibility import check, open_expert  # noqa: PLC0415 - torch
    from cycleqd_runner.local_copies import model_folder  # noqa: PLC0415 - not for --help

    base = Checkpoint(model_folder(spec.base_model, VALIDATION))
    models = {expert.name: open_expert(model_folder(expert, VALIDATION)) for expert in spec.experts}
    for name, model in models.items():
        check(name, model, base)
    return measure(base, models)


def tables(found: Affinity) -> Iterator[Table]:
    """Yield what a terminal shows: the experts' own sizes, then a row per pair."""
    sizes = _table("expert", "from the base")
    for name, size in found.sizes.items():
        sizes.add_row(Text(name), _percent(size))
    yield sizes
    pairs = _table("experts", "apart", "cosine", "singular values", "directions")
    pairs.add_column("they are")
    for pair in found.pairs:
        numbers = _number(pair.cosine), _number(pair.spectra), _percent(pair.overlap, 0)
        pairs.add_row(Text(f"{pair.first}, {pair.second}"), _percent(pair.distance), *numbers, pair.standing)
    yield pairs


def _table(name: str, *numbers: str) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column(name, overflow="fold")
    for number in numbers:
        table.add_column(number, justify="right")
    return table


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.2f}"


def _percent(share: float | None, digits: int = 2) -> str:
    return "–" if share is None else f"{100 * share:.{digits}f} %"
