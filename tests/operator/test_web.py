"""Health, readiness and metrics over HTTP."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator

import aiohttp
import pytest
from aiohttp.test_utils import unused_port

from cycleqd_operator.metrics import Metrics
from cycleqd_operator.web import STALE_SECONDS, serve

Ask = tuple[aiohttp.ClientSession, list[float]]


@pytest.fixture
async def asked() -> AsyncIterator[Ask]:
    """A client of the operator's server, and a list with the time of the last pass."""
    last_pass = [time.monotonic()]
    port = unused_port()
    runner = await serve(port, Metrics(), lambda: last_pass[0])
    async with aiohttp.ClientSession(f"http://127.0.0.1:{port}") as session:
        yield session, last_pass
    await runner.cleanup()


@pytest.mark.parametrize(("age", "status"), [(0, 200), (STALE_SECONDS - 60, 200), (STALE_SECONDS + 1, 503)])
async def test_health_is_that_work_goes_on(asked: Ask, age: float, status: int) -> None:
    session, last_pass = asked
    last_pass[0] -= age
    async with session.get("/healthz") as answer:
        assert answer.status == status
        assert await answer.text() == f"last pass {age:.0f} s ago\n"


async def test_health_comes_back_when_work_does(asked: Ask) -> None:
    session, last_pass = asked
    last_pass[0] -= STALE_SECONDS + 1
    last_pass[0] = time.monotonic()
    async with session.get("/healthz") as answer:
        assert answer.status == 200


async def test_it_is_ready_when_it_listens_whatever_else(asked: Ask) -> None:
    session, last_pass = asked
    last_pass[0] -= STALE_SECONDS + 1
    async with session.get("/readyz") as answer:
        assert answer.status == 200


async def test_metrics_are_prometheus_text(asked: Ask) -> None:
    session, _ = asked
    async with session.get("/metrics") as answer:
        assert answer.status == 200
        assert answer.content_type == "text/plain"
        assert "cycleqd_operator_leader 0.0" in await answer.text()


async def test_nothing_else_is_served(asked: Ask) -> None:
    session, _ = asked
    async with session.get("/") as answer:
        assert answer.status == 404
