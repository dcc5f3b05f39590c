"""The stores under test and the ways to break them: a full disk for the folder, a cut connection for S3."""

from __future__ import annotations

import resource
import secrets
import socket
import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol
from urllib.parse import urlsplit

import pytest

from cycleqd.store import Credentials, FolderStore, ObjectStore
from cycleqd.store.s3 import S3Store

PART_BYTES = 5 << 20
"""The smallest part that S3 accepts, so that a file of 11 MiB travels in three."""

PAGE_KEYS = 7

_GO_ON = b"HTTP/1.1 100"
"""The server's "100 Continue" comes before the request's body, so it is no answer to it."""


class Harness(Protocol):
    """One empty place to keep objects."""

    @property
    def kind(self) -> str:
        """The store's kind, for the names of tests."""
        ...

    def open(self) -> ObjectStore:
        """Return a store at the place; each call makes a new client."""
        ...

    def breaking(self, after_bytes: int) -> AbstractContextManager[ObjectStore]:
        """Give a store at the same place on which a transfer ends after so many bytes."""
        ...


@dataclass(frozen=True)
class FolderHarness:
    """A folder; the operating system refuses files beyond a size while it is broken."""

    root: Path
    kind: str = "folder"

    def open(self) -> ObjectStore:
        return FolderStore(self.root)

    @contextmanager
    def breaking(self, after_bytes: int) -> Iterator[ObjectStore]:
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        store = self.open()
        resource.setrlimit(resource.RLIMIT_FSIZE, (after_bytes, hard))  # Python ignores SIGXFSZ: a write then fails
        try:
            yield store
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@dataclass(frozen=True)
class S3Harness:
    """A prefix of a bucket; the connection is cut while it is broken."""

    bucket: str
    prefix: str
    credentials: Credentials
    kind: str = "s3"

    @property
    def endpoint(self) -> str:
        return self.credentials.endpoint_url or ""

    def open(self) -> ObjectStore:
        return S3Store(self.bucket, self.prefix, self.credentials, part_bytes=PART_BYTES, page_keys=PAGE_KEYS)

    def open_at(self, endpoint: str, attempts: int = 2) -> ObjectStore:
        """Return a store that talks to another address, for example a proxy."""
        credentials = replace(self.credentials, endpoint_url=endpoint)
        return S3Store(self.bucket, self.prefix, credentials, part_bytes=PART_BYTES, attempts=attempts)

    @contextmanager
    def breaking(self, after_bytes: int) -> Iterator[ObjectStore]:
        with proxy_to(self.endpoint) as proxy:
            proxy.bytes_left = after_bytes
            yield self.open_at(proxy.url)


class Proxy:
    """Passes bytes on to a server until told to stop."""

    def __init__(self, host: str, port: int) -> None:
        self._upstream = (host, port)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self.bytes_left: int | None = None
        """Of both directions together; None: no limit. Then every connection is cut."""
        self.stalled: threading.Event | None = None
        """If set: when no bytes are left, connections hang instead of being cut, and this tells."""
        self.flips: dict[bool, int] = {}
        """Whether an answer, and which byte of all such bytes arrives with another lowest bit."""
        self.sent = self.answered = 0
        """Bytes that passed in the two directions."""
        self.answers_to_swallow = 0
        """So many connections are cut when the server's answer comes."""
        self._lock = threading.Lock()
        self._ends: list[socket.socket] = []
        self._closed = threading.Event()
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        """Cut everything: a server may wait for the rest of a request that stalled."""
        self._closed.set()
        for end in (self._listener, *self._ends):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()

    def _accept(self) -> None:
        with suppress(OSError):  # closed
            while True:
                client, _ = self._listener.accept()
                server = socket.create_connection(self._upstream)
                self._ends += [client, server]
                for source, target in ((client, server), (server, client)):
                    threading.Thread(target=self._pass, args=(source, target, target is client), daemon=True).start()

    def _pass(self, source: socket.socket, target: socket.socket, is_answer: bool) -> None:
        with suppress(OSError):
            while data := source.recv(65536):
                if not self._may_pass(data, is_answer):
                    break
                target.sendall(self._counted(data, is_answer))
        for end in (source, target):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
                end.close()

    def _may_pass(self, data: bytes, is_answer: bool) -> bool:
        with self._lock:
            if is_answer and self.answers_to_swallow and not data.startswith(_GO_ON):
                self.answers_to_swallow -= 1
                return False
            if self.bytes_left is None:
                return True
            self.bytes_left -= len(data)
            is_cut = self.bytes_left < 0
        if is_cut and self.stalled:
            self.stalled.set()
            self._closed.wait()
        return not is_cut

    def _counted(self, data: bytes, is_answer: bool) -> bytes:
        """Return what arrives of ``data``."""
        with self._lock:
            passed = self.answered if is_answer else self.sent
            if is_answer:
                self.answered += len(data)
            else:
                self.sent += len(data)
            at = self.flips.get(is_answer, -1) - passed
            return data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :] if 0 <= at < len(data) else data


@contextmanager
def proxy_to(endpoint: str) -> Iterator[Proxy]:
    """Run a proxy in front of an endpoint."""
    parts = urlsplit(endpoint)
    if parts.scheme != "http":
        pytest.skip("the proxy that cuts connections speaks no TLS")
    proxy = Proxy(parts.hostname or "", parts.port or 80)
    try:
        yield proxy
    finally:
        proxy.close()


def unused_address() -> str:
    """Return an endpoint where nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return f"http://127.0.0.1:{listener.getsockname()[1]}"


def token() -> str:
    """Return a name that no other test uses."""
    return secrets.token_hex(6)
