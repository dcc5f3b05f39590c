"""Patience with a store that is away: a child that took 20 GPU-minutes is not lost because of one bad minute."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable
from typing import ParamSpec, TypeVar

from tenacity import AsyncRetrying, RetryCallState, retry_if_exception_type, stop_after_delay, wait_exponential
from tenacity.wait import wait_base

from cycleqd.errors import StoreUnreachable

Parameters = ParamSpec("Parameters")
Result = TypeVar("Result")

WAITS: wait_base = wait_exponential(multiplier=1, max=60)
"""Between two calls: 1, 2, 4 ... 60 s, besides the seconds in which the store itself tries again."""
LONGEST_SECONDS = 600.0
"""Then whoever started the worker shall know; the child is scored again."""


async def patiently(
    function: Callable[Parameters, Result], *arguments: Parameters.args, **options: Parameters.kwargs
) -> Result:
    """Call a function that talks to the store; while the store does not answer, wait and call it again.

    It runs in a thread, so that a worker that has to stop need not wait for it. It must bear repetition, as all
    writing to a store does.

    Raises:
        StoreUnreachable: for :data:`LONGEST_SECONDS`.
    """
    calls = AsyncRetrying(
        retry=retry_if_exception_type(StoreUnreachable),
        wait=WAITS,
        stop=stop_after_delay(LONGEST_SECONDS),
        before_sleep=_say,
        reraise=True,
    )

    async def call() -> Result:
        return await asyncio.to_thread(function, *arguments, **options)

    return await calls(call)


def _say(state: RetryCallState) -> None:
    """Tell about the first wait."""
    if state.attempt_number == 1 and state.outcome:
        patience = f"Waiting up to {LONGEST_SECONDS / 60:.0f} minutes for it."
        sys.stderr.write(f"{state.outcome.exception()} {patience}\n")
