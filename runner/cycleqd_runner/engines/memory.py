"""Memory that ran out, of a GPU or of the machine: one sentence with what was needed and what there was.

PyTorch, NumPy, safetensors and vLLM each have their own way to say it. Nothing else knows them.
"""

from __future__ import annotations

import errno
import re
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

from cycleqd.errors import OutOfMemory
from cycleqd_runner.memory import host_memory

_UNITS = {"bytes": 1, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30, "TiB": 2**40}
_SIZE = r"([\d.]+) ?(bytes|[KMGT]iB)"

_NEEDED = (
    rf"[Tt]ried to allocate {_SIZE}",  # PyTorch, on both
    rf"Unable to allocate {_SIZE}",  # NumPy
    rf"\({_SIZE} KV cache is needed",  # vLLM: of the longest conversation
    rf"requested memory for kv \({_SIZE}\)",  # vLLM on CPUs
    rf"desired (?:GPU|CPU) memory utilization \([\d.]+, {_SIZE}\)",  # vLLM: other processes are there, too
)
_HAD = (
    rf"of which {_SIZE} is free",
    rf"available KV cache memory \({_SIZE}\)",
    r"(?:Available|Free) memory on (?:node|device) \S+ \(([\d.]+)/[\d.]+ (GiB)\)",
)
_SIGNS = re.compile(
    "|".join((*_NEEDED, *_HAD, "[Cc]an(?:'|no)t allocate memory", "out of memory", "No available memory", "bad_alloc"))
)
"""Errors of these messages, or of the classes that say so themselves, mean that memory ran out."""


@contextmanager
def memory_for(what: str, advice: str) -> Iterator[None]:
    """Name both sizes where memory runs out inside.

    Args:
        what: needs the memory.
        advice: what to do about it, an order without its full stop.

    Raises:
        ~cycleqd.errors.OutOfMemory: it did; other errors pass.
    """
    try:
        yield
    except (MemoryError, RuntimeError, ValueError, OSError) as error:  # torch.OutOfMemoryError is a RuntimeError
        if not _ran_out(error):
            raise
        raise OutOfMemory(f"There is not enough memory for {what}: {_sizes(error)}; {advice}.") from error


def _ran_out(error: Exception) -> bool:
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    return getattr(error, "errno", None) == errno.ENOMEM or bool(_SIGNS.search(str(error)))


def _sizes(error: Exception) -> str:
    needed, had = _found(_NEEDED, error), _found(_HAD, error)
    if had is None:
        had = _free_on_gpu() if isinstance(error, torch.OutOfMemoryError) else _free()
    return f"{'more' if needed is None else f'another {_written(needed)}'} was needed and {_written(had)} were free"


def _found(patterns: tuple[str, ...], error: Exception) -> float | None:
    for pattern in patterns:
        if found := re.search(pattern, str(error)):
            return float(found[1]) * _UNITS[found[2]]
    return None


def _free_on_gpu() -> int:
    return int(torch.cuda.mem_get_info()[0])


def _free() -> int:
    """Return the bytes that this process could still have."""
    free, _ = host_memory()
    limit, _ = resource.getrlimit(resource.RLIMIT_AS)
    if limit == resource.RLIM_INFINITY:
        return free
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
    return max(0, min(free, limit - pages * resource.getpagesize()))


def _written(size: float) -> str:
    return f"{size / 2**30:,.1f} GiB" if size >= 2**30 else f"{size / 2**20:,.1f} MiB"
