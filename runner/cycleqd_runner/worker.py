"""A worker process: does the work it is given, in one role or one after another, and says how it went.

``cycleqd worker ROLE`` does one piece of work and exits, as a Job does. ``cycleqd worker serve`` reads work from
standard input, a JSON line each, and keeps its engine warm in between: the local executor uses it. Everything that must
survive is in the store, so a worker may be killed at any moment; on SIGTERM it drops the child it is scoring and exits.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
import traceback
from collections.abc import Awaitable, Callable, Coroutine

from cycleqd.errors import EXIT_BAD_INPUT, EXIT_TRY_AGAIN, CycleQDError
from cycleqd.orders import Order, Outcome
from cycleqd.plan import Role
from cycleqd.store import ObjectStore
from cycleqd_runner.roles.breed import breed
from cycleqd_runner.roles.evaluate import evaluate
from cycleqd_runner.roles.finalize import finalize
from cycleqd_runner.roles.prepare import prepare
from cycleqd_runner.sandbox import Sandbox, open_sandbox
from cycleqd_runner.session import Session

EXIT_TERMINATED = 128 + signal.SIGTERM
_LINE_LIMIT = 1 << 20
"""Bytes of one line of work; 10,000 ids need about 80 KB."""


async def perform(session: Session, order: Order, sandbox: Sandbox) -> None:
    """Do one piece of work. Raises :class:`~cycleqd.errors.CycleQDError`."""
    roles: dict[Role, Callable[[], Awaitable[None]]] = {
        "prepare": lambda: asyncio.to_thread(prepare, session, order.subject),
        "evaluate": lambda: evaluate(session, order.ids, sandbox),
        "breed": lambda: breed(session, order.ids, sandbox),
        "finalize": lambda: finalize(session, sandbox),
    }
    await roles[order.role]()


def run_once(store: ObjectStore, order: Order) -> int:
    """Do one piece of work and return the process's exit code; messages go to standard error."""

    async def main() -> int:
        session = Session(store)
        async with open_sandbox(session.spec.sandbox) as sandbox:
            outcome = await _attempt(session, order, sandbox)
        if outcome.ok:
            return 0
        sys.stderr.write(f"{outcome.message}\n")
        return EXIT_BAD_INPUT if outcome.permanent else EXIT_TRY_AGAIN

    return _until_terminated(main())


def serve(store: ObjectStore) -> int:
    """Do the work that standard input brings until it ends: an :class:`Order` a line, each gets an :class:`Outcome`."""
    # Libraries may print: our answers get the real standard output for themselves.
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)

    async def main() -> int:
        session = Session(store)
        orders: asyncio.Queue[Order] = asyncio.Queue()
        async with open_sandbox(session.spec.sandbox) as sandbox, asyncio.TaskGroup() as group:
            group.create_task(_read_orders(orders, asyncio.current_task()))
            while True:
                outcome = await _attempt(session, await orders.get(), sandbox)
                print(outcome.model_dump_json(), file=answers, flush=True)

    return _until_terminated(main())


async def _attempt(session: Session, order: Order, sandbox: Sandbox) -> Outcome:
    try:
        await perform(session, order, sandbox)
    except CycleQDError as error:
        traceback.print_exc()
        return Outcome.of(error)
    except MemoryError as error:
        traceback.print_exc()
        return Outcome(ok=False, message=f"The worker ran out of memory ({error}): give it more, or fewer workers.")
    return Outcome(ok=True)


async def _read_orders(orders: asyncio.Queue[Order], worker: asyncio.Task[int] | None) -> None:
    """Queue what standard input brings; when it ends, whoever started us is gone, and the worker stops."""
    reader = asyncio.StreamReader(limit=_LINE_LIMIT)
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    while line := await reader.readline():
        orders.put_nowait(Order.model_validate_json(line))
    if worker:
        worker.cancel()


def _until_terminated(main: Coroutine[None, None, int]) -> int:
    """Run ``main``; on SIGTERM or SIGINT leave at once, without waiting for the batch that the engine computes.

    Writes to the store are not interrupted: they happen between two awaits.
    """

    async def guarded() -> int:
        task = asyncio.ensure_future(main)
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, task.cancel)
        with contextlib.suppress(asyncio.CancelledError):
            return await task
        sys.stderr.flush()
        os._exit(EXIT_TERMINATED)

    return asyncio.run(guarded())
