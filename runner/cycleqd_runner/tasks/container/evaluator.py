"""The Container evaluator: hands items to the program of an image, answers its requests, and takes its scores."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping, Sequence
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, field_validator

from cycleqd.api.tasks import ContainerEvaluator
from cycleqd.errors import TemporaryError, Unscored
from cycleqd.records import BROKEN
from cycleqd_runner.chat import ChatModel
from cycleqd_runner.openai_api import MODEL
from cycleqd_runner.tasks.container.conversations import Asked, Conversations, OwnTime
from cycleqd_runner.tasks.container.gathering import Gathering
from cycleqd_runner.tasks.container.launcher import LOG, RESULTS, Launched, Launcher
from cycleqd_runner.tasks.container.launchers import open_launcher
from cycleqd_runner.tasks.container.results import (
    MOST_BYTES,
    Result,
    Unreadable,
    last_line,
    read_file,
    read_results,
)
from cycleqd_runner.tasks.contract import Item, Pool, Setting, Verdict
from cycleqd_runner.tasks.executable import one_line
from cycleqd_runner.tasks.items import read_lines
from cycleqd_runner.tasks.prompts import LONG_ANSWER

AT_ONCE = 8
"""Programs of one evaluator that run at the same time; the others wait, because each needs memory."""

LONGEST_LINE = 160
"""Characters of a program's last line that reasons quote."""


class ContainerItem(BaseModel):
    """One line of an items file: an id, and whatever the program wants."""

    model_config = ConfigDict(frozen=True, extra="allow")

    id: Annotated[str, Field(min_length=1, max_length=200)]
    pool: Pool = "any"

    @field_validator("id", mode="before")
    @classmethod
    def _number_as_text(cls, value: object) -> object:
        return str(value) if type(value) is int else value


def container_evaluator(spec: ContainerEvaluator, data: bytes | None) -> Container:
    """Build the evaluator; nothing is started yet.

    Raises:
        BadData: the items file is broken.
    """
    return Container(spec, read_lines(data or b"", spec.data, ContainerItem.model_validate))


class Container:
    """Has one program run for all items of an individual that are asked together.

    Args:
        spec: image, command, and how long answers are.
        lines: the items, in a fixed order.
        launcher: where the program runs; None: what is here is found out with the first items.
    """

    def __init__(
        self, spec: ContainerEvaluator, lines: Sequence[ContainerItem], launcher: Launcher | None = None
    ) -> None:
        self._spec = spec
        self._items = tuple(
            Item(line.id, line.pool, line.model_dump(mode="json", exclude_unset=True)) for line in lines
        )
        self._gathering = Gathering(self._judge)
        self._places = asyncio.Semaphore(AT_ONCE)
        self._launcher = launcher

    def items(self) -> Sequence[Item]:
        """Return all items in the file's order."""
        return self._items

    async def judge(self, item: Item, model: ChatModel, setting: Setting) -> Verdict:
        """Judge one item, with all others of its evaluation and repeat that are asked at the same time.

        Raises:
            TemporaryError: engine or program failed, or the program could not judge this item.
            UnsupportedHere: nothing here starts containers.
        """
        together = setting.evaluation, setting.repeat
        outcome = await self._gathering.join(together, item.id, Asked(item, model, setting))
        if isinstance(outcome, TemporaryError):
            raise outcome
        return outcome

    async def _judge(self, items: Mapping[str, Asked]) -> dict[str, Verdict | TemporaryError]:
        talks = Conversations(items, self._spec.max_tokens or LONG_ANSWER, self._spec.system_prompt)
        found: dict[str, Result | str | TemporaryError]
        try:
            async with self._places:
                found = {**read_results(await self._results(items, talks), items)}
        except Unreadable as error:
            found = dict.fromkeys(items, one_line(str(error)))
        except TemporaryError as error:  # few programs outlive an engine that fails
            found = dict.fromkeys(items, talks.failure(items) or error)
        except OSError as error:
            found = dict.fromkeys(items, Unscored(f"The program's folder cannot be used ({error.strerror})."))
        return {name: _outcome(asked, found[name], talks) for name, asked in items.items()}

    async def _results(self, items: Mapping[str, Asked], talks: Conversations) -> bytes:
        """Run the program; return its results file.

        Raises:
            Unscored: it did not start, did not end in time, or ended with another exit code than 0.
            Unreadable: it left no results.
        """
        from cycleqd_runner.openai_server import serving  # noqa: PLC0415 - aiohttp; items are read without it

        self._launcher = self._launcher or open_launcher(self._spec)
        lines = "".join(f"{json.dumps(asked.item.payload)}\n" for asked in items.values())
        setting = next(iter(items.values())).setting
        async with serving(talks.answer) as server:
            environment = {
                "OPENAI_BASE_URL": server.url,
                "OPENAI_API_KEY": server.key,
                "CYCLEQD_MODEL": MODEL,
                "CYCLEQD_REPEAT": str(setting.repeat),
            }
            async with self._launcher.launch(lines.encode(), environment) as program:
                await _end(program, talks.own_time, setting.limits.timeout_seconds * len(items))
                return await asyncio.to_thread(_read_whole, program)


async def _end(program: Launched, own_time: OwnTime, seconds: float) -> None:
    """Wait until the program has ended well. Raises Unscored if it did not, or needs too much time for itself."""
    ended = asyncio.ensure_future(program.ended())
    limit = own_time.seconds + seconds
    try:
        while not ended.done():
            left = limit - own_time.seconds
            if left <= 0:
                raise Unscored(f"the program needed more than {seconds:g} s for itself{_said(program)}")
            await asyncio.wait({ended}, timeout=left)
    finally:
        ended.cancel()
    if code := ended.result():
        raise Unscored(f"the program ended with exit code {code}{_said(program)}")


def _said(program: Launched) -> str:
    line = one_line(last_line(program.folder / LOG), LONGEST_LINE)
    return f": {line}" if line else ""


def _read_whole(program: Launched) -> bytes:
    data = read_file(program.folder / RESULTS, MOST_BYTES + 1)
    if len(data) > MOST_BYTES:
        raise Unreadable(f"the results have more than {MOST_BYTES >> 20} MiB")
    return data


def _outcome(asked: Asked, found: Result | str | TemporaryError, talks: Conversations) -> Verdict | TemporaryError:
    """Return what becomes of an item, of what the program found or why it found nothing."""
    name = asked.item.id
    score: float | None = None
    messages, answer = asked.messages, asked.answer
    if talks.is_broken(name):
        reason: str | None = BROKEN
    elif failure := talks.failure([name]):
        return failure
    elif isinstance(found, TemporaryError):
        return found
    elif isinstance(found, str):
        reason = found
    elif found.score is None:
        return Unscored(one_line(found.reason or "the program could not judge it"))
    else:
        score, reason = found.score, one_line(found.reason) if found.reason else None
        messages, answer = found.asked or messages, found.answer or answer
    return Verdict(score, reason, messages, answer, *talks.tokens(name))
