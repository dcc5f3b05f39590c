"""The object store in an S3 bucket, Amazon's or any server that speaks its protocol.

Write-once is ``PUT`` with ``If-None-Match: *``. Transient faults are repeated by botocore (standard mode), and within
the body of a download by :mod:`cycleqd.store.ranges`; what its errors mean, :mod:`cycleqd.store.s3_errors` knows.
Big files go in parts (:mod:`cycleqd.store.multipart`). An upload that was killed leaves parts, with which the next
upload of the key goes on; where none comes they cost room and cannot be seen: give the bucket a lifecycle rule
(``AbortIncompleteMultipartUpload``).
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from functools import cache, lru_cache
from itertools import islice
from pathlib import Path
from typing import Any

import boto3
from botocore.awsrequest import AWSRequest
from botocore.config import Config
from botocore.exceptions import ClientError
from botocore.loaders import Loader, create_loader
from botocore.session import get_session
from botocore.utils import parse_timestamp

from cycleqd.errors import (
    BadData,
    BadManifest,
    CycleQDError,
    MissingInput,
    MissingObject,
    PermanentError,
    StoreUnreachable,
)
from cycleqd.store.atomic import open_source
from cycleqd.store.checksums import CRC64, field_of
from cycleqd.store.contract import Credentials, check_key, check_prefix, is_key
from cycleqd.store.multipart import Source, abort, send
from cycleqd.store.parallel import PIECE_BYTES
from cycleqd.store.ranges import Version, fetch, version_of
from cycleqd.store.remote import Remote
from cycleqd.store.s3_errors import BOTO_ERRORS, CONNECT_SECONDS, READ_SECONDS, code_of, translate

ATTEMPTS = 4
"""Requests in all, with waits of up to 1, 2 and 4 s: long enough for a restart of a pod, short for a wrong endpoint."""

SHARED_CLIENTS = 64
"""Clients that are kept for the next store with the same credentials; one takes 0.5 MiB and 10 ms to make."""

_CONFLICT_TRIES = 5
PAGE_KEYS = 1000
"""S3's limit of keys in one answer to a listing, and in one request to delete."""

_BUCKET = re.compile(r"[A-Za-z0-9._-]{1,255}")


class S3Store:
    """An :class:`~cycleqd.store.contract.ObjectStore` below a prefix of a bucket, which must exist or be made first."""

    def __init__(
        self,
        bucket: str,
        prefix: str = "",
        credentials: Credentials | None = None,
        *,
        part_bytes: int = PIECE_BYTES,
        page_keys: int = PAGE_KEYS,
        attempts: int = ATTEMPTS,
    ) -> None:
        """Make a client; no request is sent yet.

        Args:
            bucket: its name.
            prefix: of all keys, without the slashes at its ends; may be empty.
            credentials: None takes boto3's usual chain.
            part_bytes: bigger files are sent, and objects fetched, in pieces of this size (S3: at least 5 MiB).
            page_keys: keys in one answer to a listing, and in one request to delete (S3: at most 1000).
            attempts: requests in all before a transient fault is told.

        Raises:
            BadManifest: the name, the prefix or the endpoint is malformed.
            AccessDenied: the credentials' profile does not exist.
        """
        prefix = prefix.strip("/")
        self.uri = f"s3://{bucket}/{prefix}" if prefix else f"s3://{bucket}"
        if not _BUCKET.fullmatch(bucket):
            raise BadManifest(f"The store {self.uri} has no valid bucket name: write s3://BUCKET/PREFIX.")
        try:
            self._base = f"{check_prefix(prefix)}/" if prefix else ""
        except BadData as error:
            raise BadManifest(f"The store {self.uri} has an impossible prefix: {error}") from error
        self._bucket = bucket
        self._where = f"The store {self.uri}"
        self._bucket_seen = False
        self._page_keys = page_keys
        with self._errors():
            self._client = _client(credentials, attempts)
        self._where += f" at {self._client.meta.endpoint_url}"
        self._part_bytes = part_bytes
        self._attempts = attempts

    def get(self, key: str) -> bytes:
        """Return the whole object."""
        name = self._name(key)
        with self._errors(key):
            return bytes(self._client.get_object(Bucket=self._bucket, Key=name)["Body"].read())

    def put(self, key: str, data: bytes) -> None:
        """Write the object, over an older one if need be."""
        name = self._name(key)
        with self._errors(key):
            self._client.put_object(Bucket=self._bucket, Key=name, Body=data, **field_of(data))

    def put_once(self, key: str, data: bytes) -> bool:
        """Write the object unless there is one.

        409 is the answer to one of two writes at the same moment, which the protocol wants repeated; it is no fault
        that botocore repeats.
        """
        name = self._name(key)
        with self._errors(key):
            for _ in range(_CONFLICT_TRIES):
                try:
                    self._client.put_object(Bucket=self._bucket, Key=name, Body=data, IfNoneMatch="*", **field_of(data))
                except ClientError as error:
                    code = code_of(error)
                    if code in {"PreconditionFailed", "412"}:
                        return False
                    if code not in {"ConditionalRequestConflict", "409"}:
                        raise
                else:
                    return True
        raise StoreUnreachable(f"{self._where} reports endless conflicts about {key}: run it again later.")

    def list(self, prefix: str = "", after: str = "") -> Iterator[str]:
        """Yield the keys below ``prefix`` after ``after``, in order; one page is in memory at a time."""
        request = {"Bucket": self._bucket, "Prefix": self._base + check_prefix(prefix), "MaxKeys": self._page_keys}
        if after:
            request["StartAfter"] = self._base + after
        with self._errors():
            for page in self._client.get_paginator("list_objects_v2").paginate(**request):
                for entry in page.get("Contents", ()):
                    key = entry["Key"].removeprefix(self._base)
                    if is_key(key):  # consoles make "folders", objects whose names end with a slash
                        yield key

    def exists(self, key: str) -> bool:
        """Return whether there is an object of this key."""
        try:
            self.size(key)
        except MissingObject:
            return False
        return True

    def size(self, key: str) -> int:
        """Return the object's length in bytes."""
        return self._version(key).size

    def upload(self, path: Path, key: str) -> None:
        """Send a file, in parts if it is big; the object appears with the last one.

        Parts stay on the server when the connection is lost or the process is killed, and the next upload of the key
        goes on with them. They are removed when trying again cannot help.
        """
        with open_source(path) as file:
            source = Source(file.fileno(), os.fstat(file.fileno()).st_size, str(path))
            if source.size <= self._part_bytes:
                self.put(key, file.read())
            else:
                self._send(source, key)
            arrived = self.size(key)
        if arrived != source.size:
            raise StoreUnreachable(
                f"{self._where} has {arrived} bytes of {key} instead of {source.size}: upload it again."
            )

    def download(self, key: str, path: Path) -> None:
        """Fetch an object into a file, several ranges at a time if it is big.

        What had arrived when the connection was lost or the process was killed stays in hidden files beside ``path``,
        and the next download of the same version to the same ``path`` goes on with it.
        """
        version = self._version(key)
        with self._errors(key):
            fetch(self._remote(key), version, path, self._part_bytes, self._attempts)

    def delete(self, key: str) -> None:
        """Remove the object."""
        name = self._name(key)
        with self._errors(key):
            self._client.delete_object(Bucket=self._bucket, Key=name)

    def delete_prefix(self, prefix: str) -> int:
        """Remove all objects below ``prefix``, a thousand a request."""
        count = 0
        found = self.list(check_prefix(prefix, folder=True))
        while keys := list(islice(found, self._page_keys)):
            names = [{"Key": self._name(key)} for key in keys]
            with self._errors(prefix):
                answer = self._client.delete_objects(Bucket=self._bucket, Delete={"Objects": names, "Quiet": True})
            for refused in answer.get("Errors", ()):
                error = ClientError({"Error": refused}, "DeleteObjects")
                raise translate(error, self._where, prefix)
            count += len(keys)
        return count

    def make_bucket(self) -> None:
        """Make the bucket, in the client's region, unless it is there."""
        try:
            self._see_bucket()
        except MissingInput:
            region = self._client.meta.region_name
            # S3's first region is the one that must not be named.
            place = {} if region == "us-east-1" else {"CreateBucketConfiguration": {"LocationConstraint": region}}
            with self._errors(), suppress(self._client.exceptions.BucketAlreadyOwnedByYou):  # somebody was faster
                self._client.create_bucket(Bucket=self._bucket, **place)

    def _send(self, source: Source, key: str) -> None:
        remote = self._remote(key)
        try:
            with self._errors(key):
                send(source, remote, self._part_bytes)
        except PermanentError:
            with suppress(CycleQDError), self._errors(key):  # the first error is the one worth telling
                abort(remote)
            raise

    def _version(self, key: str) -> Version:
        """Ask for the current version of an object."""
        remote = self._remote(key)
        try:
            with self._errors(key):
                version = version_of(remote)
        except MissingObject:
            self._see_bucket()  # HEAD says 404 and no more, be it the object, the bucket or the user that is missing
            raise
        self._bucket_seen = True
        return version

    def _remote(self, key: str) -> Remote:
        return Remote(self._client, self._bucket, self._name(key))

    def _name(self, key: str) -> str:
        """Return the key within the bucket."""
        return self._base + check_key(key)

    def _see_bucket(self) -> None:
        """Make sure, once, that the bucket exists and knows us: a listing is a request whose refusal has a body."""
        if not self._bucket_seen:
            with self._errors():
                self._client.list_objects_v2(Bucket=self._bucket, Prefix=self._base, MaxKeys=1)
            self._bucket_seen = True

    @contextmanager
    def _errors(self, key: str = "") -> Iterator[None]:
        """Translate what boto3 raises."""
        try:
            yield
        except BOTO_ERRORS as error:
            raise translate(error, self._where, key) from error


def _client(credentials: Credentials | None, attempts: int) -> Any:  # noqa: ANN401 - boto3 makes the class at run time
    """Return a boto3 client of S3, which several threads may use. Stores with the same credentials share one."""
    if credentials is None:  # the environment may say something else the next time
        return _new_client(None, attempts)
    return _shared_client(credentials, attempts)


@lru_cache(maxsize=SHARED_CLIENTS)
def _shared_client(credentials: Credentials, attempts: int) -> Any:  # noqa: ANN401 - see _client
    return _new_client(credentials, attempts)


@cache
def _descriptions() -> Loader:
    """Return what reads botocore's descriptions of services, and keeps them: 12 MiB, which each client would have."""
    return create_loader()


def _timestamp(value: Any) -> datetime:  # noqa: ANN401 - as botocore gives it
    """Read the time of an object as S3 writes it. botocore's own reader takes half of the time of a long listing."""
    try:
        return datetime.fromisoformat(value)
    except (TypeError, ValueError):  # the other forms, of headers for instance
        return parse_timestamp(value)


def _new_client(credentials: Credentials | None, attempts: int) -> Any:  # noqa: ANN401 - see _client
    core = get_session()
    core.register_component("data_loader", _descriptions())
    core.get_component("response_parser_factory").set_parser_defaults(timestamp_parser=_timestamp)
    session = boto3.session.Session(
        aws_access_key_id=credentials.access_key_id if credentials else None,
        aws_secret_access_key=credentials.secret_access_key if credentials else None,
        aws_session_token=credentials.session_token if credentials else None,
        region_name=credentials.region if credentials else None,
        botocore_session=core,
    )
    config = Config(
        connect_timeout=CONNECT_SECONDS,
        read_timeout=READ_SECONDS,
        retries={"mode": "standard", "total_max_attempts": attempts},
        max_pool_connections=32,
        tcp_keepalive=True,
        # botocore's own checksums would follow the body, in chunks: over TLS, servers that answer before the last chunk
        # has come (versitygw) cut the connection. Ours are sent before it.
        request_checksum_calculation="when_required",
    )
    endpoint = credentials.endpoint_url if credentials else None
    certificates = credentials.ca_bundle if credentials else None
    try:
        client = session.client("s3", endpoint_url=endpoint, config=config, verify=certificates)
    except ValueError as error:
        raise BadManifest(f"The S3 endpoint is malformed ({error}): correct AWS_ENDPOINT_URL.") from error
    client.meta.events.register("before-sign.s3.UploadPart", _sign_checksum_instead)
    return client


def _sign_checksum_instead(request: AWSRequest, **_: object) -> None:
    """Sign a part's checksum, which is a header, in place of the SHA-256 of its content.

    botocore does the same over TLS with checksums that it computes itself.
    """
    if f"x-amz-checksum-{CRC64.name.lower()}" in request.headers:
        config = request.context["client_config"]
        request.context["client_config"] = config.merge(Config(s3={"payload_signing_enabled": False}))
