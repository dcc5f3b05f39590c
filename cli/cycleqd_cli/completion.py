"""What a shell offers when the user presses Tab. A completion never fails and never waits long: it offers nothing."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable
from typing import Any, ParamSpec

import typer

from cycleqd import keys
from cycleqd.errors import CycleQDError
from cycleqd_cli.cluster import Cluster, read_contexts
from cycleqd_cli.opening import OpenedRun, open_run
from cycleqd_cli.where import Where

READ_SECONDS = 2.0
"""Longest wait for a cluster: nobody holds Tab for longer."""

_Parameters = ParamSpec("_Parameters")


def _silent(complete: Callable[_Parameters, list[str]]) -> Callable[_Parameters, list[str]]:
    """Return ``complete``, which offers nothing where it would fail."""

    @functools.wraps(complete)
    def offer(*arguments: _Parameters.args, **options: _Parameters.kwargs) -> list[str]:
        try:
            return complete(*arguments, **options)
        except (CycleQDError, ImportError):
            return []

    return offer


@_silent
def runs(ctx: typer.Context, incomplete: str) -> list[str]:
    """Return the runs of the namespace; files complete by themselves."""
    prefix, slash, begin = incomplete.rpartition("/")
    if slash and prefix not in ("cqd", "run"):
        return []
    known = Cluster.connect(_where(ctx), READ_SECONDS).runs()
    names = sorted(run["metadata"]["name"] for run in known)
    return [f"{prefix}{slash}{name}" for name in names if name.startswith(begin)]


@_silent
def namespaces(ctx: typer.Context, incomplete: str) -> list[str]:
    """Return the namespaces of the cluster."""
    return [name for name in Cluster.connect(_where(ctx), READ_SECONDS).namespaces() if name.startswith(incomplete)]


@_silent
def contexts(ctx: typer.Context, incomplete: str) -> list[str]:
    """Return the contexts of the kubeconfig."""
    return [name for name in read_contexts(_where(ctx)) if name.startswith(incomplete)]


@_silent
def individuals(ctx: typer.Context, incomplete: str) -> list[str]:
    """Return the ids of a run's individuals."""
    run = _run(ctx)
    found = {keys.parse_result(key) for key in run.store.list(keys.RESULTS)}
    ids = sorted({individual for individual, _ in filter(None, found)})
    return [str(individual) for individual in ids if str(individual).startswith(incomplete)]


@_silent
def tasks(ctx: typer.Context, incomplete: str) -> list[str]:
    """Return the names of a run's tasks."""
    run = _run(ctx)
    return [task.name for task in run.spec.tasks if task.name.startswith(incomplete)]


@_silent
def items(ctx: typer.Context, incomplete: str) -> list[str]:
    """Return the items of a run, or of the task that was typed before."""
    run = _run(ctx)
    drawn: dict[str, dict[str, list[str]]] = json.loads(run.store.get(keys.SPLITS))
    chosen = [splits for task, splits in drawn.items() if ctx.params.get("task") in (None, task)]
    return [item for splits in chosen for ids in splits.values() for item in ids if item.startswith(incomplete)]


def _run(ctx: typer.Context) -> OpenedRun:
    """Open the run that was typed before. Raises what :func:`~cycleqd_cli.opening.open_run` raises."""
    # An option that lacks its value, as one that is completed does, leaves the arguments unread.
    named = ctx.params.get("run") or next(iter(ctx.args), "")
    return open_run(str(named), _where(ctx))


def _where(ctx: typer.Context) -> Where:
    """Return what was typed before about the cluster."""
    given: dict[str, Any] = ctx.params
    return Where(**{name: given.get(name) for name in ("namespace", "context", "kubeconfig", "endpoint_url")})
