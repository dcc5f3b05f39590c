"""A file that arrives in pieces: two hidden files beside its name keep what is there when the process is killed.

One holds the content, the other says of which version it is and which pieces are complete. One process at a time has
them. Where pieces come from lives elsewhere.
"""

from __future__ import annotations

import fcntl
import json
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from cycleqd.store.atomic import make_durable, translate
from cycleqd.store.checksums import Checksum
from cycleqd.store.parallel import Piece


class Unfinished:
    """The file on its way. Several threads may write pieces of it."""

    def __init__(self, descriptor: int, path: Path) -> None:
        """Take an open file, and the ``path`` that it shall have."""
        self._descriptor = descriptor
        self._path = path
        self._notes = path.with_name(f".{path.name}.pieces")
        self._lock = threading.Lock()
        self._known: dict[int, int] = {}

    def begin(self, version: str, size: int) -> None:
        """Keep what was noted about the same ``version``, which fits in a line; forget what is of another."""
        lines = self._notes.read_text(encoding="utf-8").split("\n") if self._notes.exists() else [""]
        # The last line is empty, or torn if its writer was killed.
        kept = lines[1:-1] if lines[0] == version else []
        self._known = dict(map(json.loads, kept))
        self._notes.write_text("\n".join([version, *kept, ""]), encoding="utf-8")
        os.ftruncate(self._descriptor, size)

    def has(self, piece: Piece, checksum: Checksum) -> int | None:
        """Return the checksum of a piece that is complete; a power cut can lose content that was noted."""
        crc = self._known.get(piece.number)
        if crc is None or crc != checksum.of(os.pread(self._descriptor, piece.length, piece.start), 0):
            return None
        return crc

    def write(self, data: bytes, offset: int) -> None:
        """Put bytes at their place."""
        view = memoryview(data)
        while view:
            written = os.pwrite(self._descriptor, view, offset)
            view, offset = view[written:], offset + written

    def note(self, piece: Piece, crc: int) -> None:
        """Note that a piece is complete."""
        with self._lock, self._notes.open("a", encoding="utf-8") as notes:
            notes.write(json.dumps([piece.number, crc]) + "\n")

    def discard(self) -> None:
        """Forget what arrived: it is not what it should be."""
        self._notes.unlink(missing_ok=True)

    def finish(self) -> None:
        """Give the file its name."""
        os.fsync(self._descriptor)
        _hidden(self._path).replace(self._path)
        self._notes.unlink(missing_ok=True)
        make_durable(self._path.parent)


@contextmanager
def unfinished_file(path: Path) -> Iterator[Unfinished]:
    """Give the file that shall become ``path``; wait while another process or thread has it. Parent folders are made.

    Raises:
        CycleQDError: an operating system's error, translated.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = _claim(_hidden(path))
        try:
            yield Unfinished(descriptor, path)
        finally:
            os.close(descriptor)  # and with it the lock
    except OSError as error:
        raise translate(error, f"The file {path}") from error


def _hidden(path: Path) -> Path:
    return path.with_name(f".{path.name}.part")


def _claim(path: Path) -> int:
    """Open and lock a file; again if whoever had the lock meanwhile gave the file another name."""
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            if path.exists() and os.path.samestat(os.fstat(descriptor), path.stat()):
                return descriptor
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)
