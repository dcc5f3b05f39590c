"""A worker process: does the work it is given, in one role or one after another, and says how it went.

``cycleqd worker ROLE`` does one piece of work and exits, as a Job does. ``cycleqd worker serve`` reads work from
standard input, a JSON line each, and keeps its engine warm in between: the local executor uses it. Everything that must
survive is in the store, so a worker may be killed at any moment; on SIGTERM it drops the child it is scoring and exits
(:mod:`cycleqd_runner.ending`).
"""

from __future__ import annotations

import asyncio
import logging
import os
import sys
import traceback
from collections.abc import Callable, Coroutine

from cycleqd.errors import BadManifest, CycleQDError
from cycleqd.orders import Order, Outcome
from cycleqd.sidecars import is_first
from cycleqd.store import ObjectStore
from cycleqd_runner.ending import leave, outcome_of, stopping_when_told
from cycleqd_runner.sandbox import Sandbox, open_sandbox
from cycleqd_runner.session import Session
from cycleqd_runner.unsupported import require_machines, require_neighbours

LOG_LEVEL_VARIABLE = "CYCLEQD_LOG_LEVEL"
"""Names how much a worker's log tells: INFO, or DEBUG for the checksums of weights, too."""

_LINE_LIMIT = 1 << 20
"""Bytes of one line of work; 10,000 ids need about 80 KB."""


async def perform(session: Session, order: Order, sandbox: Sandbox) -> Outcome:
    """Do one piece of work. Raises :class:`~cycleqd.errors.CycleQDError`."""
    first = is_first(session.spec, order.role, order.subject)
    if first or order.role != "prepare":  # which asks nothing
        require_machines(session.spec, sandbox)
    if first:
        await asyncio.to_thread(require_neighbours, session.spec)
    return Outcome(ok=True, drained=await _play(session, order, sandbox))


async def _play(session: Session, order: Order, sandbox: Sandbox) -> bool:
    """Play a role, and return whether it left work because it was told to drain."""
    # Each role is imported by its own workers: Transformers and matplotlib take seconds, which preparing needs not.
    match order.role:
        case "prepare":
            from cycleqd_runner.roles.prepare import prepare  # noqa: PLC0415 - see above

            await asyncio.to_thread(prepare, session, order.subject)
        case "evaluate":
            from cycleqd_runner.roles.evaluate import evaluate  # noqa: PLC0415 - see above

            await evaluate(session, order.ids, sandbox)
        case "breed":
            from cycleqd_runner.roles.breed import breed  # noqa: PLC0415 - see above

            return not await breed(session, order.ids, sandbox)
        case "finalize":
            from cycleqd_runner.roles.finalize import finalize  # noqa: PLC0415 - see above

            await finalize(session, sandbox)
    return False


def run_once(store: ObjectStore, order: Order) -> Outcome:
    """Do one piece of work. Raises :class:`~cycleqd.errors.CycleQDError`."""

    async def main() -> Outcome:
        session = Session(store)
        async with open_sandbox(session.spec.sandbox) as sandbox:
            return await perform(session, order, sandbox)

    return _until_told_to_stop(main)


def serve(store: ObjectStore) -> Outcome:
    """Do the work that standard input brings until it ends: an :class:`Order` a line, each gets an :class:`Outcome`."""
    # Libraries may print: our answers get the real standard output for themselves.
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)

    async def main() -> Outcome:
        session = Session(store)
        orders: asyncio.Queue[Order] = asyncio.Queue()
        async with open_sandbox(session.spec.sandbox) as sandbox, asyncio.TaskGroup() as group:
            group.create_task(_read_orders(orders, asyncio.current_task()))
            while True:
                outcome = await _attempt(session, await orders.get(), sandbox)
                print(outcome.model_dump_json(), file=answers, flush=True)

    return _until_told_to_stop(main)


async def _attempt(session: Session, order: Order, sandbox: Sandbox) -> Outcome:
    try:
        return await perform(session, order, sandbox)
    except (CycleQDError, MemoryError) as error:  # whoever gave the order decides whether it is tried again
        traceback.print_exc()
        return outcome_of(error)


async def _read_orders(orders: asyncio.Queue[Order], worker: asyncio.Task[Outcome] | None) -> None:
    """Queue what standard input brings; when it ends, whoever started us is gone, and the worker stops."""
    reader = asyncio.StreamReader(limit=_LINE_LIMIT)
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    while line := await reader.readline():
        orders.put_nowait(Order.model_validate_json(line))
    if worker:
        worker.cancel()


def _log_level() -> str:
    level = os.environ.get(LOG_LEVEL_VARIABLE, "INFO")
    if level not in logging.getLevelNamesMapping():
        raise BadManifest(f"{LOG_LEVEL_VARIABLE} is {level!r}, which is no level of a log: write INFO or DEBUG.")
    return level


def _until_told_to_stop(main: Callable[[], Coroutine[None, None, Outcome]]) -> Outcome:
    """Run ``main``; on SIGTERM or SIGINT leave without waiting for the batch that the engine computes.

    What the runner tells meanwhile is the worker's log, on standard error.
    """
    logging.basicConfig(format="%(message)s")
    logging.getLogger("cycleqd_runner").setLevel(_log_level())

    async def guarded() -> Outcome:
        task, loop = asyncio.ensure_future(main()), asyncio.get_running_loop()
        with stopping_when_told(lambda: loop.call_soon_threadsafe(task.cancel)):
            try:
                return await task
            except asyncio.CancelledError:
                leave()

    return asyncio.run(guarded())
