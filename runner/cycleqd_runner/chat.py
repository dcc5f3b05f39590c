"""The conversation between evaluators and engines. Engines implement :class:`ChatModel`; evaluators only know it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple, Protocol, runtime_checkable

from cycleqd.errors import UnsupportedHere

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
        cut_tokens: tokens at the beginning of a prompt that did not fit and were left out; 0 in conversations.
    """

    text: str
    prompt_tokens: int
    answer_tokens: int
    finish: Finish
    cut_tokens: int = 0


@dataclass(frozen=True)
class Likelihood:
    """How likely a model finds a continuation.

    Attributes:
        log_probability: sum of the natural logarithms of its tokens' probabilities, at most 0; NaN where broken.
        is_greedy: whether no other token is more likely at any of its places.
        context_tokens, continuation_tokens: counts, in tokens.
        is_broken: the logits were NaN or infinite, or overflow left nothing in them: not scored.
        cut_tokens: tokens at the beginning of the context that did not fit and were left out.
    """

    log_probability: float
    is_greedy: bool
    context_tokens: int
    continuation_tokens: int
    is_broken: bool = False
    cut_tokens: int = 0


class ChatModel(Protocol):
    """A model that can be talked to. Concurrent calls are answered in batches."""

    async def chat(self, messages: Sequence[Message], sampling: Sampling) -> Answer:
        """Answer a conversation. Raises :class:`~cycleqd.errors.TemporaryError` when the engine is down."""
        ...


@runtime_checkable
class TextModel(ChatModel, Protocol):
    """A model that also reads and continues plain text, without a chat template. All engines do.

    Texts become tokens as in lm-evaluation-harness: with what the tokenizer puts at their beginning, and what does not
    fit into the context loses its beginning.
    """

    async def complete(self, prompt: str, sampling: Sampling) -> Answer:
        """Go on with a text. Raises :class:`~cycleqd.errors.TemporaryError` when the engine is down."""
        ...

    async def log_likelihood(self, context: str, continuation: str) -> Likelihood:
        """Say how likely ``continuation`` is after ``context``; an empty context is the beginning of a text.

        Raises:
            ~cycleqd.errors.BadData: the continuation has no tokens, or does not fit into the context.
            ~cycleqd.errors.TemporaryError: the engine is down.
        """
        ...


def text_model(model: ChatModel) -> TextModel:
    """Return ``model``, which has to read plain text. Raises :class:`~cycleqd.errors.UnsupportedHere` if it cannot."""
    if not isinstance(model, TextModel):
        raise UnsupportedHere(
            f"{type(model).__name__} answers conversations only, and this evaluator also completes plain text: use one "
            "of the engines."
        )
    return model
