"""The conversation between evaluators and engines. Engines implement :class:`ChatModel`; evaluators only know it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple, Protocol

Finish = Literal["stop", "length", "broken"]
"""How an answer ended; see :class:`Answer`."""


class Message(NamedTuple):
    """One turn of a conversation."""

    role: Literal["system", "user", "assistant"]
    content: str


@dataclass(frozen=True)
class Sampling:
    """How an answer is drawn.

    Attributes:
        max_tokens: longest answer, in tokens.
        temperature: 0 is greedy and deterministic.
        stop: the answer ends before the first of these strings.
        seed: of the draw, where temperature > 0. Evaluators leave it alone: whoever asks their items
            (:mod:`cycleqd_runner.tasks.run`) gives each answer its own.
        top_p: where temperature > 0: only the likeliest tokens that together have this probability are drawn from.
    """

    max_tokens: int
    temperature: float = 0.0
    stop: tuple[str, ...] = ()
    seed: int = 0
    top_p: float = 1.0


@dataclass(frozen=True)
class Answer:
    """What the model said.

    Attributes:
        text: the answer without stop strings and end-of-turn tokens.
        prompt_tokens, answer_tokens: counts, in tokens.
        finish: ``stop`` (ended by itself or by a stop string), ``length`` (cut at max_tokens) or
            ``broken`` (the logits were NaN or infinite, or overflow left nothing in them: not scored).
    """

    text: str
    prompt_tokens: int
    answer_tokens: int
    finish: Finish


class ChatModel(Protocol):
    """A model that can be talked to. Concurrent calls are answered in batches."""

    async def chat(self, messages: Sequence[Message], sampling: Sampling) -> Answer:
        """Answer a conversation. Raises :class:`~cycleqd.errors.TemporaryError` when the engine is down."""
        ...
