"""What kopf watches: runs, and Jobs with our label (the server filters them). Both only wake the supervisor.

``on.event`` handlers alone: kopf then writes nothing into objects, no annotations and no finalizers. They are
coroutines, because kopf runs plain functions in threads.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import kopf

from cycleqd.api import GROUP, VERSION
from cycleqd_operator.cluster import PLURAL
from cycleqd_operator.job_view import JobView
from cycleqd_operator.labels import SELECTOR
from cycleqd_operator.supervisor import Supervisor
from cycleqd_operator.tracked import Body

WATCH_SECONDS = 120
"""The server ends a watch after so long and kopf begins another: a connection that died silently is not missed long."""
IDLE_SECONDS = 0.5
"""So long kopf keeps the last event of an object: five seconds, its default, are 60 MiB while 2,000 Jobs begin."""


class _ForEver:
    """Seconds between tries to reach an API server that is away: more and more, up to half a minute, without end."""

    def __iter__(self) -> Iterator[float]:
        yield from (1, 2, 4, 8, 16)
        yield from itertools.repeat(30)


def registry(supervisor: Supervisor) -> kopf.OperatorRegistry:
    """Return handlers that tell ``supervisor``."""
    handlers = kopf.OperatorRegistry()

    @kopf.on.login(registry=handlers)
    async def login(**arguments: Any) -> kopf.ConnectionInfo | None:  # noqa: ANN401 - kopf's own
        return kopf.login_with_service_account(**arguments) or kopf.login_with_kubeconfig(**arguments)

    @kopf.on.event(GROUP, VERSION, PLURAL, registry=handlers)
    async def run_seen(event: kopf.RawEvent, **_: object) -> None:
        body: Body = dict(event["object"])
        if event["type"] == "DELETED":
            supervisor.forget_run(body["metadata"]["uid"])
        else:
            supervisor.see_run(body)

    @kopf.on.event("batch", "v1", "jobs", registry=handlers)
    async def job_seen(event: kopf.RawEvent, **_: object) -> None:
        job = JobView.of(dict(event["object"]))
        if job:
            supervisor.see_job(job, deleted=event["type"] == "DELETED")

    @kopf.on.cleanup(registry=handlers)
    async def end(**_: object) -> None:
        await supervisor.stop()  # or kopf waits five seconds for tasks that it does not know

    return handlers


def kopf_settings(*, clusterwide: bool) -> kopf.OperatorSettings:
    """Return kopf's settings. Only an operator for all namespaces may watch definitions come and go."""
    settings = kopf.OperatorSettings()
    settings.scanning.disabled = not clusterwide
    settings.posting.enabled = False  # events are ours: one per transition
    settings.watching.label_selectors["batch", "v1", "jobs"] = SELECTOR
    settings.watching.server_timeout = WATCH_SECONDS
    settings.watching.client_timeout = WATCH_SECONDS + 30
    settings.watching.connect_timeout = 10
    settings.queueing.idle_timeout = IDLE_SECONDS
    settings.networking.request_timeout = 30
    settings.networking.error_backoffs = _ForEver()
    return settings
