"""Who of the items asked the model what, while one program asks for all of them."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

from cycleqd.errors import TemporaryError
from cycleqd_runner.chat import Answer, ChatModel, Message
from cycleqd_runner.openai_api import ChatRequest, Refused
from cycleqd_runner.tasks.contract import Item, Setting

MOST_REQUESTS = 1000
"""Of a program, for each of its items: one that asks in an endless loop must end some day."""


@dataclass(eq=False)
class Asked:
    """One item, and what was said about it.

    Attributes:
        item, model, setting: as the evaluator was given them.
        messages, answer: the last conversation.
        prompt_tokens, answer_tokens: over all conversations.
        is_broken: whether the model's numbers broke in one of them.
        failures: conversations that the engine failed to answer, until it has answered them.
    """

    item: Item
    model: ChatModel
    setting: Setting
    messages: tuple[Message, ...] = ()
    answer: str = ""
    prompt_tokens: int = 0
    answer_tokens: int = 0
    is_broken: bool = False
    failures: dict[tuple[Message, ...], TemporaryError] = field(default_factory=dict)


class OwnTime:
    """Seconds that a program needs for itself: they stand still while one of its requests waits for the model."""

    def __init__(self) -> None:
        self._waiting = 0
        self._used = 0.0
        self._since = time.monotonic()

    @property
    def seconds(self) -> float:
        """What was used so far."""
        return self._used if self._waiting else self._used + time.monotonic() - self._since

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """Do not count what is done here."""
        self._used = self.seconds
        self._waiting += 1
        try:
            yield
        finally:
            self._waiting -= 1
            self._since = time.monotonic()


class Conversations:
    """Answers a program's requests, and remembers which items they were for.

    A request whose ``user`` is an item's id is that item's. Of all others nobody knows; their tokens are divided among
    the items, and numbers that break and engines that fail in them are everybody's.

    Args:
        items: by id, at least one; all of one individual.
        longest: tokens of an answer for which a request sets no limit.
        system_prompt: takes the place of the programs' own; empty: none; None: they keep theirs.
    """

    def __init__(self, items: Mapping[str, Asked], longest: int, system_prompt: str | None) -> None:
        first = next(iter(items.values()))
        self.own_time = OwnTime()
        self._items, self._longest, self._system_prompt = items, longest, system_prompt
        self._nobodys = Asked(first.item, first.model, first.setting)
        self._requests = 0
        self._times: Counter[tuple[Message, ...]] = Counter()

    async def answer(self, request: ChatRequest) -> Answer:
        """Answer one request. Raises Refused when there were too many, and what engines raise."""
        self._requests += 1
        if self._requests > MOST_REQUESTS * len(self._items):
            sentence = f"More than {MOST_REQUESTS} requests for each of {len(self._items)} items: the program must end."
            raise Refused(429, sentence, code="rate_limit_exceeded")
        asked = self._items.get(request.user or "", self._nobodys)
        messages = self._with_system_prompt(request.conversation)
        sampling = request.sampling(self._longest, self._seed(asked, messages))
        try:
            with self.own_time.waiting():
                answer = await asked.model.chat(messages, sampling)
        except TemporaryError as error:
            asked.failures[messages] = error
            raise
        asked.failures.pop(messages, None)
        asked.messages, asked.answer = messages, answer.text
        asked.prompt_tokens += answer.prompt_tokens
        asked.answer_tokens += answer.answer_tokens
        asked.is_broken |= answer.finish == "broken"
        return answer

    def is_broken(self, item: str) -> bool:
        """Whether the model's numbers broke in what may have been about this item."""
        return self._items[item].is_broken or self._nobodys.is_broken

    def failure(self, items: Iterable[str]) -> TemporaryError | None:
        """Return how the engine failed in what may have been about these items, unless it answered the same later."""
        asked = (*(self._items[item] for item in items), self._nobodys)
        return next((failure for one in asked for failure in one.failures.values()), None)

    def tokens(self, item: str) -> tuple[int, int]:
        """Return an item's prompt and answer tokens with its share of what was nobody's; the sums are exact."""
        own, place, n = self._items[item], list(self._items).index(item), len(self._items)
        prompt, answer = (
            (total // n) + (place < total % n) for total in (self._nobodys.prompt_tokens, self._nobodys.answer_tokens)
        )
        return own.prompt_tokens + prompt, own.answer_tokens + answer

    def _with_system_prompt(self, messages: tuple[Message, ...]) -> tuple[Message, ...]:
        if self._system_prompt is None:
            return messages
        system = (Message("system", self._system_prompt),) if self._system_prompt else ()
        return (*system, *(message for message in messages if message.role != "system"))

    def _seed(self, asked: Asked, messages: tuple[Message, ...]) -> int:
        """Return a seed that differs between repeats, and between requests of the same conversation."""
        self._times[messages] += 1
        return asked.setting.repeat * 2**32 + self._times[messages]
