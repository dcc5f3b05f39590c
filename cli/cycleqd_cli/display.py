"""What ``cycleqd run`` shows while it runs: a live picture on a terminal, lines elsewhere. Nothing is decided here."""

from __future__ import annotations

import contextlib
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import Literal, Protocol

import typer
from rich.console import Console
from rich.live import Live

from cycleqd.api import CycleQDRun
from cycleqd_cli.layout import live_picture, unscored_notes
from cycleqd_cli.pace import Pace
from cycleqd_cli.standing import Standing, standing
from cycleqd_cli.texts import PHASES, duration, percent
from cycleqd_runner.local import Snapshot

Output = Literal["auto", "rich", "plain", "json-lines"]
LINE_SECONDS = 3.0
"""Shortest time between two lines of the plain output; a phase that begins is told at once."""
FINAL_SECONDS = 1.0
"""How often the store is asked how many final models were tried."""

Clock = Callable[[], float]
"""Returns seconds that only ever grow."""

Tried = Callable[[], Counter[str]]
"""Returns how many final models were scored per split."""


class Display(Protocol):
    """Shows one moment of a run."""

    def moment(self, now: Standing, elapsed: float, left: float | None, tried: Counter[str]) -> None:
        """Show how the run stands, ``elapsed`` seconds after the command began, ``left`` before the last child."""
        ...

    def say(self, message: str) -> None:
        """Show a sentence that must not be missed."""
        ...


class Watcher:
    """A :class:`cycleqd_runner.local.Observer` that turns snapshots into moments.

    Attributes:
        worked: whether there was anything to do.
    """

    def __init__(self, run: CycleQDRun, display: Display, tried: Tried) -> None:
        """Begin to count the time."""
        self._run, self._display, self._tried = run, display, tried
        self._pace, self._start = Pace(), time.monotonic()
        self._counted, self._counts = float("-inf"), Counter[str]()
        self.worked = False

    def show(self, snapshot: Snapshot) -> None:
        """See Observer."""
        now = time.monotonic()
        current = standing(self._run.metadata.name, self._run.spec, snapshot)
        self.worked |= current.phase not in ("Succeeded", "Cancelled")
        left = None
        if current.phase == "Breeding":
            self._pace.saw(now, current.children)
            left = self._pace.seconds_left(now, current.target - current.children)
        if current.phase == "Finalizing" and now - self._counted > FINAL_SECONDS:
            self._counted, self._counts = now, self._tried()
        self._display.moment(current, now - self._start, left, self._counts)

    def say(self, message: str) -> None:
        """See Observer."""
        self._display.say(message)


class RichDisplay:
    """A picture that is redrawn in place."""

    def __init__(self, console: Console, live: Live) -> None:
        """Draw into ``live``; sentences go above it."""
        self._console, self._live = console, live

    def moment(self, now: Standing, elapsed: float, left: float | None, tried: Counter[str]) -> None:
        """See Display."""
        self._live.update(live_picture(now, elapsed, left, tried))

    def say(self, message: str) -> None:
        """See Display."""
        self._console.print(message, markup=False, highlight=False)


class LineDisplay:
    """A line whenever something has changed, as text or as JSON."""

    def __init__(self, write: Callable[[str], None], *, json: bool = False, clock: Clock = time.monotonic) -> None:
        """Write lines with ``write``; ``clock`` gives seconds."""
        self._write, self._json, self._clock = write, json, clock
        self._last, self._when = "", float("-inf")
        self._phase = ""

    def moment(self, now: Standing, elapsed: float, left: float | None, tried: Counter[str]) -> None:
        """See Display."""
        line = now.model_dump_json() if self._json else _sentence(now, left, tried)
        begins = now.phase != self._phase
        if line == self._last or (not begins and self._clock() - self._when < LINE_SECONDS):
            return
        self._last, self._when, self._phase = line, self._clock(), now.phase
        self._write(line if self._json else f"[{duration(elapsed)}] {line}")

    def say(self, message: str) -> None:
        """See Display."""
        if not self._json:
            self._write(message)


@contextlib.contextmanager
def open_display(output: Output, console: Console) -> Iterator[Display]:
    """Open the display that ``output`` names; auto: rich on a terminal, plain elsewhere."""
    if output == "rich" or (output == "auto" and console.is_terminal):
        live: AbstractContextManager[Live] = Live(console=console, refresh_per_second=4, transient=True)
        with live as opened:
            yield RichDisplay(console, opened)
    else:
        # Not through rich: lines must not be wrapped or coloured, and must be there as soon as they are written.
        yield LineDisplay(typer.echo, json=output == "json-lines")


def _sentence(now: Standing, left: float | None, tried: Counter[str]) -> str:
    parts = [PHASES[now.phase]]
    if now.phase == "Preparing":
        parts.append(f"{len(now.prepared)} of {len(now.experts)} experts")
    elif now.phase == "Evaluating":
        parts.append(f"{len(now.evaluated)} of {len(now.experts)} experts")
    elif now.phase == "Breeding":
        notes = ", ".join(unscored_notes(now))
        parts.append(f"{now.children} of {now.target} children{f' ({notes})' if notes else ''}")
    elif now.phase == "Finalizing":
        parts += [f"{count} models scored on {split}" for split, count in sorted(tried.items(), reverse=True)]
    if now.archives:
        parts.append(f"coverage {' '.join(percent(archive.coverage) for archive in now.archives)}")
        parts.append("best " + " ".join(f"{archive.task} {percent(archive.best)}" for archive in now.archives))
        parts.append(f"best mean {percent(now.best_mean)}")
    if left is not None and now.phase == "Breeding":
        # Rounded, so that a guess does not look like a measurement and does not make every line differ.
        parts.append(f"about {duration(5 * round(left / 5))} left")
    return ", ".join(parts)
