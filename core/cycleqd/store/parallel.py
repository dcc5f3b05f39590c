"""Pieces of big objects: how an object is cut, and work on several at a time. What the work is lives elsewhere."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from dataclasses import dataclass
from typing import TypeVar

PIECE_BYTES = 16 << 20
"""Larger pieces were no faster (benchmarks/s3.py), cost memory, and lose more when a process is killed."""

THREADS = 8
"""Pieces on their way at the same time; Amazon gives one connection 50 to 90 MB/s. They are all that is in memory."""

MAX_PIECES = 10_000
"""S3's limit of parts."""

Item = TypeVar("Item")
Result = TypeVar("Result")


@dataclass(frozen=True)
class Piece:
    """Bytes ``start`` to ``start + length`` of an object; ``number`` counts from 1, as S3's parts do."""

    number: int
    start: int
    length: int


def pieces_of(size: int, piece_bytes: int) -> list[Piece]:
    """Cut ``size`` bytes into pieces of ``piece_bytes``, or larger ones if there were too many; the last is shorter."""
    piece_bytes = max(piece_bytes, -(-size // MAX_PIECES))
    starts = range(0, size, piece_bytes)
    return [Piece(number, start, min(piece_bytes, size - start)) for number, start in enumerate(starts, 1)]


def for_all(work: Callable[[Item], Result], items: Iterable[Item]) -> list[Result]:
    """Call ``work`` for each item, several at a time; return the results in the items' order.

    The first exception ends it: what has not begun is left out, what has is waited for.
    """
    with ThreadPoolExecutor(THREADS, thread_name_prefix="cycleqd-transfer") as pool:
        futures = [pool.submit(work, item) for item in items]
        try:
            wait(futures, return_when=FIRST_EXCEPTION)
        finally:
            pool.shutdown(cancel_futures=True)
    failures = (future.exception() for future in futures if not future.cancelled())
    for failure in failures:
        if failure:
            raise failure
    return [future.result() for future in futures]
