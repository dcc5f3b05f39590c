"""Which requests share a batch. What is computed is tested with real models."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence

import pytest

from cycleqd_runner.chat import Answer, Sampling
from cycleqd_runner.engines.batching import Asked, Batcher, Found, Request

ROWS = 4


class Recorder:
    """Answers at once, and keeps the first token of each prompt of each batch."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []

    def __call__(self, requests: Sequence[Asked], unwanted: Callable[[], bool]) -> Sequence[Found]:
        assert not unwanted()
        asked = [request for request in requests if isinstance(request, Request)]
        self.batches.append([request.prompt[0] for request in asked])
        return [Answer("", len(request.prompt), 1, "stop") for request in asked]


@pytest.fixture
def recorder() -> Recorder:
    return Recorder()


@pytest.fixture
def batcher(recorder: Recorder) -> Iterator[Batcher]:
    made = Batcher(recorder, max_batch_tokens=ROWS * request(0).reserved)
    yield made
    made.close()


def request(token: int) -> Request:
    return Request((token, 0, 0), Sampling(max_tokens=1))


def test_those_left_over_share_a_batch_with_those_that_come_meanwhile(batcher: Batcher, recorder: Recorder) -> None:
    async def episode(token: int) -> None:
        await batcher.submit(request(token))
        if token < ROWS:  # the first batch; each of its episodes goes on at once
            await batcher.submit(request(100 + token))

    async def play() -> None:
        await asyncio.gather(*map(episode, range(ROWS + 1)))

    asyncio.run(play())
    assert recorder.batches == [[0, 1, 2, 3], [4, 100, 101, 102], [103]]


def test_nobody_waits_for_what_was_given_up(batcher: Batcher, recorder: Recorder) -> None:
    async def play() -> None:
        asked = [asyncio.create_task(batcher.submit(request(token))) for token in range(ROWS + 2)]
        asked[0].add_done_callback(lambda _: asked[ROWS].cancel())
        await asyncio.wait(asked)
        assert [task.cancelled() for task in asked] == [False] * ROWS + [True, False]

    asyncio.run(play())
    assert recorder.batches == [[0, 1, 2, 3], [5]]
