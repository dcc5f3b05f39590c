"""Uploads in parts that go on where a killed one stopped. Errors are boto3's; the store translates them.

Why not s3transfer or its CRT client: neither goes on with an upload that another process began. The CRT client is as
fast as this, s3transfer is not (benchmarks/s3.py). Nothing is noted on this side: the server knows which parts it has.
"""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any

from botocore.exceptions import ClientError

from cycleqd.errors import BadData, StoreUnreachable
from cycleqd.store.checksums import CRC64
from cycleqd.store.parallel import Piece, for_all, pieces_of
from cycleqd.store.remote import Remote
from cycleqd.store.s3_errors import code_of

_UNKNOWN_CHECKSUM = frozenset({HTTPStatus.BAD_REQUEST, HTTPStatus.NOT_IMPLEMENTED})
_MAY_NOT_LOOK = frozenset({HTTPStatus.FORBIDDEN, HTTPStatus.METHOD_NOT_ALLOWED, HTTPStatus.NOT_IMPLEMENTED})
_SHARED_CODES = frozenset({"NoSuchUpload", "InvalidPart"})
"""Another process goes on with the same upload: it has finished it, or sent another content."""


@dataclass(frozen=True)
class Source:
    """An open file, of ``size`` bytes when it was opened, and its name in messages."""

    descriptor: int
    size: int
    name: str

    def read(self, piece: Piece) -> bytes:
        """Return the content of a piece. Raises BadData if the file has become shorter."""
        data = os.pread(self.descriptor, piece.length, piece.start)
        if len(data) != piece.length:
            raise BadData(f"The file {self.name} became shorter while it was uploaded: upload it when it is complete.")
        return data


@dataclass(frozen=True)
class _Upload:
    """An upload that the server knows.

    Attributes:
        id: the server's name of it.
        is_checked: whether the server says that it checks and keeps CRC64NVME; else parts are signed.
        parts: by number, what the server has of it.
    """

    id: str
    is_checked: bool
    parts: dict[int, dict[str, Any]] = field(default_factory=dict)


def send(source: Source, remote: Remote, piece_bytes: int) -> None:
    """Write a file as an object, which appears with the last part; parts that are there are not sent again.

    Raises:
        BadData: the file became shorter.
        StoreUnreachable: what arrived has another checksum.
        ClientError, BotoCoreError: boto3's.
    """
    pieces = pieces_of(source.size, piece_bytes)
    try:
        _complete(remote, _unfinished(remote) or _begin(remote), source, pieces)
    except ClientError as error:
        if code_of(error) not in _SHARED_CODES:
            raise
        _complete(remote, _begin(remote), source, pieces)


def abort(remote: Remote) -> None:
    """Remove the parts of all unfinished uploads of an object."""
    for found in _uploads(remote):
        remote.client.abort_multipart_upload(**remote.names, UploadId=found["UploadId"])


def _begin(remote: Remote) -> _Upload:
    """Begin an upload; a server that does not know the checksum gets none."""
    begin = remote.client.create_multipart_upload
    try:
        answer = begin(**remote.names, ChecksumAlgorithm=CRC64.name, ChecksumType="FULL_OBJECT")
    except ClientError as error:
        if _status(error) not in _UNKNOWN_CHECKSUM:
            raise
        answer = begin(**remote.names)
    return _Upload(answer["UploadId"], "ChecksumAlgorithm" in answer)


def _unfinished(remote: Remote) -> _Upload | None:
    """Return the latest upload that was begun like ours and not finished, if we may see it."""
    try:
        like_ours = [each for each in _uploads(remote) if each.get("ChecksumAlgorithm", CRC64.name) == CRC64.name]
        if not like_ours:
            return None
        latest = max(like_ours, key=lambda each: each["Initiated"])
        names = {**remote.names, "UploadId": latest["UploadId"]}
        pages = remote.client.get_paginator("list_parts").paginate(**names)
        parts = {part["PartNumber"]: part for page in pages for part in page.get("Parts", ())}
    except ClientError as error:
        if _status(error) not in _MAY_NOT_LOOK:
            raise
        return None  # whoever may not even write is told by the next request
    return _Upload(latest["UploadId"], "ChecksumAlgorithm" in latest, parts)


def _uploads(remote: Remote) -> list[dict[str, Any]]:
    pages = remote.client.get_paginator("list_multipart_uploads").paginate(Bucket=remote.bucket, Prefix=remote.key)
    return [each for page in pages for each in page.get("Uploads", ()) if each["Key"] == remote.key]


def _complete(remote: Remote, upload: _Upload, source: Source, pieces: list[Piece]) -> None:
    """Send what is missing and put the parts together. The server refuses a list that is not what it has."""
    names = {**remote.names, "UploadId": upload.id}

    def part_of(piece: Piece) -> tuple[int, dict[str, Any]]:
        data = source.read(piece)
        crc = CRC64.of(data, 0)
        checksum = {CRC64.field: CRC64.text(crc)} if upload.is_checked else {}
        there = upload.parts.get(piece.number)
        if there is None or not _holds(there, data, crc):
            there = remote.client.upload_part(**names, PartNumber=piece.number, Body=data, **checksum)
        return crc, {"PartNumber": piece.number, "ETag": there["ETag"], **checksum}

    sent = for_all(part_of, pieces)
    answer = remote.client.complete_multipart_upload(**names, MultipartUpload={"Parts": [part for _, part in sent]})
    expected = CRC64.of_all((crc, piece.length) for (crc, _), piece in zip(sent, pieces, strict=True))
    arrived = answer.get(CRC64.field, expected)
    if arrived != expected:
        raise StoreUnreachable(f"{remote} has the checksum {arrived} instead of {expected}: upload it again.")


def _holds(part: dict[str, Any], data: bytes, crc: int) -> bool:
    """Return whether the server's part is known to be ``data``, by its checksum or, where it keeps none, its ETag.

    An ETag is often the MD5 of a part. Equality proves enough; where it is something else the part is sent again.
    """
    if part["Size"] != len(data):
        return False
    if CRC64.field in part:
        return bool(part[CRC64.field] == CRC64.text(crc))
    return bool(part["ETag"].strip('"') == hashlib.md5(data, usedforsecurity=False).hexdigest())


def _status(error: ClientError) -> int:
    return error.response["ResponseMetadata"]["HTTPStatusCode"]
