"""Downloads by ranges that go on where a killed one stopped, and never mix two versions of an object.

Ranges are written straight to their places in the file. All requests ask for the version that the first one saw
(``If-Match``); the ETag is compared, never interpreted.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from botocore.exceptions import ClientError, IncompleteReadError, ReadTimeoutError, ResponseStreamingError

from cycleqd.errors import StoreUnreachable, UnsupportedHere
from cycleqd.store.checksums import Checksum, announced
from cycleqd.store.parallel import Piece, for_all, pieces_of
from cycleqd.store.remote import Remote
from cycleqd.store.s3_errors import code_of
from cycleqd.store.unfinished import Unfinished, unfinished_file

_CUT = (IncompleteReadError, ReadTimeoutError, ResponseStreamingError)
"""A connection that ended within a body: botocore repeats requests, but not this."""

_CHUNK_BYTES = 1 << 20
_VERSIONS = 3
"""How many versions of an object may come and go during one download."""


class _Replaced(Exception):
    """There is another version of the object now."""


@dataclass(frozen=True)
class Version:
    """What an object was when a download began.

    Attributes:
        etag: names the version.
        size: bytes.
        checksum: the kind in which pieces are summed.
        value: the checksum of the whole, "" if the server has none.
    """

    etag: str
    size: int
    checksum: Checksum
    value: str

    def line(self, piece_bytes: int) -> str:
        """Return what must be equal for a download to go on."""
        return json.dumps([self.etag, self.size, piece_bytes, self.checksum.name, self.value])


def version_of(remote: Remote) -> Version:
    """Ask for the current version. Raises boto3's errors."""
    answer = remote.client.head_object(**remote.names, ChecksumMode="ENABLED")
    return Version(answer["ETag"], int(answer["ContentLength"]), *announced(answer))


def fetch(remote: Remote, version: Version, path: Path, piece_bytes: int, attempts: int) -> None:
    """Write an object to the file ``path``, which appears when it is complete and has the object's checksum.

    Args:
        remote: the object.
        version: its version; a newer one takes its place if there is one by then.
        path: the file.
        piece_bytes: bytes a range.
        attempts: how often a range is asked for when connections break.

    Raises:
        StoreUnreachable: what arrived has another checksum, or the object is replaced again and again.
        UnsupportedHere: the server sends something else than the range.
        CycleQDError: an operating system's error, translated.
        ClientError, BotoCoreError: boto3's.
    """
    with unfinished_file(path) as file:
        for _ in range(_VERSIONS):
            try:
                _fetch_version(remote, version, file, piece_bytes, attempts)
            except _Replaced:
                version = version_of(remote)
            else:
                return
    raise StoreUnreachable(f"{remote} was replaced {_VERSIONS} times during its download: try when nobody writes it.")


def _fetch_version(remote: Remote, version: Version, file: Unfinished, piece_bytes: int, attempts: int) -> None:
    file.begin(version.line(piece_bytes), version.size)

    def crc_of(piece: Piece) -> int:
        crc = file.has(piece, version.checksum)
        if crc is None:
            crc = _fetch_piece(remote, version, file, piece, attempts)
            file.note(piece, crc)
        return crc

    pieces = pieces_of(version.size, piece_bytes)
    crcs = for_all(crc_of, pieces)
    arrived = version.checksum.of_all((crc, piece.length) for crc, piece in zip(crcs, pieces, strict=True))
    if version.value and arrived != version.value:
        file.discard()
        raise StoreUnreachable(
            f"{remote} arrived with the checksum {arrived} instead of {version.value}: run it again; if it stays so, "
            "the object is damaged, and has to be uploaded again."
        )
    file.finish()


def _fetch_piece(remote: Remote, version: Version, file: Unfinished, piece: Piece, attempts: int) -> int:
    """Write one range to its place, from where the last connection broke; return its checksum."""
    crc, offset, stop = 0, piece.start, piece.start + piece.length
    for attempt in range(1, attempts + 1):
        try:
            answer = remote.client.get_object(**remote.names, Range=f"bytes={offset}-{stop - 1}", IfMatch=version.etag)
        except ClientError as error:
            if code_of(error) in {"PreconditionFailed", "412"}:
                raise _Replaced from error
            raise
        if answer["ETag"] != version.etag:  # a server that does not know If-Match
            raise _Replaced
        if answer["ContentLength"] != stop - offset:
            raise UnsupportedHere(
                f"{remote} was asked for {stop - offset} bytes and sends {answer['ContentLength']}: use a server that "
                "honours Range."
            )
        try:
            for data in answer["Body"].iter_chunks(_CHUNK_BYTES):
                file.write(data, offset)
                crc, offset = version.checksum.of(data, crc), offset + len(data)
        except _CUT:
            if attempt == attempts:
                raise
        else:
            break
    return crc
