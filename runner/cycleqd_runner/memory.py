"""How much more memory this process may keep, in the machine and on its GPU, and how it gives back what it freed.

What is kept is ``residence``'s matter. Room is asked for each time anew and never reserved: several workers, or the
shards of one model, share a machine without knowing of each other, and engines, sandboxes and caches of files come and
go beside them.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import torch

SPARE = 4
"""A quarter of a memory stays free: for batches, for sandboxes, and for the tensor that is being made."""

_MACHINE, _GROUPS = Path("/proc/meminfo"), Path("/sys/fs/cgroup")
_GROUP_FILES = (
    ("memory.max", "memory.current", "memory.stat"),
    ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes", "memory/memory.stat"),
)
"""Limit, use and statistics of a container's memory, with control groups of version 2 and of version 1."""
_FILE_PAGES = ("inactive_file", "active_file")


@dataclass(frozen=True)
class Memory:
    """A memory in which tensors can be kept.

    Attributes:
        device: whose memory it is.
        room: bytes that may still be taken now; not above zero: none.
        is_pinned: whether tensors are kept where a GPU fetches them by itself, several times as fast.
    """

    device: torch.device
    room: Callable[[], int]
    is_pinned: bool = False


def memories(device: torch.device) -> tuple[Memory, ...]:
    """Return where tensors that ``device`` computes with can be kept, nearest first."""
    host = torch.device("cpu")
    if device.type == "cpu":
        return (Memory(host, host_room),)
    return Memory(device, lambda: gpu_room(device)), Memory(host, host_room, is_pinned=True)


def gpu_room(device: torch.device) -> int:
    """Return the bytes of a GPU's memory that may be taken."""
    free, total = torch.cuda.mem_get_info(device)
    return free - total // SPARE


def host_room(proc: Path = _MACHINE, groups: Path = _GROUPS) -> int:
    """Return the bytes of the machine's (or the container's) memory that may be taken; see :func:`host_memory`."""
    free, total = host_memory(proc, groups)
    return free - total // SPARE


def host_memory(proc: Path = _MACHINE, groups: Path = _GROUPS) -> tuple[int, int]:
    """Return the free bytes of the machine's (or the container's) memory, and all; 0 where Linux does not tell.

    Args:
        proc: what the kernel tells of the machine.
        groups: what it tells of the container, whose own group is the root there.
    """
    try:
        machine = _numbers(proc.read_text(encoding="ascii"))
    except OSError:
        return 0, 0
    total, free = machine["MemTotal"] * 1024, machine["MemAvailable"] * 1024
    for limit_file, use_file, statistics_file in _GROUP_FILES:
        try:
            text = (groups / limit_file).read_text(encoding="ascii").strip()
            limit = total if text == "max" else min(int(text), total)
            used = int((groups / use_file).read_text(encoding="ascii"))
            pages = _numbers((groups / statistics_file).read_text(encoding="ascii"))
        except OSError:
            continue  # not of this version, or no container
        cached = sum(pages.get(f"total_{name}", pages.get(name, 0)) for name in _FILE_PAGES)  # given back when asked
        total, free = min(total, limit), min(free, limit - used + cached)
    return free, total


def give_back() -> None:
    """Return freed memory to the system: glibc keeps it, scattered, and fills it badly with blocks of other sizes."""
    with suppress(AttributeError):  # other C libraries
        ctypes.CDLL(None).malloc_trim(0)


def _numbers(text: str) -> dict[str, int]:
    """Return the number after the name on each line."""
    return {words[0].rstrip(":"): int(words[1]) for words in map(str.split, text.splitlines()) if len(words) > 1}
