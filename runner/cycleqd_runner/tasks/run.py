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
from itertools import islice
from typing import Any, NamedTuple

from tenacity import AsyncRetrying, retry_if_exception_type, stop_after_attempt, wait_exponential

from cycleqd.api.run import Transcripts
from cycleqd.api.tasks import SandboxLimits
from cycleqd.errors import TemporaryError
from cycleqd.records import BROKEN, ItemOutcome, Split, TaskEvaluation, Transcript, merge_outcomes
from cycleqd.rng import answer_seed
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
    transcript: Transcript


_NOTHING_SAID = Verdict(None, None, (), "", 0, 0)


@dataclass
class _Heard:
    """The model as one try at one repeat meets it: each answer gets its seed, and what was said is remembered.

    Attributes:
        model: who answers.
        seed_of: the seed of the n-th answer.
        turns: questions so far.
        is_broken: whether one of the answers was.
        said: the last conversation as far as it came, and the tokens of all; without a score.
    """

    model: ChatModel
    seed_of: Callable[[int], int]
    turns: int = 0
    is_broken: bool = False
    said: Verdict = _NOTHING_SAID

    async def chat(self, messages: Sequence[Message], sampling: Sampling) -> Answer:
        self.said = replace(self.said, messages=tuple(messages), answer="")
        return self._heard(await self.model.chat(messages, self._seeded(sampling)))

    async def complete(self, prompt: str, sampling: Sampling) -> Answer:
        self.said = replace(self.said, messages=(Message("user", prompt),), answer="")
        return self._heard(await text_model(self.model).complete(prompt, self._seeded(sampling)))

    async def log_likelihood(self, context: str, continuation: str) -> Likelihood:
        likelihood = await text_model(self.model).log_likelihood(context, continuation)
        self.is_broken |= likelihood.is_broken
        return likelihood

    def _seeded(self, sampling: Sampling) -> Sampling:
        turn, self.turns = self.turns, self.turns + 1
        return replace(sampling, seed=self.seed_of(turn)) if sampling.temperature > 0 else sampling

    def _heard(self, answer: Answer) -> Answer:
        self.is_broken |= answer.finish == "broken"
        self.said = replace(
            self.said,
            answer=answer.text,
            prompt_tokens=self.said.prompt_tokens + answer.prompt_tokens,
            answer_tokens=self.said.answer_tokens + answer.answer_tokens,
        )
        return answer


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
    seed: int = 0,
    keep: Transcripts = "Successes",
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
        seed: of the run; with task, item, repeat and turn it decides what is drawn where the temperature is above 0.
        keep: which conversations to return.
        first_wait_seconds: before an item is tried again.

    Returns:
        The outcomes and the transcripts, both in item order: one of each item that scored 1, or of all repeats.

    Raises:
        PermanentError: an item is broken; the other items are given up.
    """
    evaluation = object()

    async def ask(item: Item, repeat: int) -> Asked:
        tries: list[_Heard] = []

        async def judge() -> Verdict:
            heard = _Heard(model, partial(answer_seed, seed, task_name, item.id, repeat))
            tries.append(heard)
            verdict = await evaluator.judge(item, heard, Setting(sandbox, limits, repeat, evaluation))
            return replace(verdict, score=None, reason=BROKEN) if heard.is_broken else verdict

        started = time.monotonic()
        try:
            verdict = await _tried(judge, first_wait_seconds)
        except TemporaryError as error:
            reason = one_line(f"not scored after {TRIES} tries: {error}")
            verdict = replace(tries[-1].said, reason=reason)
        return _asked(item, repeat, verdict, task_name, time.monotonic() - started)

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
    most = None if keep == "All" else 1
    wanted = ((one.transcript for one in group if keep == "All" or one.transcript.is_success) for group in by_item)
    transcripts = [transcript for group in wanted for transcript in islice(group, most)]
    return TaskEvaluation(task=task_name, split=split, outcomes=outcomes), transcripts


async def _tried(judge: Callable[[], Awaitable[Verdict]], first_wait_seconds: float) -> Verdict:
    """Judge, again if the infrastructure fails. Raises TemporaryError: it failed :data:`TRIES` times."""
    verdict: Verdict = await AsyncRetrying(
        retry=retry_if_exception_type(TemporaryError),
        stop=stop_after_attempt(TRIES),
        wait=wait_exponential(multiplier=first_wait_seconds),
        reraise=True,
    )(judge)
    return verdict


def _asked(item: Item, repeat: int, verdict: Verdict, task_name: str, seconds: float) -> Asked:
    found: dict[str, Any] = {
        "item": item.id,
        "score": verdict.score,
        "group": item.group,
        "reason": verdict.reason and _storable(verdict.reason),
        "prompt_tokens": verdict.prompt_tokens,
        "answer_tokens": verdict.answer_tokens,
        "seconds": seconds,
    }
    messages = tuple({"role": said.role, "content": _storable(said.content)} for said in verdict.messages)
    return Asked(
        ItemOutcome(prompt_sha256=prompt_sha256(verdict.messages) if messages else "", **found),
        Transcript(task=task_name, repeat=repeat, messages=messages, answer=_storable(verdict.answer), **found),
    )


def _storable(text: str) -> str:
    """Return text without halves of surrogate pairs: a program may say such, and no store takes them."""
    return text.encode(errors="replace").decode()


def prompt_sha256(messages: Sequence[Message]) -> str:
    """Return the hash that says whether two runs asked the same."""
    said = json.dumps([[message.role, message.content] for message in messages], ensure_ascii=True)
    return hashlib.sha256(said.encode()).hexdigest()
