"""The tables and pictures that the terminal shows, as rich renderables of records. Nothing is read or computed here."""

from __future__ import annotations

from collections import Counter

from rich import box
from rich.console import Group, RenderableType
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from cycleqd_cli.standing import Standing
from cycleqd_cli.texts import PHASES, duration, percent

BAR_WIDTH = 40


def live_picture(now: Standing, elapsed: float, left: float | None, tried: Counter[str]) -> RenderableType:
    """Return how a run stands at one moment."""
    head = Text.assemble((now.run, "bold"), "  ", (PHASES[now.phase], "cyan"), f"  {duration(elapsed)}")
    parts: list[RenderableType] = [head, _bars(now, left, tried)]
    if now.archives:
        parts.append(archive_table(now))
    parts += [Text(f"worker {number}: {what}", style="dim") for number, what in enumerate(now.working, 1)]
    if now.damaged:
        parts.append(Text(f"{len(now.damaged)} damaged objects were set aside (cycleqd status says which)", "yellow"))
    return Group(*parts)


def _bars(now: Standing, left: float | None, tried: Counter[str]) -> Table:
    grid = Table.grid(padding=(0, 2))
    total = len(now.experts)
    progress_row(grid, "experts read", len(now.prepared), total)
    progress_row(grid, "experts scored", len(now.evaluated), total)
    notes = unscored_notes(now)
    notes += [] if left is None else [f"about {duration(left)} left"]
    progress_row(grid, "children", now.children, now.target, ", ".join(notes))
    if now.phase == "Finalizing":
        grid.add_row(
            "final models", Text(", ".join(f"{n} scored on {split}" for split, n in sorted(tried.items())[::-1]))
        )
    return grid


def unscored_notes(now: Standing) -> list[str]:
    """Return how many children have no scores, by reason."""
    notes = [f"{now.stopped} stopped early"] if now.stopped else []
    return [*notes, f"{now.broken} numerically broken"] if now.broken else notes


def progress_row(grid: Table, name: str, done: int, total: int, note: str = "") -> None:
    """Add a bar to a grid of rows."""
    bar = ProgressBar(total=max(total, 1), completed=done if total else 1, width=BAR_WIDTH)
    grid.add_row(name, bar, f"{done}/{total}", note)


def archive_table(now: Standing) -> Table:
    """Return one row per archive."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("archive")
    for title in ("cells", "coverage", "QD score", "best", "its expert"):
        table.add_column(title, justify="right")
    for archive in now.archives:
        style = "green" if archive.best > archive.expert else ""
        best = Text(percent(archive.best), style)
        row = (
            str(archive.members),
            percent(archive.coverage),
            f"{archive.qd_score:.2f}",
            best,
            percent(archive.expert),
        )
        table.add_row(archive.task, *row)
    if now.best_mean is not None:
        name = "" if now.best_id is None else f" (individual {now.best_id})"
        table.caption = f"best mean over all tasks {percent(now.best_mean)}{name}"
        table.caption_justify = "left"
    return table
