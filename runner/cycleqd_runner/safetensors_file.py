"""The safetensors container: where each tensor lies in a file, and its numbers, whole or in parts.

Why not ``safetensors.safe_open``: it maps a whole file, whose pages then count as memory of the process as long as it
is open. Here a tensor is read into memory of its own, or a part of it is mapped for as long as it is looked at. Writing
is ``safetensors_writer``'s; which tensors make up a model ``checkpoints`` and ``export`` know.
"""

from __future__ import annotations

import json
import math
import mmap
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from cycleqd.errors import BadModel

DTYPES: dict[str, torch.dtype] = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "F8_E4M3": torch.float8_e4m3fn,
    "F8_E5M2": torch.float8_e5m2,
    "I64": torch.int64,
    "I32": torch.int32,
    "I16": torch.int16,
    "I8": torch.int8,
    "U16": torch.uint16,
    "U8": torch.uint8,
    "BOOL": torch.bool,
}
"""The format's names of the dtypes that checkpoints use."""

LENGTH = 8
"""Bytes of the little-endian length in front of the JSON header; the header is padded to a multiple of it too."""


@dataclass(frozen=True)
class Stored:
    """Where one tensor lies.

    Attributes:
        file: the safetensors file.
        dtype: as stored.
        shape: as stored.
        start: absolute offset of the first byte.
        nbytes: length in bytes.
    """

    file: Path
    dtype: torch.dtype
    shape: tuple[int, ...]
    start: int
    nbytes: int

    def read(self) -> torch.Tensor:
        """Return the tensor in memory of its own, on the CPU.

        Raises:
            BadModel: the file ends before the tensor does.
        """
        buffer = torch.empty(self.nbytes, dtype=torch.uint8)
        view = as_bytes(buffer)
        done = 0
        with self.file.open("rb", buffering=0) as stream:
            stream.seek(self.start)
            while done < self.nbytes:  # one read returns at most 2 GiB
                count = stream.readinto(view[done:])
                if not count:
                    raise truncated(self.file, self.start + self.nbytes, self.start + done)
                done += count
        return buffer.view(self.dtype).view(self.shape)

    def mapped(self, first: int = 0, count: int | None = None) -> torch.Tensor:
        """Return the numbers ``[first, first + count)`` as they lie in the file, flat: nothing is read or copied.

        Their pages count as this process' while the tensor lives, and no longer. Read them once and let go. The file
        must not become shorter meanwhile: there is no error for that, the system ends the process.

        Args:
            first: of the flattened tensor.
            count: None for all that follow.
        """
        count = self.numel - first if count is None else count
        if not count:
            return torch.empty(0, dtype=self.dtype)
        start, nbytes = self.start + first * self.dtype.itemsize, count * self.dtype.itemsize
        ahead = start % mmap.ALLOCATIONGRANULARITY
        with self.file.open("rb") as stream:  # the map stays when the file is closed; a write to it would stay private
            pages = mmap.mmap(stream.fileno(), ahead + nbytes, access=mmap.ACCESS_COPY, offset=start - ahead)
        return torch.frombuffer(pages, dtype=torch.uint8, offset=ahead).view(self.dtype)

    def slab(self, block: slice, *, columns: bool = False) -> torch.Tensor:
        """Return some rows (or columns) of a matrix as they lie in the file; :meth:`mapped` tells what to mind."""
        height, width = self.shape
        if columns:
            return self.mapped().view(height, width)[:, block]
        first, last, _ = block.indices(height)
        return self.mapped(first * width, (last - first) * width).view(last - first, width)

    @property
    def numel(self) -> int:
        """How many numbers."""
        return math.prod(self.shape)


def as_bytes(buffer: torch.Tensor) -> memoryview:
    """Return a view on the memory of a flat uint8 tensor on the CPU."""
    array: Any = buffer.numpy()  # numpy's stubs of Python 3.11 do not know that an array is a buffer
    return memoryview(array)


def truncated(file: Path, expected: int, got: int) -> BadModel:
    """Return the error of a file that is shorter than its header says."""
    return BadModel(
        f"The shard {file} is truncated: its header promises {expected} bytes but it has {got}; copy it again."
    )


def read_header(file: Path) -> dict[str, Stored]:
    """Return where each tensor of a file lies, in the order of their data.

    Raises:
        BadModel: missing, truncated, or not a safetensors file.
    """
    try:
        size = file.stat().st_size
        with file.open("rb") as stream:
            length = int.from_bytes(stream.read(LENGTH), "little")
            if LENGTH + length > size:
                raise truncated(file, LENGTH + length, size)
            header = json.loads(stream.read(length))
        header.pop("__metadata__", None)
        found = {name: _stored(file, LENGTH + length, entry) for name, entry in header.items()}
    except FileNotFoundError as error:
        raise BadModel(f"The shard {file} is missing: copy the whole checkpoint folder again.") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise BadModel(
            f"The file {file} is not a safetensors file that can be read ({error}); copy or convert it again."
        ) from error
    end = max((entry.start + entry.nbytes for entry in found.values()), default=0)
    if end > size:
        raise truncated(file, end, size)
    return dict(sorted(found.items(), key=lambda item: item[1].start))


def _stored(file: Path, data: int, entry: dict[str, Any]) -> Stored:
    dtype = DTYPES[entry["dtype"]]
    shape = tuple(int(n) for n in entry["shape"])
    start, end = (int(offset) for offset in entry["data_offsets"])
    if end - start != math.prod(shape) * dtype.itemsize:
        raise ValueError(f"{end - start} bytes for a tensor of shape {list(shape)} and {dtype}")
    return Stored(file, dtype, shape, data + start, end - start)
