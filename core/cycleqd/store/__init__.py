"""The object store: where a run keeps everything that must survive (design section 4).

One contract (:mod:`cycleqd.store.contract`), a folder and an S3 implementation of it that pass the same conformance
suite, and helpers that need no more than the contract (:mod:`cycleqd.store.transfer`). Which object has which key is
:mod:`cycleqd.keys`' knowledge. boto3 is imported only when an S3 store is opened.
"""

from __future__ import annotations

from pathlib import Path
from urllib.parse import unquote, urlsplit

from cycleqd.errors import BadManifest
from cycleqd.store.contract import Credentials, ObjectStore, check_key, check_prefix
from cycleqd.store.folder import FolderStore

__all__ = ["Credentials", "FolderStore", "ObjectStore", "check_key", "check_prefix", "open_store"]

_FORMS = "s3://BUCKET/PREFIX, file:///PATH or a plain path"


def open_store(uri: str, credentials: Credentials | None = None) -> ObjectStore:
    """Return the store that a URI names. Nothing is read or written yet: :func:`cycleqd.store.transfer.probe` does.

    Args:
        uri: ``s3://BUCKET/PREFIX``, ``file:///PATH`` or a plain path (relative to the working directory).
        credentials: for S3; None takes boto3's usual chain (``AWS_*``, profile, role of the machine).

    Raises:
        BadManifest: the URI is malformed, of another scheme, or names a file where a folder should be.
    """
    scheme, separator, rest = uri.partition("://")
    if not separator:
        if not uri.strip():
            raise BadManifest(f"The store's URI is empty: use {_FORMS}.")
        return FolderStore(Path(uri))
    if scheme == "file":
        return FolderStore(_file_path(uri))
    if scheme != "s3":
        raise BadManifest(f"The store {uri} has the scheme {scheme}://, which is none of a store: use {_FORMS}.")
    bucket, _, prefix = rest.partition("/")
    from cycleqd.store.s3 import S3Store  # noqa: PLC0415 - boto3 costs 0.3 s that runs in a folder need not pay

    return S3Store(bucket, prefix, credentials)


def _file_path(uri: str) -> Path:
    """Return the path of a ``file://`` URI."""
    parts = urlsplit(uri)
    if parts.netloc not in {"", "localhost"} or not parts.path.startswith("/"):
        raise BadManifest(f"The store {uri} names a host, not a path: write file:///PATH with three slashes.")
    return Path(unquote(parts.path))
