"""``cycleqd logs``: what a run's workers say, of pods through the API server and of local workers from their files."""

from __future__ import annotations

import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from typing import Annotated

import typer

from cycleqd.errors import BadData, BadManifest, CycleQDError
from cycleqd.labels import ROLE
from cycleqd_cli.cluster import Body, Gone, NoSuchRun, Refused
from cycleqd_cli.cluster_run import ClusterRun
from cycleqd_cli.failures import EXIT_INTERRUPTED, complain
from cycleqd_cli.opening import OpenedRun, find_run
from cycleqd_cli.options import RunArgument
from cycleqd_cli.where import Where

POLL_SECONDS = 2.0
"""Between two looks for new pods; one takes longer than that to start."""

EPILOG = """Examples:

- `cycleqd logs quickstart` of all workers of a run in the cluster
- `cycleqd logs quickstart -f --tail 10` as they come, until the run ends
- `cycleqd logs quickstart --role finalize` of one kind of worker
- `cycleqd logs run.yaml` of a run on this machine
"""


@dataclass(frozen=True)
class Choice:
    """Which lines are wanted.

    Attributes:
        role: of the workers; empty: of all.
        tail: lines of each at most; None: all.
    """

    role: str
    tail: int | None


def logs(
    run: RunArgument,
    where: Where,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on until the run ends.")] = False,
    role: Annotated[str, typer.Option(help="Only prepare, evaluate, breed or finalize.")] = "",
    tail: Annotated[int | None, typer.Option(min=0, help="Last lines of each worker; all if not given.")] = None,
) -> None:
    """Show what a run's workers say; each line begins with the name of its worker."""
    found, choice = find_run(run, where), Choice(role, tail)
    if isinstance(found, OpenedRun):
        _show_files(found, choice, follow=follow)
    elif follow:
        try:
            _follow(found, choice)
        except KeyboardInterrupt as error:  # the usual end
            raise typer.Exit(EXIT_INTERRUPTED) from error
    else:
        _show_pods(found, choice)


def _show_files(run: OpenedRun, choice: Choice, *, follow: bool) -> None:
    folder = run.folder("logs")
    if follow or choice.role:
        raise BadManifest(
            f"--follow and --role are for runs in the cluster: the logs of {run.name} are files, see `tail -f "
            f"{folder}/*.log`."
        )
    files = sorted(folder.glob("*.log"), key=lambda file: file.stat().st_mtime)
    if not files:
        raise BadData(f"There are no logs in {folder}: they are written where `cycleqd run` runs.")
    for file in files:
        lines = file.read_text(encoding="utf-8", errors="replace").splitlines()
        for line in lines if choice.tail is None else lines[len(lines) - min(choice.tail, len(lines)) :]:
            typer.echo(f"[{file.stem}] {line}")


def _show_pods(run: ClusterRun, choice: Choice) -> None:
    pods = _chosen(run, choice)
    if not pods:
        kind = f" with the role {choice.role}" if choice.role else ""
        raise BadData(
            f"The run {run.name} has no pods{kind} now, and the logs of those that were cleaned up are gone: "
            f"`cycleqd status {run.name}` says how it stands."
        )
    for pod in pods:
        _print(run, pod, choice, follow=False)


def _follow(run: ClusterRun, choice: Choice) -> None:
    """Print the lines of all pods, each in a thread, until the run is over and they have ended."""
    threads: dict[str, threading.Thread] = {}
    while True:
        for pod in _chosen(run, choice):
            name = pod["metadata"]["name"]
            if name not in threads and pod.get("status", {}).get("phase") != "Pending":
                # A daemon, because a thread that waits for a line cannot be told to stop.
                threads[name] = threading.Thread(target=_print_or_say, args=(run, pod, choice), daemon=True)
                threads[name].start()
        if not any(thread.is_alive() for thread in threads.values()) and _is_over(run):
            return
        time.sleep(POLL_SECONDS)


def _is_over(run: ClusterRun) -> bool:
    try:
        return bool(run.again().outcome)
    except NoSuchRun:
        return True


def _chosen(run: ClusterRun, choice: Choice) -> list[Body]:
    pods = run.cluster.pods(run.uid)
    return [pod for pod in pods if not choice.role or pod["metadata"]["labels"].get(ROLE) == choice.role]


def _print_or_say(run: ClusterRun, pod: Body, choice: Choice) -> None:
    try:
        _print(run, pod, choice, follow=True)
    except CycleQDError as error:
        complain(str(error))


def _print(run: ClusterRun, pod: Body, choice: Choice, *, follow: bool) -> None:
    name = pod["metadata"]["name"]
    # Between the list and the request a pod may go, and one that waits for a node or its image has no log yet.
    with suppress(Gone, Refused):
        for line in run.cluster.log(name, follow=follow, tail=choice.tail):
            typer.echo(f"[{name}] {_last_state(line)}")


def _last_state(line: str) -> str:
    """Return what a terminal would show of a line with a progress bar, which is drawn again and again."""
    return line.rstrip("\r").rpartition("\r")[2]
