"""What an object store promises, and what a key may look like. No implementation lives here.

The promises are kept by tests/core/store, which every implementation passes. What is stored under which key is
:mod:`cycleqd.keys`' knowledge.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Protocol

from cycleqd.errors import BadData

MAX_KEY_BYTES = 800
"""S3 allows 1024 bytes a key; the rest is left for the prefix of the store."""

MAX_SEGMENT_BYTES = 200
"""File systems allow 255 bytes a name; the rest is left for the suffix of a temporary file."""

_UNWRITABLE = re.compile(r"[\x00-\x1f\x7f\\]")

RESERVED_SEGMENT = ".cycleqd-tmp"
"""Where the folder store keeps half-written files; no key begins with it."""


@dataclass(frozen=True)
class Credentials:
    """What S3 needs to know who is asking. Secrets do not appear in its repr."""

    access_key_id: str
    secret_access_key: str = field(repr=False)
    session_token: str | None = field(default=None, repr=False)
    endpoint_url: str | None = None
    """None: ``AWS_ENDPOINT_URL_S3``, ``AWS_ENDPOINT_URL``, or Amazon's."""
    region: str | None = None
    """None: ``AWS_DEFAULT_REGION`` or the profile's."""
    ca_bundle: str | None = None
    """File with the certificates that the endpoint's is checked against. None: ``AWS_CA_BUNDLE`` or the usual ones."""


class ObjectStore(Protocol):
    """Objects of bytes under slash-separated keys. All methods may be called from several threads.

    Every write is atomic: a reader sees the whole old object, the whole new one, or none. Nothing reads a modification
    time, or makes more of an ETag than a version's name. Every method may raise :class:`~cycleqd.errors.AccessDenied`,
    :class:`~cycleqd.errors.StoreUnreachable`, :class:`~cycleqd.errors.MissingInput` (no such bucket),
    :class:`~cycleqd.errors.BadManifest` (not a folder) and :class:`~cycleqd.errors.BadData` (a key that
    :func:`check_key` refuses); methods that write also :class:`~cycleqd.errors.NoSpace`.
    """

    @property
    def uri(self) -> str:
        """The store's name in messages and reports; :func:`cycleqd.store.open_store` opens it again."""
        ...

    def get(self, key: str) -> bytes:
        """Return the whole object. For records; big files go through :meth:`download`.

        Raises:
            MissingObject: there is none.
        """
        ...

    def put(self, key: str, data: bytes) -> None:
        """Write the object, over an older one if need be. Only for derived objects: who writes last wins."""
        ...

    def put_once(self, key: str, data: bytes) -> bool:
        """Write the object unless there is one; of racing writers exactly one succeeds.

        Returns:
            True: this call wrote it. False: an object is there and was not touched. Over S3, False may also follow
            a request that was interrupted after it had succeeded: the repetition finds the object that this very
            call wrote. So False means "it is there", not "somebody else wrote it". Callers that must know read it;
            for results it makes no difference, because the first one counts whoever wrote it.
        """
        ...

    def list(self, prefix: str = "", after: str = "") -> Iterator[str]:
        """Yield the keys that begin with ``prefix`` and come strictly after ``after``.

        The order is that of the keys' UTF-8 bytes (so ``a-b`` comes before ``a/b``). The listing is read lazily,
        page by page; what is written meanwhile may or may not appear. ``after`` need not exist.
        """
        ...

    def exists(self, key: str) -> bool:
        """Return whether there is an object of this key."""
        ...

    def size(self, key: str) -> int:
        """Return the object's length in bytes.

        Raises:
            MissingObject: there is none.
        """
        ...

    def upload(self, path: Path, key: str) -> None:
        """Write a file's content as the object, streaming. An interrupted upload leaves nothing under the key.

        What had arrived may be kept where no reader sees it; the next upload of the file need not send it again.

        Raises:
            MissingObject: there is no file ``path``.
        """
        ...

    def download(self, key: str, path: Path) -> None:
        """Write the object to the file ``path``, streaming, over an older file; parent folders are made.

        The file gets its name only when it is complete and has the object's size, and its checksum where the store
        keeps one. What had arrived when a download was interrupted may be kept in hidden files beside ``path``, so that
        the next download of the same object to the same place need not fetch it again.

        Raises:
            MissingObject: there is no such object.
        """
        ...

    def delete(self, key: str) -> None:
        """Remove the object; one that is not there is no error."""
        ...

    def delete_prefix(self, prefix: str) -> int:
        """Remove all objects below ``prefix``, which is empty (everything) or ends with a slash.

        Returns:
            How many there were.
        """
        ...


def check_key(key: str) -> str:
    """Return ``key`` if every store can hold it.

    A key is relative, has no empty, ``.`` or ``..`` segment, no control character and no backslash, and is at most
    800 bytes long, 200 bytes a segment. A key must not lie below another key (``a`` and ``a/b``): a folder cannot
    hold both.

    Raises:
        BadData: it is none.
    """
    segments = key.split("/")
    if not key or any(segment in {"", ".", ".."} for segment in segments):
        raise _bad(key, "use a relative path without empty, '.' and '..' segments")
    if segments[0] == RESERVED_SEGMENT:
        raise _bad(key, f"{RESERVED_SEGMENT} is kept for temporary files")
    _check_text(key)
    if len(key.encode()) > MAX_KEY_BYTES or any(len(segment.encode()) > MAX_SEGMENT_BYTES for segment in segments):
        raise _bad(key, f"use at most {MAX_KEY_BYTES} bytes, {MAX_SEGMENT_BYTES} between two slashes")
    return key


def check_prefix(prefix: str, *, folder: bool = False) -> str:
    """Return ``prefix`` if keys can begin with it; with ``folder`` it must be empty or end with a slash.

    Raises:
        BadData: no key begins like that.
    """
    if prefix:
        check_key(prefix.removesuffix("/"))
    if folder and prefix and not prefix.endswith("/"):
        raise _bad(prefix, "end the prefix with a slash, so that it cannot match the beginning of another name")
    return prefix


@lru_cache(1 << 16)  # a run lists the same thousands of keys after each child
def is_key(key: str) -> bool:
    """Return whether :func:`check_key` accepts ``key``; listings leave out what nobody could ask for."""
    try:
        check_key(key)
    except BadData:
        return False
    return True


def _check_text(key: str) -> None:
    """Refuse characters that some store changes or cannot write."""
    try:
        key.encode()
    except UnicodeEncodeError as error:
        raise _bad(key, "use text that UTF-8 can encode") from error
    if _UNWRITABLE.search(key):
        raise _bad(key, "leave out control characters and backslashes")


def _bad(key: str, advice: str) -> BadData:
    return BadData(f"{key[:120]!r} is not a key of an object store: {advice}.")
