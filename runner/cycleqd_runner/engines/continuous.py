"""From single awaited requests to an engine that takes new ones at every step, driven by a thread of its own.

Requests made before the event loop comes to rest join at the same step, as in :mod:`.batching`; those made later join
while the others are being answered, so that the engine's batch stays full through episodes of many turns.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass
from queue import SimpleQueue
from typing import Protocol, TypeVar

from cycleqd_runner.engines.batching import Arrivals, Asked, Closed, Found, Waiting, fail, rest

Result = TypeVar("Result")


class Stepper(Protocol):
    """What computes. Called from one thread only."""

    def add(self, request: Asked, ticket: int) -> None:
        """Take a request; its answer will come under ``ticket``."""
        ...

    def step(self) -> Iterable[tuple[int, Found]]:
        """Compute a step of everything that was taken; return tickets and answers of what is complete."""
        ...

    def drop(self, tickets: Sequence[int]) -> None:
        """Forget requests for which nobody waits any more."""
        ...


@dataclass(frozen=True)
class _Call:
    """Work to do when no request is being answered."""

    function: Callable[[], object]
    done: Future[object]


class Continuous(Arrivals):
    """Hands requests to a :class:`Stepper` and answers to who waits.

    Attributes:
        batches: how often the stepper went to work after it had nothing to do.
        largest: most requests that were answered at the same time.
        steps, rows: how many steps were computed, and how many requests took part in them altogether.
    """

    def __init__(self, stepper: Stepper) -> None:
        """Start the thread."""
        super().__init__()
        self.steps = self.rows = 0
        self._stepper = stepper
        self._orders: SimpleQueue[list[Waiting] | _Call | None] = SimpleQueue()
        self._ordering = threading.Lock()
        self._running: dict[int, Waiting] = {}
        self._tickets = 0
        self._thread = threading.Thread(target=self._serve, name="engine", daemon=True)
        self._thread.start()

    async def _drain(self) -> None:
        await rest(self._waiting)
        group, self._waiting = self._waiting, []
        # The order of submission must not matter, and neighbours should share prefixes.
        if not self._order(sorted(group, key=lambda waiting: waiting.request.order)):
            fail(group)

    def run(self, function: Callable[[], Result]) -> Result:
        """Run ``function`` in the engine's thread when nothing is being answered, and wait for it.

        Raises :class:`Closed` when there is no thread any more.
        """
        call = _Call(function, Future())
        if not self._order(call):
            raise Closed("The engine is closed; open it again.")
        return call.done.result()  # type: ignore[return-value]  # of the function that went in

    def close(self) -> None:
        """Refuse everybody who waits and stop the thread. May be repeated, from any thread."""
        if self._order(None):
            self._thread.join()

    def _order(self, order: list[Waiting] | _Call | None) -> bool:
        """Give the thread something to do; None: to end. False: it has ended, and nobody would look."""
        with self._ordering:
            if self._closed.is_set():
                return False
            if order is None:
                self._closed.set()
            self._orders.put(order)
            return True

    def _serve(self) -> None:
        while not self._closed.is_set():
            if not self._running or not self._orders.empty():
                self._follow(self._orders.get())
            else:
                self._step()
        self._end()

    def _follow(self, order: list[Waiting] | _Call | None) -> None:
        if isinstance(order, _Call):
            while self._running and not self._closed.is_set():
                self._step()
            _do(order, self._closed)
        elif order:
            self.batches += not self._running
            for waiting in order:
                self._add(waiting)
            self.largest = max(self.largest, len(self._running))

    def _add(self, waiting: Waiting) -> None:
        self._tickets += 1
        try:
            self._stepper.add(waiting.request, self._tickets)
        except Exception as error:  # noqa: BLE001 - it goes to who waits, and they decide about repeating
            _tell(waiting, error)
        else:
            self._running[self._tickets] = waiting

    def _step(self) -> None:
        unwanted = [ticket for ticket, waiting in self._running.items() if waiting.answer.cancelled()]
        for ticket in unwanted:
            del self._running[ticket]
        try:
            if unwanted:
                self._stepper.drop(unwanted)
            if not self._running:
                return
            self.steps += 1
            self.rows += len(self._running)
            for ticket, answer in self._stepper.step():
                _tell(self._running.pop(ticket), answer)
        except Exception as error:  # noqa: BLE001 - as in _add; whatever was being answered is lost with the step
            lost, self._running = self._running, {}
            for waiting in lost.values():
                _tell(waiting, error)
            with suppress(Exception):  # a broken engine may not even forget; whoever asks next is told
                self._stepper.drop(list(lost))

    def _end(self) -> None:
        waiting = list(self._running.values())
        while not self._orders.empty():
            order = self._orders.get()
            if isinstance(order, _Call):
                _do(order, self._closed)
            else:
                waiting += order or []
        for one in waiting:
            _tell(one, Closed("The engine was closed while the request waited; repeat it later."))


def _do(call: _Call, closed: threading.Event) -> None:
    if closed.is_set():
        call.done.set_exception(Closed("The engine is closed; open it again."))
        return
    try:
        call.done.set_result(call.function())
    except BaseException as error:  # noqa: BLE001 - it belongs to who called
        call.done.set_exception(error)


def _tell(waiting: Waiting, outcome: Found | Exception) -> None:
    """Hand an outcome to who waits for it in another thread's event loop, if that still runs."""

    def hand_over() -> None:
        if waiting.answer.done():
            return
        if isinstance(outcome, Exception):
            waiting.answer.set_exception(outcome)
        else:
            waiting.answer.set_result(outcome)

    loop = waiting.answer.get_loop()
    if not loop.is_closed():
        loop.call_soon_threadsafe(hand_over)
