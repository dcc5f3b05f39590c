"""The AgentBenchOS evaluator: plays each item as an episode of turns in a fresh machine, and judges how it ended."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from cycleqd.api.tasks import AgentBenchOsEvaluator
from cycleqd.errors import Unscored
from cycleqd.records import BROKEN
from cycleqd_runner.chat import Answer, ChatModel, Message, Sampling
from cycleqd_runner.sandbox import Machine, MachineSpec
from cycleqd_runner.tasks.agentbench_os.items import Fetch, OsItem, read_os_items
from cycleqd_runner.tasks.agentbench_os.protocol import Action, action_in, opening, shown
from cycleqd_runner.tasks.agentbench_os.terminal import printed, run_script, type_into
from cycleqd_runner.tasks.contract import Item, Setting, Verdict
from cycleqd_runner.tasks.executable import Judgement
from cycleqd_runner.tasks.prompts import LONG_ANSWER, sampling_of

NOTHING_SAID = "None"
"""What check scripts get for the answer of an episode that ended with ``finish``, as in AgentBench."""


def agentbench_os_evaluator(spec: AgentBenchOsEvaluator, fetch: Fetch) -> AgentBenchOs:
    """Build the evaluator.

    Args:
        spec: its part of the manifest.
        fetch: reads its items and its scripts.

    Raises:
        BadData: the items file is broken, or scripts are missing.
    """
    return AgentBenchOs(spec, read_os_items(fetch(spec.data), spec.data, spec.scripts, fetch))


class AgentBenchOs:
    """Plays AgentBench's operating-system items.

    Args:
        spec: turns, answers and system prompt.
        items: by id, in their order.
    """

    def __init__(self, spec: AgentBenchOsEvaluator, items: dict[str, OsItem]) -> None:
        self._items = [Item(name, "any", item.model_dump(mode="json")) for name, item in items.items()]
        self._system_prompt = spec.system_prompt
        self._max_turns = spec.max_turns
        self._sampling = sampling_of(spec, LONG_ANSWER)

    def items(self) -> Sequence[Item]:
        """Return all items in the file's order."""
        return self._items

    async def judge(self, item: Item, model: ChatModel, setting: Setting) -> Verdict:
        """Play and judge one item.

        The first answer depends on nothing in the machine, so it is asked for first: all first questions reach the
        engine in item order, and a machine is only made for who has something to do there.

        Raises:
            TemporaryError: engine or sandbox failed, or an item's own init script met a limit.
            UnsupportedHere: the sandbox has no machines.
        """
        problem = OsItem.model_validate(item.payload)
        talk = _Talk(model, self._sampling, opening(problem.description, self._system_prompt))
        action = await talk.next_action()
        if action is None:
            return talk.verdict(_no_action(talk))
        async with setting.sandbox.machine(MachineSpec(), setting.limits) as machine:
            await _prepare(machine, problem, item.id)
            while action is not None and action.kind == "bash" and talk.turns < self._max_turns:
                talk.hear(shown(printed(await type_into(machine, action.content))))
                action = await talk.next_action()
            return talk.verdict(_no_action(talk) if action is None else await _judge(machine, problem, action, talk))


@dataclass
class _Talk:
    """The conversation of one episode.

    Attributes:
        model: who answers.
        sampling: how.
        messages: what the next answer is asked with; after an answer, what it was asked with.
        turns: answers so far.
    """

    model: ChatModel
    sampling: Sampling
    messages: tuple[Message, ...]
    turns: int = 0
    _prompt_tokens: int = 0
    _answer_tokens: int = 0
    _answer: Answer | None = None

    async def next_action(self) -> Action | None:
        """Ask; return what the answer wants done, None if that cannot be told. Raises TemporaryError."""
        self._answer = await self.model.chat(self.messages, self.sampling)
        self.turns += 1
        self._prompt_tokens += self._answer.prompt_tokens
        self._answer_tokens += self._answer.answer_tokens
        return None if self._answer.finish == "broken" else action_in(self._answer.text)

    def hear(self, message: Message) -> None:
        """Put the last answer and what followed from it before the next question."""
        said = (Message("assistant", self._answer.text),) if self._answer else ()
        self.messages = (*self.messages, *said, message)

    def verdict(self, judgement: Judgement) -> Verdict:
        """Return the verdict of an episode that ends with the last answer."""
        score: float | None
        score, reason = judgement
        if self._answer is not None and self._answer.finish == "broken":
            score, reason = None, BROKEN
        text = self._answer.text if self._answer else ""
        return Verdict(score, reason, self.messages, text, self._prompt_tokens, self._answer_tokens)


async def _prepare(machine: Machine, problem: OsItem, name: str) -> None:
    """Run what an item wants done before the model is let in. Exit codes do not matter, as in AgentBench."""
    done = [await run_script(machine, script) for script in problem.init]
    if problem.start is not None:
        done.append(await type_into(machine, problem.start))
    for completed in done:
        if completed.limit:
            raise Unscored(f"item {name}: its own init or start script was ended by the limit on {completed.limit}")


async def _judge(machine: Machine, problem: OsItem, action: Action, talk: _Talk) -> Judgement:
    """Judge how an episode ended: by the answer, or by check scripts that look at answer and machine."""
    if action.kind == "bash":
        return 0.0, f"no answer within {talk.turns} turns"
    if problem.match is not None:
        right = action.kind == "answer" and problem.match.accepts(action.content)
        return (1.0, None) if right else (0.0, "another answer was expected")
    arguments = [action.content if action.kind == "answer" else NOTHING_SAID]
    for number, script in enumerate(problem.check, start=1):
        completed = await run_script(machine, script, arguments)
        if completed.limit:
            return 0.0, f"check {number} was ended by the limit on {completed.limit}"
        if completed.exit_code != 0:
            return 0.0, f"check {number} failed with exit code {completed.exit_code}"
        arguments.append(printed(completed))
    return 1.0, None


def _no_action(talk: _Talk) -> Judgement:
    return 0.0, f"turn {talk.turns} takes none of the actions bash, finish and answer"
