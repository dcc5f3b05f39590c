"""What every swap of a worker needs again, kept in memory: base and expert matrices, and directions unpacked.

First come, first kept. A swap takes all tensors in the same order, so keeping those used last, as a cache does, would
drop each one just before it is needed again. What finds no room is read or made again each time: then a swap takes
longer, and gives the same bits. How much room there is ``memory`` knows, what is made of the tensors ``materialise``.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Protocol

import torch

from cycleqd_runner.memory import Memory
from cycleqd_runner.safetensors_file import Stored

Tensors = tuple[torch.Tensor, ...]


class Part(Protocol):
    """A stored tensor, in a file or in memory; nothing of it may be written to."""

    @property
    def dtype(self) -> torch.dtype:
        """As stored."""
        ...

    @property
    def shape(self) -> tuple[int, ...]:
        """As stored."""
        ...

    def mapped(self, first: int = 0, count: int | None = None) -> torch.Tensor:
        """Return the numbers ``[first, first + count)`` of the flattened tensor; ``count`` None: all that follow."""
        ...

    def slab(self, block: slice, *, columns: bool = False) -> torch.Tensor:
        """Return some rows (or columns) of a matrix."""
        ...


@dataclass(frozen=True)
class Held:
    """A :class:`Part` in memory, of the machine or of a GPU."""

    tensor: torch.Tensor

    @property
    def dtype(self) -> torch.dtype:
        """As stored."""
        return self.tensor.dtype

    @property
    def shape(self) -> tuple[int, ...]:
        """As stored."""
        return tuple(self.tensor.shape)

    def mapped(self, first: int = 0, count: int | None = None) -> torch.Tensor:
        """Return numbers of the flattened tensor; see :class:`Part`."""
        flat = self.tensor.view(-1)
        return flat[first:] if count is None else flat[first : first + count]

    def slab(self, block: slice, *, columns: bool = False) -> torch.Tensor:
        """Return some rows (or columns) of a matrix."""
        return self.tensor[:, block] if columns else self.tensor[block]


class Residence:
    """Tensors that stay where they are from child to child.

    Attributes:
        nbytes: of all of them.
    """

    def __init__(self, *memories: Memory) -> None:
        """``memories``: where they are kept, the first that has room; without any, nothing is."""
        self.nbytes = 0
        self._memories = memories
        self._kept: dict[Hashable, Tensors] = {}

    def part(self, stored: Stored) -> Part:
        """Return a stored tensor from memory, where it is from then on if there is room; else as it lies in its file.

        Raises:
            BadModel: the file ends before the tensor does.
        """
        if stored not in self._kept:
            memory = self._with_room(stored.nbytes)
            if memory is None:
                return stored
            self._keep(stored, (stored.read(),), memory)
        return Held(*self._kept[stored])

    def tensors(self, key: Hashable, make: Callable[[], Tensors]) -> Tensors:
        """Return what ``make`` has made, from memory if it was called before under this key and there was room.

        They lie on the device of the memory that keeps them; nothing of them may be written to.
        """
        if key in self._kept:
            return self._kept[key]
        made = make()
        memory = self._with_room(sum(tensor.nbytes for tensor in made))
        return made if memory is None else self._keep(key, made, memory)

    def _with_room(self, nbytes: int) -> Memory | None:
        return next((memory for memory in self._memories if nbytes <= memory.room()), None)

    def _keep(self, key: Hashable, tensors: Tensors, memory: Memory) -> Tensors:
        kept = self._kept[key] = tuple(_placed(tensor, memory) for tensor in tensors)
        self.nbytes += sum(tensor.nbytes for tensor in kept)
        return kept


def _placed(tensor: torch.Tensor, memory: Memory) -> torch.Tensor:
    """Return a tensor in a memory, in the same order of its numbers: products depend on it."""
    if memory.is_pinned:
        with contextlib.suppress(RuntimeError):  # the system pins no more: ordinary memory does, too
            return torch.empty_like(tensor, device=memory.device, pin_memory=True).copy_(tensor)
    return tensor.to(memory.device)
