"""From single awaited requests to batches in a worker thread. What a batch computes is not known here.

A batch is formed only when the event loop has come to rest, so its composition depends on the set of requests that
wait and not on their order. While a batch runs, the event loop is free (sandboxes, other answers); requests that
arrive meanwhile are put in order with those that still wait, so that batches stay full through episodes of many turns.
"""

from __future__ import annotations

import asyncio
import math
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import chain
from typing import NamedTuple, TypeVar, overload

from cycleqd.errors import TemporaryError
from cycleqd_runner.chat import Answer, Likelihood, Sampling

Result = TypeVar("Result")

_QUIET_TURNS = 4
"""Turns of the event loop without a new request after which it is at rest.

An evaluator may need a few turns between its start and its question (a task that starts a task); waiting for real
input and output, like a sandbox, takes many more and is not waited for.
"""


@dataclass(frozen=True)
class Request:
    """A tokenised conversation, or the beginning of a text, and how its answer is drawn.

    Attributes:
        prompt: token ids, at least one.
        sampling: as asked, with ``max_tokens`` already cut to what fits into the context.
        served: which of the individuals that are served together answers; 0: the loaded weights.
        cut: how many tokens did not fit before those of the prompt.
    """

    prompt: tuple[int, ...]
    sampling: Sampling
    served: int = 0
    cut: int = 0

    @property
    def reserved(self) -> int:
        """Tokens that prompt and longest answer take."""
        return len(self.prompt) + self.sampling.max_tokens

    @property
    def order(self) -> tuple[object, ...]:
        """Sorts requests, whatever the order of their submission, so that neighbours share the longest prefixes."""
        drawn = self.sampling
        return self.served, self.prompt, 0, drawn.max_tokens, drawn.temperature, drawn.stop, drawn.seed, drawn.top_p


@dataclass(frozen=True)
class Reading:
    """A tokenised text, and from where on its tokens' probabilities are asked.

    Attributes:
        context: token ids, at least one.
        continuation: token ids, at least one.
        served: as in :class:`Request`.
        cut: how many tokens did not fit before those of the context.
    """

    context: tuple[int, ...]
    continuation: tuple[int, ...]
    served: int = 0
    cut: int = 0

    @property
    def text(self) -> tuple[int, ...]:
        """All tokens."""
        return self.context + self.continuation

    @property
    def reserved(self) -> int:
        """Tokens that the text takes."""
        return len(self.context) + len(self.continuation)

    @property
    def order(self) -> tuple[object, ...]:
        """As in :class:`Request`."""
        return self.served, self.text, 1, len(self.context)

    def found(self, log_probability: float, *, is_greedy: bool, is_broken: bool) -> Likelihood:
        """Return the answer."""
        broken = is_broken or not math.isfinite(log_probability)
        return Likelihood(
            math.nan if broken else log_probability,
            is_greedy and not broken,
            len(self.context),
            len(self.continuation),
            broken,
            self.cut,
        )


Asked = Request | Reading
"""What can be asked of an engine."""

Found = Answer | Likelihood
"""What it answers: an :class:`~cycleqd_runner.chat.Answer` to a request, a likelihood to a reading."""


class Closed(TemporaryError):
    """The engine was closed before the request was answered."""


Answerer = Callable[[Sequence[Asked], Callable[[], bool]], Sequence[Found]]
"""Answers one batch of one kind, in its order.

Looks at the second argument now and then; true means: nobody waits any more.
"""


class Waiting(NamedTuple):
    """A request and who waits for its answer."""

    request: Asked
    answer: asyncio.Future[Found]


def split(requests: Sequence[Asked], max_tokens: int) -> list[list[int]]:
    """Divide requests into batches, a function of the set of requests alone.

    Requests of one kind and similar length share a batch, because a batch reserves rows x longest request. Returned
    are indices into ``requests``; a request longer than ``max_tokens`` makes a batch of its own. Within a batch the
    prompts are in lexicographic order, so that neighbours share the longest possible prefixes.
    """
    batches: list[list[int]] = []
    kinds = [isinstance(request, Reading) for request in requests]
    for index in sorted(range(len(requests)), key=lambda i: (kinds[i], requests[i].reserved, requests[i].order)):
        last = batches[-1] if batches and kinds[batches[-1][0]] == kinds[index] else []
        if not last or (len(last) + 1) * requests[index].reserved > max_tokens:
            batches.append([])
        batches[-1].append(index)
    return [sorted(batch, key=lambda i: requests[i].order) for batch in batches]


class Arrivals(ABC):
    """Requests that have come and were not taken yet. What is done with them is the subclass' business.

    Attributes:
        batches: how many batches were computed.
        largest: most requests that were answered together.
    """

    def __init__(self) -> None:
        self.batches = 0
        self.largest = 0
        self._waiting: list[Waiting] = []
        self._drain_task: asyncio.Task[None] | None = None
        self._closed = threading.Event()

    @overload
    async def submit(self, request: Request) -> Answer: ...
    @overload
    async def submit(self, request: Reading) -> Likelihood: ...

    async def submit(self, request: Asked) -> Found:
        """Wait for the answer to ``request``. Raises :class:`Closed` if there will be none."""
        if self._closed.is_set():
            raise Closed("The engine is closed; open it again and repeat the request.")
        future: asyncio.Future[Found] = asyncio.get_running_loop().create_future()
        self._waiting.append(Waiting(request, future))
        # A task of an event loop that has ended (one asyncio.run per child) is done, too.
        if self._drain_task is None or self._drain_task.done():
            self._drain_task = asyncio.create_task(self._drain())
        return await future

    @abstractmethod
    async def _drain(self) -> None:
        """Take everything that waits, when the event loop has come to rest."""


class Batcher(Arrivals):
    """Collects requests and answers them in batches, one batch at a time, in a thread of its own."""

    def __init__(self, answer: Answerer, *, max_batch_tokens: int) -> None:
        """``max_batch_tokens`` bounds rows x (longest prompt + longest answer) of a batch."""
        super().__init__()
        self._answer = answer
        self._max_batch_tokens = max_batch_tokens
        self._running: list[Waiting] = []
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="engine")

    async def _drain(self) -> None:
        while self._waiting:
            await rest(self._waiting)
            wave, self._waiting = [w for w in self._waiting if not w.answer.done()], []
            # One batch at a time: those that are left over share the next ones with whoever comes meanwhile.
            first, *later = split([w.request for w in wave], self._max_batch_tokens) or [[]]
            self._waiting = [wave[i] for i in sorted(chain.from_iterable(later))]
            await self._compute([wave[i] for i in first])

    async def _compute(self, batch: list[Waiting]) -> None:
        def unwanted() -> bool:
            return self._closed.is_set() or all(w.answer.done() for w in batch)

        if unwanted():
            fail(batch)
            return
        self.batches += 1
        self.largest = max(self.largest, len(batch))
        self._running = batch
        loop = asyncio.get_running_loop()
        try:
            answers = await loop.run_in_executor(self._thread, self._answer, [w.request for w in batch], unwanted)
        except Exception as error:  # noqa: BLE001
            # Not handled here: it goes to everybody who waits, and they decide about repeating.
            for waiting in batch:
                if not waiting.answer.done():
                    waiting.answer.set_exception(error)
        else:
            for waiting, answer in zip(batch, answers, strict=True):
                if not waiting.answer.done():
                    waiting.answer.set_result(answer)
        finally:
            self._running = []

    def run(self, function: Callable[[], Result]) -> Result:
        """Run ``function`` in the worker thread, between two batches, and wait for it.

        Raises :class:`Closed` when there is no worker thread any more.
        """
        if self._closed.is_set():
            raise Closed("The engine is closed; open it again.")
        return self._thread.submit(function).result()

    def close(self) -> None:
        """Refuse everybody who waits and stop the thread. May be repeated, from any thread."""
        self._closed.set()
        batch, self._waiting = self._running + self._waiting, []
        for waiting in batch:
            loop = waiting.answer.get_loop()
            if not loop.is_closed():
                loop.call_soon_threadsafe(fail, [waiting])
        self._thread.shutdown(wait=True, cancel_futures=False)


async def rest(waiting: Sequence[Waiting]) -> None:
    """Let the event loop turn until nobody joins ``waiting`` any more."""
    seen, quiet = len(waiting), 0
    while quiet < _QUIET_TURNS:
        await asyncio.sleep(0)
        quiet = quiet + 1 if len(waiting) == seen else 0
        seen = len(waiting)


def fail(batch: Sequence[Waiting]) -> None:
    """Tell everybody who waits, in their own event loop, that the engine was closed."""
    for waiting in batch:
        if not waiting.answer.done():
            waiting.answer.set_exception(Closed("The engine was closed while the request waited; repeat it later."))
