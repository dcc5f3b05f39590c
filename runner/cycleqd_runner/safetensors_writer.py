"""Writing safetensors files that are never in memory as a whole, and that several threads fill.

The header says where every tensor goes before any is there, so tensors can be written in any order: those that are
computed one after the other, :class:`Streamed` ones a chunk a thread. Reading is ``safetensors_file``'s.
"""

from __future__ import annotations

import json
import math
import os
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import torch

from cycleqd_runner.safetensors_file import DTYPES, LENGTH, as_bytes

CHUNK_BYTES = 4 << 20
"""Of a streamed tensor, worked on by one thread: large beside a system call, small beside a processor's cache."""

_NAMES = {dtype: name for name, dtype in DTYPES.items()}
_CHUNKS_AHEAD = 4
"""Chunks that wait for each thread: enough to keep it busy, few enough that progress is what was written."""


class Streamed(Protocol):
    """A tensor of which any part can be had at any time, by several threads at once."""

    @property
    def dtype(self) -> torch.dtype:
        """Of all parts."""
        ...

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the whole."""
        ...

    def chunk(self, first: int, count: int) -> torch.Tensor:
        """Return the numbers ``[first, first + count)``, flat, on the CPU."""
        ...


@dataclass(frozen=True)
class Planned:
    """A tensor that will be written: its name, dtype and shape."""

    name: str
    dtype: torch.dtype
    shape: tuple[int, ...]

    @property
    def nbytes(self) -> int:
        """Length in bytes."""
        return math.prod(self.shape) * self.dtype.itemsize


def write_file(file: Path, plan: Iterable[Planned], tensors: Iterable[torch.Tensor | Streamed]) -> None:
    """Write ``tensors`` as they come; one that is no :class:`Streamed` is held alone.

    Streamed ones use as many threads as torch does, and of each thread no more memory than a chunk's computation.

    Args:
        file: created or overwritten.
        plan: what comes, in the order in which it comes.
        tensors: exactly the planned dtypes and shapes, on any device.

    Raises:
        ValueError: a tensor differs from the plan.
    """
    plan = list(plan)
    header: dict[str, object] = {"__metadata__": {"format": "pt"}}  # transformers refuses files without it
    start = 0
    for item in plan:
        offsets = [start, start + item.nbytes]
        header[item.name] = {"dtype": _NAMES[item.dtype], "shape": list(item.shape), "data_offsets": offsets}
        start += item.nbytes
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % LENGTH)
    with file.open("wb", buffering=0) as stream, _threads() as pool:
        to, start, waiting = stream.fileno(), LENGTH + len(text), deque[Future[None]]()
        _write(to, memoryview(len(text).to_bytes(LENGTH, "little") + text), 0)
        for item, tensor in zip(plan, tensors, strict=True):
            if tensor.dtype != item.dtype or tuple(tensor.shape) != item.shape:
                raise ValueError(f"{item.name}: planned {item.dtype} {item.shape}, got {tensor.dtype} {tensor.shape}")
            if isinstance(tensor, torch.Tensor):
                _write_tensor(to, tensor, start)
            else:
                for first, count in _chunks(item):
                    waiting.append(pool.submit(_write_chunk, to, tensor, first, count, start))
                    if len(waiting) > _CHUNKS_AHEAD * torch.get_num_threads():
                        waiting.popleft().result()
            start += item.nbytes
            del tensor
        for chunk in waiting:
            chunk.result()


@contextmanager
def _threads() -> Iterator[ThreadPoolExecutor]:
    """Yield as many threads as torch uses, in each of which torch uses one; what waits when that fails is dropped."""
    count = torch.get_num_threads()
    pool = ThreadPoolExecutor(count, "safetensors", lambda: torch.set_num_threads(1))
    try:
        yield pool
    finally:
        pool.shutdown(cancel_futures=True)
        torch.set_num_threads(count)  # threads yet to come would inherit the 1


def _chunks(item: Planned) -> Iterator[tuple[int, int]]:
    total, step = math.prod(item.shape), CHUNK_BYTES // item.dtype.itemsize
    return ((first, min(step, total - first)) for first in range(0, total, step))


def _write_chunk(to: int, tensor: Streamed, first: int, count: int, start: int) -> None:
    _write_tensor(to, tensor.chunk(first, count), start + first * tensor.dtype.itemsize)


def _write_tensor(to: int, tensor: torch.Tensor, start: int) -> None:
    _write(to, as_bytes(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8)), start)


def _write(to: int, data: memoryview, start: int) -> None:
    done = 0
    while done < len(data):  # one write takes at most 2 GiB
        done += os.pwrite(to, data[done:], start + done)
