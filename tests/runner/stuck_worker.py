"""A worker whose roles are stuck, for tests of what ends it.

Usage: python -m tests.runner.stuck_worker ROLE STORE. It creates the object ``stuck`` when it is. prepare is stuck in
its thread, evaluate in the event loop (as loading a model is), finalize waits for something; breed writes a result.
"""

from __future__ import annotations

import asyncio
import importlib
import sys
import time
from pathlib import Path

from cycleqd.orders import Order
from cycleqd.store import FolderStore
from cycleqd_runner import worker
from cycleqd_runner.ending import stopping_when_told
from cycleqd_runner.roles import writing
from cycleqd_runner.session import Session
from tests.core.support import make_result

STUCK_SECONDS = 60.0
WRITE_SECONDS = 2.0


def in_thread(session: Session, *_: object) -> None:
    session.store.put("stuck", b"")
    time.sleep(STUCK_SECONDS)


async def in_loop(session: Session, *_: object) -> None:
    in_thread(session)


async def waiting(session: Session, *_: object) -> None:
    session.store.put("stuck", b"")
    await asyncio.sleep(STUCK_SECONDS)


class SlowStore(FolderStore):
    """A store that takes its time to write a result."""

    def put_once(self, key: str, data: bytes) -> bool:
        if key.startswith("results/"):
            self.put("stuck", b"")
            time.sleep(WRITE_SECONDS)
        return super().put_once(key, data)


async def writes(session: Session, *_: object) -> bool:
    store = SlowStore(Path(sys.argv[2]))
    await asyncio.to_thread(writing.write_result, store, make_result(7, [0.5, 0.5]), [])
    await asyncio.sleep(STUCK_SECONDS)
    return True


if __name__ == "__main__":
    stuck = {"prepare": in_thread, "evaluate": in_loop, "finalize": waiting, "breed": writes}
    for role, function in stuck.items():
        setattr(importlib.import_module(f"cycleqd_runner.roles.{role}"), role, function)
    with stopping_when_told():
        worker.run_once(FolderStore(Path(sys.argv[2])), Order.model_validate({"role": sys.argv[1]}))
