"""``cycleqd run``: executes a manifest on this machine. How, is :mod:`cycleqd_runner.local`'s knowledge."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from cycleqd.api import CycleQDRun
from cycleqd.manifest import load_manifest
from cycleqd.store import ObjectStore, open_store
from cycleqd_cli.display import Output, Watcher, open_display
from cycleqd_cli.failures import EXIT_INTERRUPTED, complain
from cycleqd_cli.opening import local_folder
from cycleqd_cli.pictures import PictureWriter
from cycleqd_cli.results import show_results
from cycleqd_cli.standing import models_tried
from cycleqd_runner.local import LocalRun, Snapshot

WORKER = (sys.executable, "-m", "cycleqd_cli", "worker", "serve", "--run")
"""The command of a worker on this machine; the store's URI is added to it."""

EPILOG = """
Examples:

- `cycleqd run run.yaml` starts the run, or goes on with it after any interruption
- `cycleqd run run.yaml --workers 2` with two workers
- `cycleqd run run.yaml --children 400` goes on until there are 400 children
- `cycleqd run run.yaml --output plain > run.log` for log files
"""


def run(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The manifest (kind CycleQDRun).")],
    workers: Annotated[
        int | None, typer.Option(min=1, help="Worker processes at one time, in place of spec.workers.parallelism.")
    ] = None,
    children: Annotated[
        int | None, typer.Option(min=0, help="Children to breed in all, in place of spec.search.children.")
    ] = None,
    output: Annotated[
        Output,
        typer.Option(help="rich: live display; plain: a line per change; json-lines: the same as JSON."),
    ] = "auto",
    plots: Annotated[bool, typer.Option("--plots/--no-plots", help="Draw the archives while the run goes on.")] = True,
) -> None:
    """Run a manifest on this machine, or go on with it.

    Reads and scores the experts, breeds children, chooses and tests the final model. Everything that is finished is in
    the run's storage at once, so the command can be killed at any moment: started again, it goes on where it was.
    """
    manifest = override(load_manifest(file), workers, children)
    store = open_store(manifest.spec.storage.uri)
    console = Console()
    worked = _execute(manifest, store, console, output, plots=plots, again=f"cycleqd run {file}")
    if manifest.spec.desired_state == "Cancelled":
        complain("The run is Cancelled: set spec.desiredState to Running to go on.")
        return
    if not worked and output != "json-lines":
        console.print(f"The run {manifest.metadata.name} is finished already; --children with a larger number goes on.")
    if output != "json-lines":
        show_results(console, store, manifest.metadata.name)


def override(manifest: CycleQDRun, workers: int | None, children: int | None) -> CycleQDRun:
    """Return the manifest with those fields replaced that may change during a run."""
    spec = manifest.spec
    if workers is not None:
        spec = spec.model_copy(update={"workers": spec.workers.model_copy(update={"parallelism": workers})})
    if children is not None:
        spec = spec.model_copy(update={"search": spec.search.model_copy(update={"children": children})})
    return manifest.model_copy(update={"spec": spec})


class _Observers:
    """Passes what the executor tells on to the display and to the pictures."""

    def __init__(self, watcher: Watcher, pictures: PictureWriter | None) -> None:
        self.watcher, self.pictures = watcher, pictures

    def show(self, snapshot: Snapshot) -> None:
        self.watcher.show(snapshot)
        first = self.pictures.offer(snapshot.population) if self.pictures else None
        if first:
            self.say(f"The archives are drawn in {first}")

    def say(self, message: str) -> None:
        self.watcher.say(message)


def _execute(
    manifest: CycleQDRun, store: ObjectStore, console: Console, output: Output, *, plots: bool, again: str
) -> bool:
    """Execute the run and return whether there was anything to do."""
    name, spec = manifest.metadata.name, manifest.spec
    pictures = PictureWriter(local_folder(store, name, "pictures"), name, spec) if plots else None
    with open_display(output, console) as display:
        watcher = Watcher(manifest, display, lambda: models_tried(store))
        observers, logs = _Observers(watcher, pictures), local_folder(store, name, "logs")
        local = LocalRun(manifest, store, observers, logs, WORKER)
        try:
            asyncio.run(local.execute())
        except KeyboardInterrupt as error:
            display.say(f"Stopped; everything finished is kept. Go on with: {again}")
            raise typer.Exit(EXIT_INTERRUPTED) from error
        finally:
            if pictures:
                pictures.close()
    return watcher.worked
