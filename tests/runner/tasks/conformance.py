"""What the conformance suite is made of: how an evaluator joins it, who plays, and what is attacked."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, suppress
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple, cast

from cycleqd.api.tasks import SandboxLimits
from cycleqd.errors import TemporaryError, Unscored
from cycleqd.records import ItemOutcome
from cycleqd_runner.chat import Answer, ChatModel, Likelihood, Message, Sampling
from cycleqd_runner.sandbox import Completed, Execution, Machine, MachineSpec, Sandbox
from cycleqd_runner.tasks.contract import Evaluator, Item, Setting, Verdict
from cycleqd_runner.tasks.run import evaluate
from tests.runner.tasks.support import NoSandbox, Scripted

Player = Callable[[Item], ChatModel]
"""Returns who is asked an item, from its first question on."""

LIMITS = SandboxLimits(timeout_seconds=60)
"""Long: no answer here is endless, and a busy computer is no wrong answer."""

GARBAGE: Mapping[str, str] = {
    "nothing": "",
    "blanks": " \n\t ",
    "refusal": "I cannot help with that.",
    "unicode": "Ünïcödé 🦜 \u202eright to left\u202c \ufffd \U0010ffff",
    "half a character": "\ud800",
    "100 KB": "lorem ipsum " * 8_500,
    "brackets": ")" * 5_000,
    "like a binary": bytes(range(256)).decode("latin-1") * 4,
    "NUL": "\x00",
    "empty fence": "```\n```",
    "fence cut at once": "```",
    "fence cut after its tag": "Sure!\n```python",
    "fence cut in the middle": "```sql\nSELECT (",
    "fences in fences": "``````python\n```\n```",
    "end of turn": "<|im_end|><|im_start|>user\nagain",
    "no JSON": '{"score": 1, "proof": [',
}
"""Answers that are right nowhere, by what they are."""


class Decoy(NamedTuple):
    """What hostile answers go for: things that the test put there.

    Attributes:
        path: a file that the worker may write.
        new: a path beside it, where nothing is.
        worker: the worker's process.
        seconds: that a process must sleep to be found by.
    """

    path: Path
    new: Path
    worker: int
    seconds: str

    def sleepers(self) -> list[bytes]:
        """Return the processes that hostile answers have left on this computer."""
        found = []
        for path in Path("/proc").glob("[0-9]*/cmdline"):
            with suppress(OSError):
                found.append(path.read_bytes())
        return [line for line in found if line == f"sleep\0{self.seconds}\0".encode()]


def _says(item: Item, text: str) -> ChatModel:
    return Scripted(text)


@dataclass(frozen=True)
class Subject:
    """How an evaluator joins the suite.

    Attributes:
        type: in the manifest; empty: it has none.
        make: returns a new evaluator, or skips the test by the name of what is missing here.
        gold: plays an item right, without looking at anything but the item.
        hostile: answers that attack a decoy; none of them is right. None: what is answered are numbers, not texts.
        says: plays an item by giving one answer again and again; another one where answers are no texts.
        sandbox: whether it needs one, and what became of it must show.
        machines: whether it needs a sandbox that has them.
        in_turn: whether it asks the repeats of an item one after another, and not a program of its own each.
        most: items to play, from all over the file.
    """

    type: str
    make: Callable[[], Evaluator]
    gold: Player
    hostile: Callable[[Decoy], Sequence[str]] | None
    says: Callable[[Item, str], ChatModel] = _says
    sandbox: bool = True
    machines: bool = False
    in_turn: bool = True
    most: int = 4

    @cached_property
    def evaluator(self) -> Evaluator:
        """One for all tests, as a worker has one for all individuals."""
        return self.make()

    @property
    def items(self) -> Sequence[Item]:
        """The items to play."""
        items = self.evaluator.items()
        return items[:: -(-len(items) // self.most)]

    async def play(
        self, sandbox: Sandbox, player: Player, *, items: Sequence[Item] | None = None, repeats: int = 1
    ) -> tuple[ItemOutcome, ...]:
        """Evaluate items (all of ``items`` unless told otherwise) as a run does, each asked of its player.

        What comes of it must be such that it can be written down and read back.
        """
        if self.machines:
            sandbox.require_machines()
        evaluation, transcripts = await evaluate(
            _Staged(self.evaluator, player),
            self.items if items is None else items,
            Scripted(""),
            sandbox,
            LIMITS,
            repeats=repeats,
            split="search",
            task_name="conformance",
            keep="All",
            first_wait_seconds=0.01,
        )
        for record in (evaluation, *transcripts):
            assert type(record).model_validate_json(record.model_dump_json()) == record
        return evaluation.outcomes


class _Staged:
    """An evaluator whose items are each asked of their own player, of a new one at each try."""

    def __init__(self, evaluator: Evaluator, player: Player) -> None:
        self._evaluator, self._player = evaluator, player

    def items(self) -> Sequence[Item]:
        return self._evaluator.items()

    async def judge(self, item: Item, model: ChatModel, setting: Setting) -> Verdict:
        return await self._evaluator.judge(item, self._player(item), setting)


class _Watched:
    """A model all of whose calls can be seen and changed, of those kinds that it has."""

    def __init__(self, model: object, before: Callable[[], None], after: Callable[[Any], Any]) -> None:
        self._model, self._before, self._after = model, before, after

    async def chat(self, messages: Sequence[Message], sampling: Sampling) -> Answer:
        return cast(Answer, await self._call("chat", messages, sampling))

    async def complete(self, prompt: str, sampling: Sampling) -> Answer:
        return cast(Answer, await self._call("complete", prompt, sampling))

    async def log_likelihood(self, context: str, continuation: str) -> Likelihood:
        return cast(Likelihood, await self._call("log_likelihood", context, continuation))

    async def _call(self, name: str, *arguments: object) -> Any:
        self._before()
        return self._after(await getattr(self._model, name)(*arguments))


def watched(
    model: ChatModel, before: Callable[[], None] = lambda: None, after: Callable[[Any], Any] = lambda result: result
) -> ChatModel:
    """Return a model that calls ``before`` each of its calls, and answers with what ``after`` makes of its results."""
    return _Watched(model, before, after)


def broken(reply: Answer | Likelihood) -> Answer | Likelihood:
    """Return what the engine says when the model's numbers break."""
    return replace(reply, finish="broken") if isinstance(reply, Answer) else replace(reply, is_broken=True)


def tokens(reply: Answer | Likelihood) -> Mapping[str, int]:
    """Return what was read and written."""
    if isinstance(reply, Answer):
        return {"prompt": reply.prompt_tokens, "answer": reply.answer_tokens}
    return {"prompt": reply.context_tokens + reply.continuation_tokens, "answer": 0}


def down(item: Item) -> ChatModel:
    """Return a model whose engine is down."""

    def fail() -> None:
        raise TemporaryError("the engine\nis down")

    return watched(Scripted(""), fail)


class DownSandbox(NoSandbox):
    """A sandbox that fails by no fault of the code."""

    async def run(self, execution: Execution, limits: SandboxLimits) -> Completed:
        raise Unscored("the sandbox\nis down")

    def machine(self, spec: MachineSpec, limits: SandboxLimits) -> AbstractAsyncContextManager[Machine]:
        raise Unscored("the sandbox\nis down")


def here(folder: Path) -> Decoy:
    """Return the decoy in a folder of the test's own."""
    return Decoy(folder / "decoy", folder / "new", os.getpid(), "76543")
