"""Asks a model the documents of a task of lm-evaluation-harness, without a chat template, as the harness does."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import NamedTuple

from cycleqd.api.tasks import LmEvalEvaluator
from cycleqd.records import BROKEN
from cycleqd_runner.chat import ChatModel, Message, TextModel, text_model
from cycleqd_runner.tasks.contract import Item, Setting, Verdict
from cycleqd_runner.tasks.lm_eval.harness import Continue, OpenTask, Read, Response, open_tasks


class _Reply(NamedTuple):
    """What the model said to one request.

    Attributes:
        response: in the harness's form.
        prompt: what it read.
        said: what it answered, or the continuation that it found likely.
        weight: the likeliest continuation is the one that is shown.
        read, wrote, cut: tokens of prompt and answer, and of the prompt's beginning that did not fit.
        is_broken: its numbers were NaN or infinite.
    """

    response: Response
    prompt: str
    said: str
    weight: float
    read: int
    wrote: int
    cut: int
    is_broken: bool


class LmEval:
    """The documents of one task's evaluation split, or of all tasks of a group, in the harness's order."""

    def __init__(self, spec: LmEvalEvaluator) -> None:
        """Open the tasks. Raises what :func:`~cycleqd_runner.tasks.lm_eval.harness.open_tasks` raises."""
        tasks = open_tasks(spec)
        self._tasks = {task.name: task for task in tasks}
        self._items = [
            Item(f"{task.name}-{document}", "any", {"task": task.name, "document": document}, task.group)
            for task in tasks
            for document in task.documents
        ]

    def items(self) -> Sequence[Item]:
        """Return all items, task by task, in the order of their documents."""
        return self._items

    async def judge(self, item: Item, model: ChatModel, setting: Setting) -> Verdict:  # noqa: ARG002 - the contract
        """Put all of a document's requests to the model at once, and let the task score the responses.

        Raises:
            TemporaryError: the engine failed; the item was not judged.
            UnsupportedHere: the model only answers conversations.
            BadManifest: the metric is not in [0, 1].
        """
        task, document = self._tasks[str(item.payload["task"])], int(str(item.payload["document"]))
        reader, requests = text_model(model), task.requests(document)
        replies = await asyncio.gather(*(_ask(reader, request, task) for request in requests))
        everything = [reply for group in replies for reply in group]
        score: float | None = None
        reason: str | None = BROKEN
        if not any(reply.is_broken for reply in everything):
            score, reason = task.score(document, [[reply.response for reply in group] for group in replies])
        if cut := max(reply.cut for reply in everything):
            lost = f"the first {cut} tokens of the prompt did not fit"
            reason = f"{reason}; {lost}" if reason else lost
        shown = max(everything, key=lambda reply: (reply.prompt != "", reply.weight))
        messages = (Message("user", shown.prompt),)
        read, wrote = sum(reply.read for reply in everything), sum(reply.wrote for reply in everything)
        return Verdict(score, reason, messages, shown.said, read, wrote)


async def _ask(model: TextModel, request: Read | Continue, task: OpenTask) -> list[_Reply]:
    """Return one reply for each of the task's own repeats."""
    if isinstance(request, Read):
        found = await model.log_likelihood(request.context, request.continuation)
        reply = _Reply(
            response=(found.log_probability, found.is_greedy),
            prompt=request.context,
            said=request.continuation,
            weight=found.log_probability,
            read=found.context_tokens + found.continuation_tokens,
            wrote=0,
            cut=found.cut_tokens,
            is_broken=found.is_broken,
        )
        return [reply] * task.repeats
    draws = task.repeats if request.sampling.temperature > 0 else 1
    answers = await asyncio.gather(*(model.complete(request.prompt, request.sampling) for _ in range(draws)))
    replies = [
        _Reply(
            response=answer.text,
            prompt=request.prompt,
            said=answer.text,
            weight=0.0,
            read=answer.prompt_tokens,
            wrote=answer.answer_tokens,
            cut=answer.cut_tokens,
            is_broken=answer.finish == "broken",
        )
        for answer in answers
    ]
    return replies * (task.repeats // draws)
