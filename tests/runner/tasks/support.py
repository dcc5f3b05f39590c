"""Models that say what a test tells them, and the real sandbox. No language model is loaded here."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from typing import TypeVar

import pytest

from cycleqd.api.tasks import SandboxLimits
from cycleqd.errors import UnsupportedHere
from cycleqd_runner.chat import Answer, Message, Sampling
from cycleqd_runner.sandbox import Completed, Execution, Machine, MachineSpec, Sandbox, open_sandbox
from cycleqd_runner.tasks.contract import Evaluator, Item, Setting, Verdict

T = TypeVar("T")

LIMITS = SandboxLimits(timeout_seconds=2)


class Scripted:
    """Answers by the last message; remembers what it was asked, in order."""

    def __init__(self, answers: Mapping[str, str] | str, finish: str = "stop") -> None:
        self.answers = answers
        self.finish = finish
        self.asked: list[tuple[tuple[Message, ...], Sampling]] = []

    async def chat(self, messages: Sequence[Message], sampling: Sampling) -> Answer:
        self.asked.append((tuple(messages), sampling))
        text = self.answers if isinstance(self.answers, str) else self.answers[messages[-1].content]
        return Answer(text, prompt_tokens=7, answer_tokens=3, finish=self.finish)  # type: ignore[arg-type]


class NoSandbox:
    """A sandbox that must not be needed."""

    name = "none"

    async def run(self, execution: Execution, limits: SandboxLimits) -> Completed:
        raise AssertionError("nothing should have been run")

    def machine(self, spec: MachineSpec, limits: SandboxLimits) -> AbstractAsyncContextManager[Machine]:
        raise AssertionError("no machine should have been needed")

    def require_machines(self) -> None:
        pass

    async def close(self) -> None:
        pass


def in_sandbox(work: Callable[[Sandbox], Awaitable[T]]) -> T:
    """Run ``work`` with a real sandbox, or skip where this machine has none."""

    async def main() -> T:
        async with open_sandbox() as sandbox:
            return await work(sandbox)

    try:
        return asyncio.run(main())
    except UnsupportedHere as error:
        pytest.skip(f"no sandbox: {error}")


def judge_all(evaluator: Evaluator, items: Sequence[Item], answer_of: Callable[[Item], str]) -> list[Verdict]:
    """Judge items with one answer each, in a real sandbox."""

    async def work(sandbox: Sandbox) -> list[Verdict]:
        return await asyncio.gather(
            *(evaluator.judge(item, Scripted(answer_of(item)), Setting(sandbox, LIMITS)) for item in items)
        )

    return in_sandbox(work)


def judge_answers(
    evaluator: Evaluator, answers: Mapping[str, str], limits: SandboxLimits = LIMITS
) -> dict[str, Verdict]:
    """Judge several answers, by name, to the evaluator's only item."""
    (item,) = evaluator.items()

    async def work(sandbox: Sandbox) -> list[Verdict]:
        return await asyncio.gather(
            *(evaluator.judge(item, Scripted(answer), Setting(sandbox, limits)) for answer in answers.values())
        )

    return dict(zip(answers, in_sandbox(work), strict=True))
