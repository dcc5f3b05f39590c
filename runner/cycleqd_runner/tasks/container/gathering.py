"""One piece of work for all who ask at the same time, as engines make batches. What the work is, is not known here."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Hashable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Generic, TypeVar

Member = TypeVar("Member")
Outcome = TypeVar("Outcome")

QUIET_SECONDS = 0.05
"""A group is complete when nobody has joined for so long: items tried again wake up one after another."""


@dataclass(eq=False)
class _Group(Generic[Member, Outcome]):
    """Who asked together.

    Attributes:
        members: by name, in the order in which they came.
        work: theirs.
        waiting: how many still want the outcome.
    """

    members: dict[str, Member] = field(default_factory=dict)
    work: asyncio.Task[Mapping[str, Outcome]] | None = None
    waiting: int = 0


class Gathering(Generic[Member, Outcome]):
    """Calls ``work`` once for each group of members, by name, and gives every member its outcome.

    Args:
        work: of a complete group; its exception is everybody's. It is cancelled when nobody waits any more.
        quiet_seconds: after which a group that nobody joined is complete.
    """

    def __init__(
        self,
        work: Callable[[Mapping[str, Member]], Awaitable[Mapping[str, Outcome]]],
        quiet_seconds: float = QUIET_SECONDS,
    ) -> None:
        self._work, self._quiet_seconds = work, quiet_seconds
        self._open: dict[Hashable, _Group[Member, Outcome]] = {}

    async def join(self, key: Hashable, name: str, member: Member) -> Outcome:
        """Join the open group of ``key`` and return the outcome; a name that the group has begins another group."""
        group = self._open.get(key)
        if group is None or group.work is None or name in group.members:
            group = self._open[key] = _Group()
            group.work = asyncio.create_task(self._run(key, group))
        group.members[name] = member
        group.waiting += 1
        try:
            return (await asyncio.shield(group.work))[name]
        finally:
            group.waiting -= 1
            if not group.waiting:
                group.work.cancel()
                while not group.work.done():  # until what it holds is let go, however often we are told to stop
                    with suppress(asyncio.CancelledError):
                        await asyncio.wait({group.work})

    async def _run(self, key: Hashable, group: _Group[Member, Outcome]) -> Mapping[str, Outcome]:
        size = 0
        try:
            while size < len(group.members):
                size = len(group.members)
                await asyncio.sleep(self._quiet_seconds)
        finally:
            if self._open.get(key) is group:
                del self._open[key]
        return await self._work(group.members)
