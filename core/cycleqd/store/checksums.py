"""The checksums that S3 keeps of whole objects, and how those of parts are joined. Who sends them lives elsewhere.

CRC64NVME is what servers compute fastest and Amazon's default; the others are checked where an uploader chose them.
Only checksums of whole objects count: one of a list of parts can be compared by nobody who does not know the parts.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from awscrt.checksums import combine_crc32, combine_crc32c, combine_crc64nvme, crc32, crc32c, crc64nvme


@dataclass(frozen=True)
class Checksum:
    """One kind.

    Attributes:
        name: as S3 writes it.
        of: the checksum of bytes that follow others, whose checksum is the second argument.
        joined: the checksum of two pieces, from both checksums and the second's length [bytes].
        width: bytes of a checksum.
    """

    name: str
    of: Callable[[bytes, int], int]
    joined: Callable[[int, int, int], int]
    width: int

    @property
    def field(self) -> str:
        """The name of its field in requests and answers."""
        return f"Checksum{self.name}"

    def text(self, value: int) -> str:
        """Return a checksum as S3 writes it."""
        return base64.b64encode(value.to_bytes(self.width, "big")).decode()

    def of_all(self, pieces: Iterable[tuple[int, int]]) -> str:
        """Return the checksum of consecutive pieces, given as (checksum, length [bytes])."""
        total = 0
        for value, length in pieces:
            total = self.joined(total, value, length)
        return self.text(total)


CRC64 = Checksum("CRC64NVME", crc64nvme, combine_crc64nvme, 8)
KINDS = (CRC64, Checksum("CRC32C", crc32c, combine_crc32c, 4), Checksum("CRC32", crc32, combine_crc32, 4))


def field_of(data: bytes) -> dict[str, str]:
    """Return what a request to write ``data`` has to say, so that the server refuses it if a byte was changed."""
    return {CRC64.field: CRC64.text(CRC64.of(data, 0))}


def announced(answer: Mapping[str, Any]) -> tuple[Checksum, str]:
    """Return the kind and value of the whole object's checksum in an answer; CRC64NVME and "" if it has none."""
    if answer.get("ChecksumType", "FULL_OBJECT") == "FULL_OBJECT":
        for kind in KINDS:
            value = answer.get(kind.field, "")
            if value and "-" not in value:  # "-3": of three parts' checksums, told by servers that know no types
                return kind, value
    return CRC64, ""
