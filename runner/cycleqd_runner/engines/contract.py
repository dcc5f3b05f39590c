"""What an engine is: a chat model whose weights can be replaced while it stays open.

Which engines exist is the table in the package's ``__init__``; how weights of a child are computed is not known here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, TypeVar

import torch
from torch import Tensor

from cycleqd_runner.chat import Answer, Message, Sampling, TextModel

if TYPE_CHECKING:
    from transformers import PreTrainedModel  # importing it takes seconds

    from cycleqd_runner.individual import Individual

Result = TypeVar("Result")


@dataclass(frozen=True)
class Lent:
    """An engine's model for a while, to compute gradients with.

    Attributes:
        model: its live parameters; whoever changes them loads them again before the engine is asked. It runs with
            the attention of :mod:`cycleqd_runner.engines.attention`.
        complete: returns the tokens of a conversation, and of the assistant's answer with the end of its turn.
        limit: longest conversation with its answer, in tokens.
    """

    model: PreTrainedModel
    complete: Callable[[Sequence[Message], str], tuple[tuple[int, ...], tuple[int, ...]]]
    limit: int


class Engine(TextModel, Protocol):
    """One model in memory that answers conversations and reads texts. Used from one event loop at a time.

    Greedy answers are a function of the weights and of the *set* of requests that wait together: the order of
    submission, repetition and a :meth:`load` of the same weights change nothing. What may change an answer is the
    company it is computed in, because kernels round differently for different batch shapes (bfloat16 more than
    float32). Whoever needs repeatable answers submits all requests at once (``asyncio.gather``): requests made
    before the event loop comes to rest are batched together.

    Numbers that break: weights may hold NaN, infinities, or values that overflow on the way. Loading them is no error,
    and asking raises nothing. An answer ends, with ``finish`` ``broken``, at the first step whose highest logit is not
    finite, before a token is chosen there; other answers of the batch go on. A likelihood is broken if that happens at
    one of the continuation's tokens. An engine that sees overflow in another
    way, such as logits that are all 0, says ``broken``, too. Whoever asks never scores such an answer
    (:mod:`cycleqd_runner.tasks.run`).
    """

    name: str
    """The engine's type in the manifest."""
    packages: Mapping[str, str]
    """Versions of the packages that compute, beside torch and transformers."""
    dtype: torch.dtype
    """The arithmetic."""

    async def chat(self, messages: Sequence[Message], sampling: Sampling) -> Answer:
        """Answer a conversation.

        A conversation that its assistant turns made longer than the context gets an empty answer with ``finish``
        ``length``, as if the model had been cut off.

        Raises:
            ~cycleqd.errors.BadData: the conversation does not fit into the context before the model said anything.
            ~cycleqd.errors.BadModel: the tokenizer's chat template refuses the conversation.
            ~cycleqd.errors.TemporaryError: the engine is closed.
            ~cycleqd.errors.OutOfMemory: what is answered at the same time does not fit.
        """
        ...

    def load(self, tensors: Iterable[tuple[str, Tensor]]) -> None:
        """Replace parameters in place, cast to the engine's dtype; parameters that are not named keep their values.

        Waits for the batch that is being computed; requests still waiting are answered by the new weights. Tied
        parameters stay tied and may come under any of their names. A ``Sequence`` is checked as a whole before
        anything is changed. A stream cannot be: after a failure in its middle the engine refuses to answer until
        the parameters that it changed have been loaded again.

        Raises:
            ~cycleqd.errors.BadModel: unknown name, other shape, a name twice, or two values for tied parameters.
            ~cycleqd.errors.OutOfMemory: what it takes beside the model does not fit.
        """
        ...

    def serve(self, individuals: Sequence[Individual]) -> Sequence[TextModel]:
        """Hold individuals at the same time; the i-th result answers as the i-th of them until the next load.

        :meth:`chat` itself answers as the first. More than one can be held by engines of the manifest's
        ``concurrentChildren``, and only if they are LoRA adapters.

        Raises:
            ~cycleqd.errors.UnsupportedHere: more individuals than this engine can hold.
        """
        ...

    def checksum(self) -> str:
        """Return the SHA-256 (hex) of names, shapes and values of all live parameters."""
        ...

    def lend(self, work: Callable[[Lent], Result], weights: Iterable[tuple[str, Tensor]] = ()) -> Result:
        """Call ``work`` with a model that can be differentiated, while nothing is asked, and return what it returns.

        Args:
            work: gets the model.
            weights: replace parameters of that model first, as :meth:`load` does. Who asks the engine next loads an
                individual first, because the model may be the one that answers.
        """
        ...

    def close(self) -> None:
        """Stop. Requests that wait or run end with :class:`~cycleqd.errors.TemporaryError`. May be repeated."""
        ...
