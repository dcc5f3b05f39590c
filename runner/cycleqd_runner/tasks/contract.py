"""What a task's evaluator is: items, and one verdict per item. Which evaluators exist is in the registry."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol

from cycleqd.api.tasks import SandboxLimits
from cycleqd_runner.chat import ChatModel, Message
from cycleqd_runner.sandbox import Sandbox

Pool = Literal["seen", "unseen", "any"]


@dataclass(frozen=True)
class Item:
    """One question.

    Attributes:
        id: unique within the task, stable across machines and versions of the same data.
        pool: ``unseen`` items go to the test split only, ``seen`` ones to search and validation only (procedural
            items, whose test split comes from schemas that no expert was trained on); ``any`` may go anywhere.
        payload: what the evaluator needs to ask and to judge; JSON-able.
        group: the kind of item, whose score the report tells apart; empty: its task has none.
    """

    id: str
    pool: Pool
    payload: dict[str, object] = field(hash=False)
    group: str = ""


@dataclass(frozen=True)
class Verdict:
    """How one item went.

    Attributes:
        score: in [0, 1], or None: could not be scored for reasons that are not the model's.
        reason: why there is no score, or what was wrong; one line.
        messages: the prompt of the (last) question.
        answer: the model's last answer.
        prompt_tokens, answer_tokens: over all turns.
    """

    score: float | None
    reason: str | None
    messages: tuple[Message, ...]
    answer: str
    prompt_tokens: int
    answer_tokens: int


@dataclass(frozen=True)
class Setting:
    """What an evaluator has at hand when it asks and judges one item.

    Attributes:
        sandbox: where model-written code runs.
        limits: of one execution there.
        repeat: which time the item is asked: 0, 1, ... Whoever draws anything draws by item and repeat.
        evaluation: one object for all that is asked together: items of one split and task, of one individual.
    """

    sandbox: Sandbox
    limits: SandboxLimits
    repeat: int = 0
    evaluation: object = field(default_factory=object, compare=False)


class Evaluator(Protocol):
    """Asks a model the items of one task and judges its answers. One for the life of a worker."""

    def items(self) -> Sequence[Item]:
        """Return all items, in a fixed order, distinct ids. Raises :class:`~cycleqd.errors.BadData`."""
        ...

    async def judge(self, item: Item, model: ChatModel, setting: Setting) -> Verdict:
        """Ask and judge one item. Raises :class:`~cycleqd.errors.TemporaryError` if it could not be judged."""
        ...
