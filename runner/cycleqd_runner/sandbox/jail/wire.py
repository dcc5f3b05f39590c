"""Messages between the worker and the sandbox's host: a JSON header and raw blobs. Both sides use this module.

JSON and not pickle: what comes back was touched by model-written code, and reading it must not be able to run any.
"""

from __future__ import annotations

import json
import socket
import struct
from collections.abc import Mapping, Sequence
from typing import Any

_PREFIX = struct.Struct("!IQ")
_CHUNK = 1 << 20

Header = dict[str, Any]
"""JSON object of a message; ``blobs`` holds the sizes of the blobs, in bytes."""


def pack(header: Mapping[str, Any], blobs: Sequence[bytes] = ()) -> bytes:
    """Return the bytes of one message."""
    head = json.dumps({**header, "blobs": [len(blob) for blob in blobs]}).encode("ascii")
    return b"".join((_PREFIX.pack(len(head), sum(map(len, blobs))), head, *blobs))


class Assembler:
    """Collects the bytes of one message as they arrive."""

    def __init__(self) -> None:
        self._data = bytearray()

    def missing(self) -> int:
        """Return how many bytes to ask for next; 0 when the message is complete."""
        if len(self._data) < _PREFIX.size:
            return _PREFIX.size - len(self._data)
        head, blobs = _PREFIX.unpack_from(self._data)
        return int(_PREFIX.size + head + blobs) - len(self._data)

    def feed(self, data: bytes) -> None:
        """Append bytes that were received."""
        self._data += data

    def message(self) -> tuple[Header, list[bytes]]:
        """Return header and blobs of the complete message."""
        head, _ = _PREFIX.unpack_from(self._data)
        position = _PREFIX.size + head
        header: Header = json.loads(bytes(self._data[_PREFIX.size : position]))
        blobs = []
        for size in header["blobs"]:
            blobs.append(bytes(self._data[position : position + size]))
            position += size
        return header, blobs


def receive(connection: socket.socket) -> tuple[Header, list[bytes]] | None:
    """Return the next message of a blocking connection, None if it ended. Raises OSError, TimeoutError."""
    assembler = Assembler()
    while missing := assembler.missing():
        data = connection.recv(min(missing, _CHUNK))
        if not data:
            return None
        assembler.feed(data)
    return assembler.message()
