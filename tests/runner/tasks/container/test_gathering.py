from __future__ import annotations

import asyncio
from collections.abc import Mapping

import pytest

from cycleqd_runner.tasks.container.gathering import Gathering


class Work:
    """Gives every member its double; remembers the groups."""

    def __init__(self, seconds: float = 0) -> None:
        self.groups: list[dict[str, int]] = []
        self.ended: list[str] = []
        self.seconds = seconds

    async def __call__(self, members: Mapping[str, int]) -> dict[str, int]:
        self.groups.append(dict(members))
        try:
            await asyncio.sleep(self.seconds)
            if "bad" in members:
                raise RuntimeError("bad")
        finally:
            await asyncio.sleep(self.seconds)
            self.ended.append("".join(members))
        return {name: 2 * member for name, member in members.items()}


def test_who_comes_together_is_a_group() -> None:
    work = Work()
    gathering = Gathering(work, 0.05)

    async def late() -> int:
        await asyncio.sleep(0.02)
        return await gathering.join("x", "c", 3)

    async def main() -> list[int]:
        joins = (gathering.join(key, name, i) for i, (key, name) in enumerate([("x", "a"), ("y", "b"), ("x", "b")]))
        first = await asyncio.gather(*joins, late())
        return [*first, await gathering.join("x", "d", 4)]

    assert asyncio.run(main()) == [0, 2, 4, 6, 8]
    assert work.groups == [{"b": 1}, {"a": 0, "b": 2, "c": 3}, {"d": 4}]


def test_a_name_that_comes_twice_begins_another_group() -> None:
    work = Work()

    async def main() -> list[int]:
        gathering = Gathering(work, 0.01)
        return list(await asyncio.gather(gathering.join("x", "a", 1), gathering.join("x", "a", 2)))

    assert asyncio.run(main()) == [2, 4]
    assert work.groups == [{"a": 1}, {"a": 2}]


def test_a_failure_is_everybodys() -> None:
    async def main() -> list[int | BaseException]:
        gathering = Gathering(Work(), 0.01)
        joins = [gathering.join(key, name, 2) for key, name in (("x", "bad"), ("x", "b"), ("y", "b"))]
        return await asyncio.gather(*joins, return_exceptions=True)

    one, two, other = asyncio.run(main())
    assert isinstance(one, RuntimeError)
    assert isinstance(two, RuntimeError)
    assert other == 4


@pytest.mark.parametrize("n_cancelled", [1, 2])
def test_work_ends_when_nobody_waits(n_cancelled: int) -> None:
    work = Work(0.3)

    async def main() -> list[int]:
        gathering = Gathering(work, 0.01)
        joined = [asyncio.ensure_future(gathering.join("x", name, 1)) for name in "ab"]
        await asyncio.sleep(0.1)
        for one in joined[:n_cancelled]:
            one.cancel()
        await asyncio.sleep(0.1)
        for one in joined[:n_cancelled]:
            one.cancel()  # as whoever gathers them does when the first has ended
        done, _ = await asyncio.wait(joined)
        assert work.ended == ["ab"], "it is waited for"
        return [one.result() for one in done if not one.cancelled()]

    assert asyncio.run(main()) == [2] * (2 - n_cancelled)
