"""The safetensors container: reading single tensors and writing files that never fit in memory as a whole.

Why not ``safetensors.safe_open`` and ``save_file``: reading goes through ``read`` and not ``mmap``, so the pages of a
checkpoint are not resident memory of the process, and writing takes one tensor at a time, so a child is never held.
Which tensors make up a model is the knowledge of ``checkpoints`` and ``export``, not of this module.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
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

_NAMES = {dtype: name for name, dtype in DTYPES.items()}

_LENGTH = 8
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
        view = _bytes(buffer)
        done = 0
        with self.file.open("rb", buffering=0) as stream:
            stream.seek(self.start)
            while done < self.nbytes:  # one read returns at most 2 GiB
                count = stream.readinto(view[done:])
                if not count:
                    raise truncated(self.file, self.start + self.nbytes, self.start + done)
                done += count
        return buffer.view(self.dtype).view(self.shape)


def _bytes(buffer: torch.Tensor) -> memoryview:
    """Return a view on the memory of a flat uint8 tensor."""
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
            length = int.from_bytes(stream.read(_LENGTH), "little")
            if _LENGTH + length > size:
                raise truncated(file, _LENGTH + length, size)
            header = json.loads(stream.read(length))
        header.pop("__metadata__", None)
        found = {name: _stored(file, _LENGTH + length, entry) for name, entry in header.items()}
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


def write_file(file: Path, plan: Iterable[Planned], tensors: Iterable[torch.Tensor]) -> None:
    """Write ``tensors`` one after the other; only one of them is held at a time.

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
    text += b" " * (-len(text) % _LENGTH)
    with file.open("wb") as stream:
        stream.write(len(text).to_bytes(_LENGTH, "little") + text)
        for item, tensor in zip(plan, tensors, strict=True):
            if tensor.dtype != item.dtype or tuple(tensor.shape) != item.shape:
                raise ValueError(f"{item.name}: planned {item.dtype} {item.shape}, got {tensor.dtype} {tensor.shape}")
            data = tensor.detach().cpu().contiguous().reshape(-1)
            stream.write(_bytes(data.view(torch.uint8)))
