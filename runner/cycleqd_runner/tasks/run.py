"""One individual's evaluation on one split of one task: all items at once, failures of the infrastructure retried.

An answer that the engine calls ``broken`` leaves its item without a score, whatever the evaluator makes of it.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import NamedTuple

from tenacity import AsyncRetrying, retry_if_exception_type, stop_after_attempt, wait_exponential

from cycleqd.api.tasks import SandboxLimits
from cycleqd.errors import TemporaryError
from cycleqd.records import BROKEN, ItemOutcome, Split, TaskEvaluation, Transcript, merge_outcomes
from cycleqd_runner.chat import Answer, ChatModel, Likelihood, Message, Sampling, text_model
from cycleqd_runner.sandbox import Sandbox
from cycleqd_runner.tasks.contract import Evaluator, Item, Setting, Verdict
from cycleqd_runner.tasks.executable import one_line

TRIES = 3
"""How often one item is tried before it counts as not scored."""

FIRST_WAIT_SECONDS = 1.0
"""Wait before the second try; it doubles."""


class Asked(NamedTuple):
    """One repeat of one item."""

    outcome: ItemOutcome
    transcript: Transcript | None


@dataclass
class _Heard:
    """A model that remembers whether one of its answers was broken."""

    model: ChatModel
    is_broken: bool = False

    async def chat(self, messages: Sequence[Message], sampling: Sampling) -> Answer:
        answer = await self.model.chat(messages, sampling)
        self.is_broken |= answer.finish == "broken"
        return answer

    async def complete(self, prompt: str, sampling: Sampling) -> Answer:
        answer = await text_model(self.model).complete(prompt, sampling)
        self.is_broken |= answer.finish == "broken"
        return answer

    async def log_likelihood(self, context: str, continuation: str) -> Likelihood:
        likelihood = await text_model(self.model).log_likelihood(context, continuation)
        self.is_broken |= likelihood.is_broken
        return likelihood


async def evaluate(
    evaluator: Evaluator,
    items: Sequence[Item],
    model: ChatModel,
    sandbox: Sandbox,
    limits: SandboxLimits,
    *,
    repeats: int,
    split: Split,
    task_name: str,
    first_wait_seconds: float = FIRST_WAIT_SECONDS,
) -> tuple[TaskEvaluation, list[Transcript]]:
    """Ask all items concurrently and judge the answers.

    Requests reach the model in item order, whatever the timing, so that its batches are repeatable.

    Args:
        evaluator: whose items these are.
        items: in the split's order.
        model: the individual.
        sandbox: where answers run.
        limits: of one execution.
        repeats: how often each item is asked; its score is the mean.
        split: which split the items are, for the record.
        task_name: the task's name, for the record.
        first_wait_seconds: before an item is tried again.

    Returns:
        The outcomes in item order, and the transcripts of what scored 1: one an item.

    Raises:
        PermanentError: an item is broken; the other items are given up.
    """

    async def judge(item: Item, repeat: int) -> Verdict:
        heard = _Heard(model)
        verdict = await evaluator.judge(item, heard, Setting(sandbox, limits, repeat))
        return replace(verdict, score=None, reason=BROKEN) if heard.is_broken else verdict

    async def ask(item: Item, repeat: int) -> Asked:
        return await _ask(item, partial(judge, item, repeat), task_name, first_wait_seconds)

    jobs = [asyncio.ensure_future(ask(item, repeat)) for item in items for repeat in range(repeats)]
    try:
        asked = await asyncio.gather(*jobs)
    except BaseException:
        for job in jobs:
            job.cancel()
        await asyncio.gather(*jobs, return_exceptions=True)
        raise
    by_item = [asked[start : start + repeats] for start in range(0, len(asked), repeats)]
    outcomes = tuple(merge_outcomes(one.outcome for one in group) for group in by_item)
    successes = (next((one.transcript for one in group if one.transcript), None) for group in by_item)
    transcripts = [transcript for transcript in successes if transcript is not None]
    return TaskEvaluation(task=task_name, split=split, outcomes=outcomes), transcripts


async def _ask(item: Item, judge: Callable[[], Awaitable[Verdict]], task_name: str, first_wait_seconds: float) -> Asked:
    started = time.monotonic()
    try:
        verdict: Verdict = await AsyncRetrying(
            retry=retry_if_exception_type(TemporaryError),
            stop=stop_after_attempt(TRIES),
            wait=wait_exponential(multiplier=first_wait_seconds),
            reraise=True,
        )(judge)
    except TemporaryError as error:
        reason = one_line(f"not scored after {TRIES} tries: {error}")
        seconds = time.monotonic() - started
        return Asked(ItemOutcome(item=item.id, score=None, group=item.group, reason=reason, seconds=seconds), None)
    outcome = ItemOutcome(
        item=item.id,
        score=verdict.score,
        group=item.group,
        reason=verdict.reason,
        prompt_sha256=prompt_sha256(verdict.messages),
        prompt_tokens=verdict.prompt_tokens,
        answer_tokens=verdict.answer_tokens,
        seconds=time.monotonic() - started,
    )
    return Asked(outcome, _transcript(item, verdict, task_name) if verdict.score == 1.0 else None)


def prompt_sha256(messages: Sequence[Message]) -> str:
    """Return the hash that says whether two runs asked the same."""
    said = json.dumps([[message.role, message.content] for message in messages], ensure_ascii=True)
    return hashlib.sha256(said.encode()).hexdigest()


def _transcript(item: Item, verdict: Verdict, task_name: str) -> Transcript:
    messages = tuple({"role": message.role, "content": message.content} for message in verdict.messages)
    return Transcript(task=task_name, item=item.id, messages=messages, answer=verdict.answer, score=1.0)
