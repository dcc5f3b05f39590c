"""What ``cycleqd compare FILE`` shows while it goes on: a line that is redrawn on a terminal, lines elsewhere."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from statistics import fmean
from typing import TYPE_CHECKING

import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TextColumn

from cycleqd_cli.texts import duration, percent

if TYPE_CHECKING:  # the command shows its help without numpy's friends
    from cycleqd_runner.contest.trials import Point, Trial

Say = Callable[[str], None]
"""Shows a line that stays."""
Draw = Callable[[str, float], None]
"""Redraws what goes on, and the share of the work that is done, in [0, 1]."""
Clock = Callable[[], float]
FIXED_WEIGHT = 0.1
"""Work of a trial that only has to be tested, beside that of a whole budget."""


class Watcher:
    """A :class:`cycleqd_runner.contest.play.Observer` that turns events into lines and a share of work done."""

    def __init__(self, shares: Mapping[str, float], say: Say, draw: Draw, clock: Clock = time.monotonic) -> None:
        """Begin to count the time.

        Args:
            shares: share of the budget of each method that searches.
            say: shows a line that stays.
            draw: redraws what goes on.
            clock: gives seconds.
        """
        self._weights, self._say, self._draw, self._clock = shares, say, draw, clock
        self._start, self._total, self._done = clock(), 0.0, 0.0
        self._title, self._limit, self._weight = "", 0, 0.0

    def plans(self, left: Sequence[tuple[str, int]]) -> None:
        """See Observer."""
        self._total = sum(self._weight_of(method) for method, _ in left)
        self._say(f"{len(left)} trials to go" if left else "Every trial has its record already.")

    def begins(self, method: str, seed: int, limit: int) -> None:
        """See Observer."""
        self._title, self._limit, self._weight = f"seed {seed}, {method}", limit, self._weight_of(method)
        self._draw(self._title, self._share())

    def goes_on(self, point: Point) -> None:
        """See Observer."""
        share = self._share(min(1.0, point.tokens / self._limit) if self._limit else 0.0)
        what = f"{self._title}: {point.evaluations} evaluations, best {percent(point.best)}"
        self._draw(f"{what}{self._left(share)}", share)

    def ends(self, trial: Trial) -> None:
        """See Observer."""
        self._done += self._weight
        self._weight = 0.0
        score = fmean(evaluation.score for evaluation in trial.test)
        spent = f", {trial.spending.tokens:,} tokens" if trial.spending.tokens else ""
        self._say(f"{self._title}: test {percent(score)}{spent}{self._left(self._share())}")

    def _weight_of(self, method: str) -> float:
        return self._weights.get(method, FIXED_WEIGHT)

    def _share(self, part: float = 0.0) -> float:
        """Return the share of all work that is done, with a part of the trial that goes on."""
        return (self._done + part * self._weight) / self._total

    def _left(self, share: float) -> str:
        """Return when all will be done, by the pace so far; nothing before there is one."""
        if not 0.0 < share < 1.0:
            return ""
        return f", about {duration((self._clock() - self._start) * (1.0 - share) / share)} left"


@contextlib.contextmanager
def watching(shares: Mapping[str, float]) -> Iterator[Watcher]:
    """Open the display on standard error, which scripts do not read."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield Watcher(shares, lambda line: typer.echo(line, err=True), lambda _, __: None)
        return
    with Progress(BarColumn(30), TextColumn("{task.description}"), console=console, transient=True) as bars:
        bar = bars.add_task("", total=1.0)
        yield Watcher(
            shares,
            lambda line: bars.console.print(line, markup=False, highlight=False),
            lambda what, share: bars.update(bar, description=escape(what), completed=share),
        )
