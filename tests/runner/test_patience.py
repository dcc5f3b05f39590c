"""Waiting for a store that is away: as long as it is worth, and no longer than that."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable

import pytest
from tenacity import wait_fixed, wait_none

from cycleqd.errors import AccessDenied, StoreUnreachable
from cycleqd_runner.roles import patience
from cycleqd_runner.roles.patience import patiently


@pytest.fixture(autouse=True)
def _no_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patience, "WAITS", wait_none())


def away(times: int, error: type[Exception] = StoreUnreachable) -> tuple[Callable[[str], str], list[str]]:
    """Return a function that fails so many times, and the list of its calls."""
    calls: list[str] = []

    def answer(said: str) -> str:
        calls.append(said)
        if len(calls) <= times:
            raise error("The store is away.")
        return f"{said}, too"

    return answer, calls


def test_a_store_that_comes_back_is_told_about_once(capsys: pytest.CaptureFixture[str]) -> None:
    answer, calls = away(4)
    assert asyncio.run(patiently(answer, "hello")) == "hello, too"
    assert calls == ["hello"] * 5
    assert capsys.readouterr().err == "The store is away. Waiting up to 10 minutes for it.\n"


def test_nothing_is_said_of_a_store_that_is_there(capsys: pytest.CaptureFixture[str]) -> None:
    answer, calls = away(0)
    asyncio.run(patiently(answer, "hello"))
    assert (calls, capsys.readouterr().err) == (["hello"], "")


def test_patience_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patience, "LONGEST_SECONDS", 0.0)
    answer, calls = away(99)
    with pytest.raises(StoreUnreachable, match="away"):
        asyncio.run(patiently(answer, "hello"))
    assert len(calls) == 1


def test_what_waiting_does_not_help_is_told_at_once() -> None:
    answer, calls = away(1, AccessDenied)
    with pytest.raises(AccessDenied):
        asyncio.run(patiently(answer, "hello"))
    assert len(calls) == 1


@pytest.mark.parametrize("during", ["the wait", "the call"])
def test_a_worker_that_has_to_stop_does_not_wait(monkeypatch: pytest.MonkeyPatch, during: str) -> None:
    monkeypatch.setattr(patience, "WAITS", wait_fixed(3600))
    called, answered = threading.Event(), threading.Event()

    def answer() -> None:
        called.set()
        if during == "the call":
            answered.wait()
        raise StoreUnreachable("The store is away.")

    async def main() -> None:
        task = asyncio.ensure_future(patiently(answer))
        await asyncio.to_thread(called.wait)
        await asyncio.sleep(0.05)
        task.cancel()
        done, _ = await asyncio.wait([task], timeout=30)
        answered.set()
        assert done
        assert task.cancelled()

    asyncio.run(main())
