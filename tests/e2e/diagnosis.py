"""What a person wants to know about a run that did not do what a scenario waited for."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress

import pytest
import yaml

from tests.e2e.cluster import KubectlFailed
from tests.e2e.scene import RUN_LABEL, Run

LINES = 25
"""Of each worker's log."""


@contextmanager
def explained(item: pytest.Item, runs: Sequence[Run]) -> Iterator[None]:
    """If the scenario fails in here, add to its report what the cluster knows about its runs."""
    try:
        yield
    except Exception:
        with suppress(Exception):  # the scenario's own failure is what counts
            item.add_report_section("call", "cluster", "\n\n".join(describe(run) for run in runs))
        raise


def describe(run: Run) -> str:
    """Return its status, what was told about it, its Jobs and pods, their logs, and the operator's."""
    parts = {"run": _status(run), "events": _events(run), "objects": _objects(run), **_logs(run)}
    parts["operator"] = "\n".join(line for line in run.world.operator_log(400).splitlines() if run.name in line)
    parts["operator, the last lines"] = run.world.operator_log(30)
    return "\n".join(f"--- {run.name}: {title}\n{text}" for title, text in parts.items())


def _status(run: Run) -> str:
    body = run.body()
    return yaml.safe_dump({"status": body.get("status"), "spec": body.get("spec")}, sort_keys=False)


def _events(run: Run) -> str:
    with suppress(KubectlFailed):
        events = sorted(run.objects("events"), key=lambda event: str(event.get("eventTime") or event["lastTimestamp"]))
        return "\n".join(f"{event.get('eventTime')} {event['reason']}: {event['message']}" for event in events)
    return "not to be had"


def _objects(run: Run) -> str:
    chosen = ("--namespace", run.world.namespace, "--selector", f"{RUN_LABEL}={run.name}", "--output", "wide")
    return run.world.kubectl.run("get", "jobs,pods", *chosen).stdout


def _logs(run: Run) -> dict[str, str]:
    logs = {}
    for pod in run.objects("pods"):
        name = pod["metadata"]["name"]
        done = run.world.kubectl.run("logs", name, "--namespace", run.world.namespace, f"--tail={LINES}")
        if done.stdout:
            logs[name] = done.stdout
    return logs
