"""Looking again and again: ``--watch`` of a terminal redraws a picture, elsewhere every change is a line of JSON."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import typer
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.text import Text

from cycleqd.errors import TemporaryError
from cycleqd.records import Record
from cycleqd_cli.failures import EXIT_INTERRUPTED, complain

WATCH_SECONDS = 2.0
"""Between two looks: what an operator writes at most every 5 s needs no more."""


@dataclass(frozen=True)
class View:
    """A run at one moment.

    Attributes:
        record: all that is known, for scripts.
        picture: for people.
        outcome: Succeeded, Failed or Cancelled; empty while it goes on.
    """

    record: Record
    picture: RenderableType
    outcome: str


def watch(look: Callable[[], View], console: Console, *, pictures: bool, seconds: float = WATCH_SECONDS) -> View:
    """Show every change until the run is over, and return the last view.

    Args:
        look: how the run stands; what it raises that is temporary is shown, and it is asked again.
        console: where to draw.
        pictures: draw; otherwise, every change is a line of JSON on standard output.
        seconds: between two looks.
    """
    try:
        return _draw(look, console, seconds) if pictures else _tell(look, seconds)
    except KeyboardInterrupt as error:  # the usual end
        raise typer.Exit(EXIT_INTERRUPTED) from error


def _draw(look: Callable[[], View], console: Console, seconds: float) -> View:
    view = look()
    with Live(view.picture, console=console, auto_refresh=False) as live:
        while not view.outcome:
            time.sleep(seconds)
            try:
                view = look()
                live.update(view.picture, refresh=True)
            except TemporaryError as error:
                live.update(Group(view.picture, Text(str(error), "yellow")), refresh=True)
    return view


def _tell(look: Callable[[], View], seconds: float) -> View:
    view, last = look(), ""
    while True:
        line = view.record.model_dump_json()
        if line != last:
            typer.echo(line)
            last = line
        if view.outcome:
            return view
        time.sleep(seconds)
        try:
            view = look()
        except TemporaryError as error:
            complain(str(error))
