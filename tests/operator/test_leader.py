"""Leader election with the official client's election and lock, on a Lease in memory and in virtual time."""

from __future__ import annotations

import asyncio
import copy
import itertools
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any, cast

import aiohttp
import pytest
from kubernetes.aio import client
from kubernetes.aio.client.exceptions import ApiException
from kubernetes.aio.leaderelection import leaderelection

from cycleqd_operator import leader
from cycleqd_operator.leader import LEASE_SECONDS, RETRY_SECONDS, LeadershipLost, lead
from cycleqd_operator.settings import Settings
from tests.operator.standings import NOON
from tests.operator.virtual_time import in_virtual_time, now

ELECTING = Settings(
    worker_image="localhost/cycleqd-runner:test", leader_election=True, lease_namespace="cycleqd-system"
)
START = NOON + 0.5
"""Unix time in seconds; the client reads no times without a fraction."""
API = cast(client.ApiClient, None)


class Leases:
    """The one Lease, as the API server keeps it.

    Attributes:
        lease: None before somebody made it.
        trouble: awaited before each request; it may raise, or hang.
    """

    def __init__(self) -> None:
        self.lease: Any = None
        self.trouble: Callable[[str], Awaitable[None]] = self.none
        self._versions = itertools.count(1)

    async def none(self, request: str) -> None:
        """Do every request at once."""

    @property
    def holder(self) -> str | None:
        return self.lease.spec.holder_identity if self.lease else None

    async def read_namespaced_lease(self, name: str, namespace: str) -> Any:
        await self.trouble("read")
        if self.lease is None:
            error = ApiException(status=404, reason="Not Found")
            error.body = '{"code": 404}'
            raise error
        return copy.deepcopy(self.lease)

    async def create_namespaced_lease(self, namespace: str, body: Any) -> None:
        await self.trouble("create")
        if self.lease is not None:
            raise ApiException(status=409, reason="Conflict")
        self._store(body)

    async def replace_namespaced_lease(self, name: str, namespace: str, body: Any) -> None:
        await self.trouble("update")
        if body.metadata.resource_version != self.lease.metadata.resource_version:
            raise ApiException(status=409, reason="Conflict")
        self._store(body)

    def seize(self, holder: str) -> None:
        """Let somebody else take the Lease, whatever its rules say."""
        spec = client.V1LeaseSpec(holder_identity=holder, lease_duration_seconds=LEASE_SECONDS)
        spec.acquire_time = spec.renew_time = datetime.fromtimestamp(START + now(), UTC)
        self._store(client.V1Lease(metadata=client.V1ObjectMeta(name="cycleqd-operator"), spec=spec))

    def _store(self, body: Any) -> None:
        self.lease = copy.deepcopy(body)
        self.lease.metadata.resource_version = str(next(self._versions))
        for field in ("acquire_time", "renew_time"):
            value = getattr(self.lease.spec, field)
            if isinstance(value, str):  # as it travels; the client makes a datetime of it again
                setattr(self.lease.spec, field, datetime.fromisoformat(value))


class Work:
    """What a leader does: something that takes a while, and cleans up when it is cancelled."""

    def __init__(self, seconds: float = 1e6, error: Exception | None = None) -> None:
        self.began: float | None = None
        self.ended: float | None = None
        self._seconds = seconds
        self._error = error

    async def __call__(self) -> None:
        self.began = now()
        try:
            await asyncio.sleep(self._seconds)
            if self._error:
                raise self._error
        finally:
            self.ended = now()


@pytest.fixture
def leases(monkeypatch: pytest.MonkeyPatch) -> Leases:
    leases = Leases()
    hosts = (f"host-{number}" for number in itertools.count(1))
    monkeypatch.setattr(client, "CoordinationV1Api", lambda api_client: leases)
    monkeypatch.setattr(leaderelection, "time", SimpleNamespace(time=lambda: START + now()))
    monkeypatch.setattr(leader, "socket", SimpleNamespace(gethostname=lambda: next(hosts)))
    return leases


def refuses(error: Exception) -> Callable[[str], Awaitable[None]]:
    async def trouble(request: str) -> None:
        raise error

    return trouble


def takes(**seconds: float) -> Callable[[str], Awaitable[None]]:
    """Let requests of these kinds take so long, others no time."""

    async def trouble(request: str) -> None:
        await asyncio.sleep(seconds.get(request, 0))

    return trouble


HANGS = takes(read=1e9, create=1e9, update=1e9)


@pytest.mark.parametrize("settings", [Settings(worker_image="x"), ELECTING], ids=["without election", "with it"])
def test_a_single_operator_works_to_its_end(leases: Leases, settings: Settings) -> None:
    async def story() -> None:
        work = Work(seconds=100)
        await lead(API, settings, work)
        assert (work.began, work.ended) == (0, 100)
        assert (leases.lease is not None) is settings.leader_election
        assert len(asyncio.all_tasks()) == 1

    in_virtual_time(story())


def test_another_one_waits_and_takes_over_when_the_first_is_heard_of_no_more(leases: Leases) -> None:
    async def story() -> None:
        first, second = Work(), Work(seconds=1)
        leading = asyncio.create_task(lead(API, ELECTING, first))
        await asyncio.sleep(1)
        waiting = asyncio.create_task(lead(API, ELECTING, second))
        await asyncio.sleep(10 * LEASE_SECONDS)
        assert (first.ended, second.began) == (None, None)
        assert leases.holder
        assert leases.holder.startswith("host-1-")
        leading.cancel()
        died = now()
        await waiting
        assert second.began is not None
        assert LEASE_SECONDS - RETRY_SECONDS <= second.began - died <= LEASE_SECONDS + 2 * RETRY_SECONDS
        assert leases.holder.startswith("host-2-")

    in_virtual_time(story())


def test_who_loses_the_lease_stops_and_says_so(leases: Leases) -> None:
    async def story() -> None:
        work = Work()
        leading = asyncio.create_task(lead(API, ELECTING, work))
        await asyncio.sleep(30)
        leases.seize("somebody")
        with pytest.raises(LeadershipLost, match="The Lease cycleqd-system/cycleqd-operator was lost"):
            await leading
        assert work.ended == now()
        assert now() <= 30 + LEASE_SECONDS

    in_virtual_time(story())


@pytest.mark.parametrize(
    "trouble",
    [
        refuses(aiohttp.ClientConnectionError("refused")),
        refuses(ConnectionResetError()),
        refuses(ApiException(status=500, reason="Internal Server Error")),
        HANGS,
        takes(update=1e9),
        takes(read=0.9, update=1e9),
        takes(read=1.9, update=3),
    ],
    ids=["refused", "reset", "broken", "hangs", "hangs when written", "slow and hangs when written", "too slow"],
)
def test_who_cannot_renew_it_stops_before_another_one_may_begin(
    leases: Leases, trouble: Callable[[str], Awaitable[None]]
) -> None:
    async def story() -> None:
        work = Work()
        leading = asyncio.create_task(lead(API, ELECTING, work))
        await asyncio.sleep(31)
        leases.trouble = trouble
        renewed = leases.lease.spec.renew_time
        while not leading.done() and now() < 500:
            await asyncio.sleep(0.1)
            renewed = leases.lease.spec.renew_time
        if leading.done():
            assert work.ended is not None
            assert START + work.ended < renewed.timestamp() + LEASE_SECONDS
        else:
            assert work.ended is None
            leading.cancel()

    in_virtual_time(story())


@pytest.mark.parametrize("seconds", [5, 8])
def test_an_api_server_that_is_away_for_a_moment_ends_nothing(leases: Leases, seconds: float) -> None:
    async def story() -> None:
        work = Work(seconds=200)
        leading = asyncio.create_task(lead(API, ELECTING, work))
        await asyncio.sleep(30)
        leases.trouble = HANGS
        await asyncio.sleep(seconds)
        leases.trouble = leases.none
        await leading
        assert work.ended == 200

    in_virtual_time(story())


@pytest.mark.parametrize(
    "trouble", [HANGS, refuses(OSError("no route")), refuses(ApiException(status=503))], ids=["hangs", "gone", "busy"]
)
def test_who_waits_goes_on_waiting_for_an_api_server(leases: Leases, trouble: Callable[[str], Awaitable[None]]) -> None:
    async def story() -> None:
        leases.trouble = trouble
        work = Work(seconds=1)
        leading = asyncio.create_task(lead(API, ELECTING, work))
        await asyncio.sleep(1000)
        assert work.began is None
        leases.trouble = leases.none
        await leading
        assert work.began is not None
        assert work.began <= 1000 + 2 * RETRY_SECONDS

    in_virtual_time(story())


def test_an_error_of_the_work_is_the_leaders(leases: Leases) -> None:
    async def story() -> None:
        with pytest.raises(KeyError, match="a bug"):
            await lead(API, ELECTING, Work(seconds=5, error=KeyError("a bug")))
        assert len(asyncio.all_tasks()) == 1

    in_virtual_time(story())


@pytest.mark.parametrize("is_leading", [True, False], ids=["leading", "waiting"])
def test_one_that_is_told_to_stop_stops_and_leaves_nothing_running(leases: Leases, is_leading: bool) -> None:
    async def story() -> None:
        work = Work()
        if not is_leading:
            leases.seize("somebody")
        task = asyncio.create_task(lead(API, ELECTING, work))
        await asyncio.sleep(5)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert (work.began is not None, work.ended is not None) == (is_leading, is_leading)
        assert len(asyncio.all_tasks()) == 1

    in_virtual_time(story())
