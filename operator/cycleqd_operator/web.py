"""What the operator answers over HTTP: whether it is well, and its metrics."""

from __future__ import annotations

import time
from collections.abc import Callable

from aiohttp import web

from cycleqd_operator.metrics import CONTENT_TYPE, Metrics

STALE_SECONDS = 300.0
"""Without a look at a run and without a comparison with the API server for so long, something hangs."""


async def serve(port: int, metrics: Metrics, last_pass: Callable[[], float]) -> web.AppRunner:
    """Listen on all interfaces; the caller cleans the runner up.

    ``/healthz`` says 200 while work goes on: an operator whose process is up and does nothing is not healthy. An API
    server that is away makes no operator unhealthy, since restarting would not help. ``/readyz`` says that it listens.

    Args:
        port: TCP.
        metrics: to show.
        last_pass: when work went on the last time, in seconds of :func:`time.monotonic`.
    """

    async def healthz(_: web.Request) -> web.Response:
        age = time.monotonic() - last_pass()
        return web.Response(text=f"last pass {age:.0f} s ago\n", status=200 if age < STALE_SECONDS else 503)

    async def readyz(_: web.Request) -> web.Response:
        return web.Response(text="ok\n")

    async def exposition(_: web.Request) -> web.Response:
        return web.Response(body=metrics.render(), headers={"Content-Type": CONTENT_TYPE})

    app = web.Application()
    app.add_routes([web.get("/healthz", healthz), web.get("/readyz", readyz), web.get("/metrics", exposition)])
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, port=port).start()
    return runner
