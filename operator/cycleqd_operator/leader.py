"""One operator works, others wait: whoever holds the Lease. The official client elects; a loser ends its process.

A process that lost the Lease must not write any more, and the surest way to stop everything is to end: Kubernetes
starts it again, and it waits its turn.
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

import aiohttp
from kubernetes.aio.client import ApiClient, V1Lease, V1ObjectMeta
from kubernetes.aio.client.exceptions import ApiException
from kubernetes.aio.leaderelection import electionconfig, leaderelection
from kubernetes.aio.leaderelection.leaderelectionrecord import LeaderElectionRecord
from kubernetes.aio.leaderelection.resourcelock.leaselock import LeaseLock

from cycleqd_operator.settings import Settings

logger = logging.getLogger(__name__)

LEASE_SECONDS = 20
"""A leader that was not heard of for so long is replaced. Until then it must have given up, in the worst case after
its pause, the time to renew, and a last try with two requests and a pause: RENEW_SECONDS + 4 RETRY_SECONDS."""
RENEW_SECONDS = 10
RETRY_SECONDS = 2
_NO_ANSWER = (aiohttp.ClientError, TimeoutError, OSError)


class LeadershipLost(Exception):
    """Another operator leads, or nobody could be asked for too long."""


class _TimelyLock(LeaseLock):
    """A lock whose requests end: the client's own wait is five minutes, and knows no connection that is refused."""

    async def get(self, name: str, namespace: str) -> tuple[bool, Any]:
        try:
            async with asyncio.timeout(RETRY_SECONDS):
                found: tuple[bool, Any] = await super().get(name, namespace)
                return found
        except _NO_ANSWER as error:
            return False, ApiException(status=0, reason=str(error) or type(error).__name__)

    async def create(self, name: str, namespace: str, election_record: LeaderElectionRecord) -> bool:
        return await _answered(self._create(name, namespace, election_record))

    async def _create(self, name: str, namespace: str, election_record: LeaderElectionRecord) -> bool:
        """Make the Lease. The client's own way (37.0.1) passes ``pretty=True``, which its API refuses: not a text."""
        lease = V1Lease(metadata=V1ObjectMeta(name=name), spec=self.update_lease(election_record))
        try:
            await self.api_instance.create_namespaced_lease(namespace, lease)
        except ApiException as error:
            logger.warning("The Lease could not be made (%s %s).", error.status, error.reason)
            return False
        return True

    async def update(self, name: str, namespace: str, updated_record: LeaderElectionRecord) -> bool:
        return await _answered(super().update(name, namespace, updated_record))


async def _answered(request: Awaitable[bool]) -> bool:
    try:
        async with asyncio.timeout(RETRY_SECONDS):
            return await request
    except _NO_ANSWER as error:
        logger.warning("The API server did not answer about the Lease (%s).", error or type(error).__name__)
        return False


async def lead(api: ApiClient, settings: Settings, work: Callable[[], Coroutine[None, None, None]]) -> None:
    """Wait until this process leads, then do ``work`` to its end; without leader election, do it at once.

    Raises:
        LeadershipLost: the Lease could not be renewed in time; the work was cancelled.
    """
    name, namespace = settings.lease_name, settings.lease_namespace
    if not settings.leader_election or namespace is None:
        await work()
        return
    identity = f"{socket.gethostname()}-{os.getpid()}"
    leading = asyncio.Event()

    async def begin() -> None:
        leading.set()

    async def end() -> None:
        """Leave it to the caller, who sees the election end."""

    lock = _TimelyLock(name, namespace, identity, api)
    config = electionconfig.Config(lock, LEASE_SECONDS, RENEW_SECONDS, RETRY_SECONDS, begin, end)
    election = asyncio.create_task(leaderelection.LeaderElection(config).run())
    logger.info("Waiting for the Lease %s/%s as %s.", namespace, name, identity)
    tasks = {election, asyncio.create_task(leading.wait())}
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        logger.info("Leading.")
        tasks = {election, asyncio.create_task(work())}
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
        if election in done:
            raise LeadershipLost(f"The Lease {namespace}/{name} was lost: another operator may lead.")
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
