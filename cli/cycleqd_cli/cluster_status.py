"""How a run in a cluster stands: one record of what the operator and Kubernetes tell, and its picture."""

from __future__ import annotations

from typing import Any

from pydantic import ValidationError
from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from cycleqd.api import RunSpec
from cycleqd.api.status import Condition, RunStatus, TaskStatus
from cycleqd.labels import ROLE
from cycleqd.records import Record
from cycleqd.report import remarks
from cycleqd_cli.cluster import event_time
from cycleqd_cli.cluster_run import ClusterRun
from cycleqd_cli.layout import progress_row
from cycleqd_cli.texts import percent

EVENTS = 5
"""Latest events that are shown."""
STYLES = {"Succeeded": "green", "Failed": "red", "Cancelled": "yellow"}


class WorkerPod(Record):
    """A pod that has not ended."""

    name: str
    role: str
    phase: str
    node: str


class Told(Record):
    """An event about the run."""

    time: str
    reason: str
    message: str


class ClusterStanding(Record):
    """One run in a cluster."""

    run: str
    namespace: str
    context: str
    """Of the kubeconfig."""
    desired_state: str
    target: int
    """Children that the run shall have."""
    status: dict[str, Any]
    """As the operator wrote it last, in its own names."""
    workers: tuple[WorkerPod, ...]
    events: tuple[Told, ...]
    notes: tuple[str, ...] = ()
    """What qualifies the scores, for example a protocol that is not the paper's."""


def cluster_standing(run: ClusterRun) -> ClusterStanding:
    """Ask the API server how a run stands. Raises what :class:`~cycleqd_cli.cluster.Cluster` raises."""
    cluster = run.cluster
    return ClusterStanding(
        run=run.name,
        namespace=cluster.namespace,
        context=cluster.context,
        desired_state=run.desired_state,
        target=run.body["spec"].get("search", {}).get("children", 0),
        status=run.status.model_dump(mode="json", by_alias=True, exclude_none=True),
        workers=tuple(_worker(pod) for pod in cluster.pods(run.uid) if not _has_ended(pod)),
        events=tuple(_told(event) for event in cluster.events(run.uid)[-EVENTS:]),
        notes=_notes(run.body["spec"]),
    )


def _notes(spec: dict[str, Any]) -> tuple[str, ...]:
    try:
        return remarks(RunSpec.model_validate(spec))
    except ValidationError:
        return ()  # the manifest of another version, whose tasks we do not know


def _has_ended(pod: dict[str, Any]) -> bool:
    return pod.get("status", {}).get("phase") in ("Succeeded", "Failed")


def _worker(pod: dict[str, Any]) -> WorkerPod:
    metadata = pod["metadata"]
    return WorkerPod(
        name=metadata["name"],
        role=metadata.get("labels", {}).get(ROLE, ""),
        phase="Stopping" if "deletionTimestamp" in metadata else pod.get("status", {}).get("phase", "Pending"),
        node=pod.get("spec", {}).get("nodeName", ""),
    )


def _told(event: dict[str, Any]) -> Told:
    message = " ".join(str(event.get("message") or event.get("note") or "").split())
    return Told(time=event_time(event), reason=event.get("reason", ""), message=message)


def picture(now: ClusterStanding) -> RenderableType:
    """Return what a terminal shows of it."""
    status = RunStatus.model_validate(now.status)
    grid = Table.grid(padding=(0, 2))
    state = Text(status.state, STYLES.get(status.state, "cyan"))
    if now.desired_state not in ("Running", status.state):
        state.append(f" (desired state: {now.desired_state})", "default")
    grid.add_row("run", Text.assemble((now.run, "bold"), f" in {now.namespace} of {now.context}"))
    grid.add_row("state", state)
    progress_row(grid, "children", status.children, now.target)
    if status.best is not None:
        grid.add_row("best mean", percent(status.best))
    if status.timings.seconds_per_child is not None:
        grid.add_row("a child takes", f"{status.timings.seconds_per_child:.0f} s of a worker")
    if status.failures:
        grid.add_row("failures", f"{status.failures} workers, {status.quarantined} children given up")
    if status.broken:
        grid.add_row("not scored", f"{status.broken} children, numerically broken")
    for title, text in (("storage", status.storage_uri), ("final model", status.model_uri)):
        if text:
            grid.add_row(title, Text(text, overflow="fold"))
    parts: list[RenderableType] = [grid]
    if status.tasks:
        parts.append(_tasks(status.tasks))
    parts += [Text(note) for note in now.notes]
    parts += [_sentence(condition) for condition in status.conditions if _matters(condition)]
    parts += [Text(f"{pod.role} {pod.phase.lower()} in {pod.name} {pod.node}", "dim") for pod in now.workers]
    parts += [Text(f"{told.time[:19]} {told.reason}: {told.message}", "dim") for told in now.events]
    if status.state == "Succeeded":
        parts.append(Text(f"Next: cycleqd report {now.run}, or cycleqd export {now.run} FOLDER --final"))
    return Group(*parts)


def _matters(condition: Condition) -> bool:
    return condition.status == "True" and condition.type in ("Failed", "Degraded")


def _sentence(condition: Condition) -> Text:
    style = "red" if condition.type == "Failed" else "yellow"
    return Text(f"{condition.type} ({condition.reason}): {condition.message}", style)


def _tasks(tasks: tuple[TaskStatus, ...]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("archive")
    for title in ("coverage", "QD score", "best"):
        table.add_column(title, justify="right")
    for task in tasks:
        score = "–" if task.qd_score is None else f"{task.qd_score:.2f}"
        table.add_row(Text(task.task), percent(task.coverage), score, percent(task.best))
    return table
