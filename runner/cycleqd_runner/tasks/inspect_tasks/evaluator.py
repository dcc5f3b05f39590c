"""The Inspect evaluator: a task's samples are its items; its solvers ask, and one of its scorers judges."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from inspect_ai import Task
from inspect_ai.dataset import Sample

from cycleqd.api.tasks import InspectEvaluator
from cycleqd.errors import BadData
from cycleqd.records import BROKEN
from cycleqd_runner.chat import ChatModel
from cycleqd_runner.tasks.contract import Item, Setting, Verdict
from cycleqd_runner.tasks.inspect_tasks.episode import begin, clean_up, score, solve
from cycleqd_runner.tasks.inspect_tasks.opening import described
from cycleqd_runner.tasks.inspect_tasks.provider import Broken, NotAskable, Talk, model_of
from cycleqd_runner.tasks.inspect_tasks.scores import Scored, scored, scorer_of


class Inspect:
    """Asks and judges as a task of inspect-ai does.

    Args:
        spec: longest answer and system prompt.
        task: that can be run here (:func:`~cycleqd_runner.tasks.inspect_tasks.opening.open_task`).

    Raises:
        BadData: two samples have the same id, or no scorer has the name of the headline metric.
    """

    def __init__(self, spec: InspectEvaluator, task: Task) -> None:
        self._spec = spec
        self._task = task
        self._scorer = scorer_of(task, f"The inspect task {spec.task}")
        self._samples: dict[str, Sample] = {}
        for place, sample in enumerate(task.dataset, start=1):
            name = _name(place, sample)
            if name in self._samples:
                raise BadData(f"The inspect task {spec.task} has two samples of the id {name}: give each its own.")
            self._samples[name] = sample
        self._items = [Item(name, "any", {"sample": place}) for place, name in enumerate(self._samples, start=1)]

    def items(self) -> Sequence[Item]:
        """Return an item for each sample, in the dataset's order."""
        return self._items

    async def judge(self, item: Item, model: ChatModel, setting: Setting) -> Verdict:
        """Solve and score one sample. What the task's own code raises leaves it without a score.

        Raises:
            TemporaryError: the engine failed; the sample was not judged.
            BadData: the scorer's value is no score.
        """
        talk = Talk(model, f"inspect {item.id} {setting.repeat}", self._spec.max_tokens, self._spec.system_prompt)
        outcome = await self._outcome(item, talk, setting.repeat + 1)
        return Verdict(*outcome, talk.messages, talk.answer, talk.prompt_tokens, talk.answer_tokens)

    async def _outcome(self, item: Item, talk: Talk, epoch: int) -> Scored:
        """Play a sample to its score. Raises what the engine raised, whatever the task made of it."""
        individual = model_of(talk)
        state = begin(self._task, self._samples[item.id], individual, epoch)
        try:
            state = await solve(self._task, state, individual)
            talk.solving = False
            result = await score(self._task, self._scorer, state)
        except Exception as error:  # noqa: BLE001 - users' code may raise anything
            if talk.failure is None:
                return None, f"the task's code raised {described(error)}"
        finally:
            await clean_up(self._task, state)
        if isinstance(talk.failure, NotAskable):
            return None, f"the task {talk.failure}"
        if isinstance(talk.failure, Broken):
            return None, BROKEN
        if talk.failure is not None:
            raise talk.failure
        return scored(result, f"{self._spec.task}, sample {item.id}")


def _name(place: int, sample: Sample) -> str:
    """Return the item's id: the sample's own, or one of its place and content."""
    if sample.id is not None:
        return str(sample.id)
    content = sample.model_dump_json(include={"input", "choices", "target"}, exclude={"input": {"__all__": {"id"}}})
    return f"{place}-{hashlib.sha256(content.encode()).hexdigest()[:8]}"
