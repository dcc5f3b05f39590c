"""The evaluator of all skills that are judged by running the answer: one question, one answer, one execution.

How an answer is run and compared is the ``check`` of the skill's own module.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar

from cycleqd.api.tasks import ProceduralEvaluator, SandboxLimits
from cycleqd.records import BROKEN
from cycleqd_runner.chat import ChatModel
from cycleqd_runner.sandbox import Sandbox
from cycleqd_runner.tasks.contract import Item, Setting, Verdict
from cycleqd_runner.tasks.generate.pools import Pool
from cycleqd_runner.tasks.items import Question, items_of, read_lines
from cycleqd_runner.tasks.prompts import LONG_ANSWER, SHORT_ANSWER, Asking, asking

Q = TypeVar("Q", bound=Question)

Judgement = tuple[float, str | None]
"""Score in [0, 1] and what was wrong."""

Check = Callable[[Q, str, Sandbox, SandboxLimits], Awaitable[Judgement]]
"""Runs an answer's text. Raises TemporaryError if the sandbox failed, BadData if the item itself is broken."""


class ExecutableEvaluator(Generic[Q]):
    """Asks each question once and runs the answer in a fresh sandbox.

    Args:
        kind: the model that items' payloads are read back with.
        questions: the items, in a fixed order.
        asking: how they are asked.
        check: runs and compares an answer.
    """

    def __init__(self, kind: type[Q], questions: Sequence[Q], asking: Asking, check: Check[Q]) -> None:
        self.asking = asking
        self._kind = kind
        self._items = items_of(questions)
        self._check = check

    def items(self) -> Sequence[Item]:
        """Return all items in their fixed order."""
        return self._items

    async def judge(self, item: Item, model: ChatModel, setting: Setting) -> Verdict:
        """Ask and judge one item.

        Raises:
            TemporaryError: engine or sandbox failed; the item was not judged.
            BadData: the item's own gold answer or setup does not run.
        """
        question = self._kind.model_validate(item.payload)
        messages = self.asking.conversation(question.prompt, question.system_prompt)
        answer = await model.chat(messages, self.asking.sampling)
        score: float | None
        reason: str | None
        if answer.finish == "broken":
            score, reason = None, BROKEN  # nothing is there to be run
        else:
            score, reason = await self._check(question, answer.text, setting.sandbox, setting.limits)
        return Verdict(score, reason, messages, answer.text, answer.prompt_tokens, answer.answer_tokens)


def build_evaluator(
    spec: ProceduralEvaluator,
    data: bytes | None,
    *,
    kind: type[Q],
    generate: Callable[[int, Pool], Sequence[Q]],
    parse: Callable[[dict[str, object]], Q],
    prompt: str,
    stop: tuple[str, ...],
    check: Check[Q],
) -> ExecutableEvaluator[Q]:
    """Build the evaluator of one skill.

    Args:
        spec: its part of the manifest.
        data: content of ``spec.data``; None generates items from ``spec.items_seed``.
        kind: of its items.
        generate: makes items of a seed and pool.
        parse: reads one line of an items file.
        prompt: the skill's system prompt.
        stop: strings that end an answer to a generated item; users' own items may need long answers.
        check: runs and compares an answer.

    Raises:
        BadData: the items file is broken.
    """
    if data is None:
        questions = [*generate(spec.items_seed, "seen"), *generate(spec.items_seed, "unseen")]
        return ExecutableEvaluator(kind, questions, asking(spec, prompt, SHORT_ANSWER, stop), check)
    questions = read_lines(data, str(spec.data), parse)
    return ExecutableEvaluator(kind, questions, asking(spec, prompt, LONG_ANSWER, ()), check)


def one_line(text: str, limit: int = 200) -> str:
    """Return text as one line of at most ``limit`` characters, for reasons in records."""
    flat = " ".join(text.split())
    return flat if len(flat) <= limit else flat[: limit - 1] + "…"
