"""System prompts and limits of the three executable skills' questions; every child reads them once per item."""

from __future__ import annotations

from dataclasses import dataclass

from cycleqd.api.tasks import EvaluatorBase
from cycleqd_runner.chat import Message, Sampling

SQL_PROMPT = "Answer with SQL."
SHELL_PROMPT = "Answer with a bash command."
PYTHON_PROMPT = "Answer with Python."
PAPER_PYTHON_PROMPT = (
    "You are an exceptionally intelligent coding assistant that consistently delivers accurate and reliable responses "
    "to user instructions."
)
"""What the paper's authors ask MBPP+ with (SakanaAI/CycleQD)."""

SHORT_ANSWER = 48
"""Default longest answer to a generated item, in tokens: the longest gold answer has 38."""

LONG_ANSWER = 512
"""Default longest answer to an item from a file, in tokens."""


@dataclass(frozen=True)
class Asking:
    """How a question is put.

    Attributes:
        chosen: the manifest's system prompt, which goes before an item's own; empty sends none, None: it has no word.
        default: the system prompt of items that have none of their own.
        sampling: how the answer is drawn, the longest one, and the strings that end it.
    """

    chosen: str | None
    default: str
    sampling: Sampling

    def conversation(self, prompt: str, own: str = "") -> tuple[Message, ...]:
        """Return the messages that ask ``prompt`` of an item with this system prompt of its own."""
        text = (own or self.default) if self.chosen is None else self.chosen
        system = (Message("system", text),) if text else ()
        return (*system, Message("user", prompt))


def asking(spec: EvaluatorBase, system: str, max_tokens: int, stop: tuple[str, ...]) -> Asking:
    """Return how to ask: the evaluator's defaults unless the manifest says otherwise."""
    return Asking(spec.system_prompt, system, sampling_of(spec, max_tokens, stop))


def sampling_of(spec: EvaluatorBase, max_tokens: int, stop: tuple[str, ...] = ()) -> Sampling:
    """Return how an evaluator's answers are drawn; their seeds come when they are asked for.

    Args:
        spec: the evaluator's part of the manifest.
        max_tokens: longest answer, in tokens, unless the manifest says otherwise.
        stop: strings that end an answer.
    """
    return Sampling(spec.max_tokens or max_tokens, spec.temperature, stop, top_p=spec.top_p)
