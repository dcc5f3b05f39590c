"""An event loop whose clock jumps to the next timer when nothing is left to do: tests of pauses take no time.

Only for coroutines that wait for nothing outside their loop, neither threads nor sockets.
"""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Coroutine
from typing import Any


class _Impatient(selectors.DefaultSelector):
    def __init__(self) -> None:
        super().__init__()
        self.skipped = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None:
            raise AssertionError("Nothing will ever happen: there is no timer to jump to.")
        self.skipped += max(0.0, timeout)
        return super().select(0)


class VirtualLoop(asyncio.SelectorEventLoop):
    """A loop that begins at second 0."""

    def __init__(self) -> None:
        self._impatient = _Impatient()
        super().__init__(self._impatient)

    def time(self) -> float:
        return self._impatient.skipped


def in_virtual_time(task: Coroutine[Any, Any, Any]) -> None:
    """Run a coroutine to its end."""
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        runner.run(task)


def now() -> float:
    """Return the running loop's time in seconds."""
    return asyncio.get_running_loop().time()
