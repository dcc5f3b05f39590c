"""``cycleqd-operator``: put the parts together and run until told to stop."""

from __future__ import annotations

import asyncio
import logging
import signal
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import kopf
from pythonjsonlogger.json import JsonFormatter

from cycleqd.errors import EXIT_BAD_INPUT, PermanentError, TemporaryError
from cycleqd_operator.cluster import Cluster, connect
from cycleqd_operator.handlers import kopf_settings, registry
from cycleqd_operator.leader import LeadershipLost, lead
from cycleqd_operator.metrics import Metrics
from cycleqd_operator.placing import Placing
from cycleqd_operator.reconcile import Reconciler
from cycleqd_operator.settings import Settings
from cycleqd_operator.supervisor import Supervisor
from cycleqd_operator.tracked import Fleet
from cycleqd_operator.web import serve

logger = logging.getLogger("cycleqd_operator")

FIRST_RETRY_SECONDS = 5
"""Between two tries to reach the API server when the operator starts."""


def main() -> None:
    """Run the operator. Exit code 2: the settings or the permissions are wrong; 1: leadership was lost."""
    try:
        settings = Settings.load()
        _log_as(settings)
        asyncio.run(_operate(settings))
    except PermanentError as error:
        sys.stderr.write(f"cycleqd-operator: {error}\n")
        sys.exit(EXIT_BAD_INPUT)
    except LeadershipLost as error:
        logger.error("%s", error)  # noqa: TRY400 - the sentence says it all
        sys.exit(1)
    except asyncio.CancelledError:
        logger.info("Stopped.")


async def _operate(settings: Settings) -> None:
    loop, task = asyncio.get_running_loop(), asyncio.current_task()
    loop.set_default_executor(ThreadPoolExecutor(settings.store_threads, thread_name_prefix="store"))
    if task:  # while we wait for the Lease; kopf puts its own handlers in this place
        loop.add_signal_handler(signal.SIGTERM, task.cancel)
    metrics, fleet, api = Metrics(), Fleet(Placing.of(settings)), await connect()
    cluster = Cluster(api)
    reconciler = Reconciler(cluster, fleet, settings, metrics)
    supervisor = Supervisor(fleet, reconciler, cluster, settings, metrics)
    leading = False

    async def work() -> None:
        nonlocal leading
        leading = True
        metrics.set_leader(leads=True)
        await _first_look(cluster, supervisor)
        async with asyncio.TaskGroup() as group:  # when one of the two fails, the process ends and begins anew
            heartbeat = group.create_task(supervisor.keep_in_step())
            await kopf.operator(
                registry=registry(supervisor),
                settings=kopf_settings(clusterwide=not settings.namespaces),
                standalone=True,
                clusterwide=not settings.namespaces,
                namespaces=settings.namespaces,
            )
            heartbeat.cancel()

    web = await serve(settings.port, metrics, lambda: supervisor.last_pass if leading else time.monotonic())
    try:
        await lead(api, settings, work)
    finally:
        await web.cleanup()
        await api.close()  # type: ignore[no-untyped-call]  # the client's own


async def _first_look(cluster: Cluster, supervisor: Supervisor) -> None:
    """Wait for the definition of runs, and know all Jobs before the first run is looked at: none is planned twice."""
    while True:
        try:
            await cluster.check_definition()
            await supervisor.resync()
        except TemporaryError as error:
            logger.warning("%s It is asked again in %s s.", error, FIRST_RETRY_SECONDS)
            supervisor.last_pass = time.monotonic()  # a restart would not help
            await asyncio.sleep(FIRST_RETRY_SECONDS)
        else:
            return


def _log_as(settings: Settings) -> None:
    """Log to standard error, as text or as one JSON object a line."""
    handler = logging.StreamHandler()
    if settings.log_format == "json":
        handler.setFormatter(JsonFormatter("%(asctime)s %(levelname)s %(name)s %(message)s"))
    else:
        handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)-7s %(message)s"))
    logging.basicConfig(level=settings.log_level.upper(), handlers=[handler], force=True)
    for noisy in ("kopf", "aiohttp", "botocore", "kubernetes"):
        logging.getLogger(noisy).setLevel(max(logging.WARNING, logging.getLogger().level))


if __name__ == "__main__":
    main()
