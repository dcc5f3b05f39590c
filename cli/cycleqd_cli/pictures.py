"""Pictures of an unfinished run, as files. What they look like is :mod:`cycleqd_runner.report.plots`' knowledge."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from pathlib import Path

from cycleqd.api import RunSpec
from cycleqd.fold import Population
from cycleqd.report import Individual, Report
from cycleqd.store import FolderStore
from cycleqd_runner.report.build import RunView, progress, view_archive

REDRAW_SECONDS = 30.0
"""Shortest time between two drawings: one takes about two seconds of a core that children could use."""


def interim_report(name: str, spec: RunSpec, view: RunView | Population) -> Report:
    """Return a report without test scores: what is known before the end."""
    if isinstance(view, Population):
        ids, rows = map(int, view.ids), view.scores
        individuals = tuple(Individual(id=i, scores=tuple(map(float, row))) for i, row in zip(ids, rows, strict=True))
        archives = tuple(view_archive(archive, spec) for archive in view.archives)
        curves = progress(view)
    else:
        individuals, archives, curves = view.individuals, view.archives, view.progress
    return Report(
        run=name,
        uid="",
        tasks=tuple(task.name for task in spec.tasks),
        experts=tuple(expert.name for expert in spec.experts),
        scores={},
        means={},
        individuals=individuals,
        archives=archives,
        progress=curves,
    )


def draw(report: Report, folder: Path) -> list[Path]:
    """Write the pictures of a report into ``folder`` and return their files.

    Raises:
        CycleQDError: the folder cannot be written, or is full.
    """
    from cycleqd_runner.report.plots import pictures  # noqa: PLC0415 - matplotlib costs half a second

    store = FolderStore(folder)
    drawn = pictures(report)
    for name, png in drawn.items():
        store.put(name, png)
    return [folder / name for name in drawn]


class PictureWriter:
    """Draws the archives in a thread of its own whenever they have changed, but not too often."""

    def __init__(self, folder: Path, name: str, spec: RunSpec, clock: Callable[[], float] = time.monotonic) -> None:
        """Draw into ``folder``; ``clock`` gives seconds."""
        self._folder, self._name, self._spec, self._clock = folder, name, spec, clock
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="pictures")
        self._job: Future[list[Path]] | None = None
        self._drawn, self._when, self._told = 0, float("-inf"), False

    def offer(self, population: Population) -> Path | None:
        """Start a drawing if one is due; return the folder when its first pictures are there.

        Raises:
            CycleQDError: the latest drawing could not be written.
        """
        if self._job and self._job.done():
            drawn, self._job = self._job.result(), None
            if drawn and not self._told:
                self._told = True
                return self._folder
        due = self._clock() - self._when >= REDRAW_SECONDS and len(population.ids) != self._drawn
        if population.ready and due and self._job is None:
            self._drawn, self._when = len(population.ids), self._clock()
            self._job = self._thread.submit(
                lambda: draw(interim_report(self._name, self._spec, population), self._folder)
            )
        return None

    def settle(self) -> None:
        """Wait for the drawing that goes on."""
        if self._job:
            wait([self._job])

    def close(self) -> None:
        """Wait for the drawing that goes on, and start no other."""
        self._thread.shutdown()
