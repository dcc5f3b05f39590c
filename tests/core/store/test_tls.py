"""What is said where a conversation over TLS does not come about."""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
import trustme

from cycleqd.errors import StoreUnreachable
from cycleqd.store import Credentials, open_store

Answer = Callable[[socket.socket], None]


@contextmanager
def listening(answer: Answer) -> Iterator[str]:
    """Yield the URL of a server that gives every connection to ``answer`` and then closes it."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            with suppress(OSError):  # closed in the end
                while True:
                    connection, _ = server.accept()
                    with connection, suppress(OSError):
                        answer(connection)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield f"https://127.0.0.1:{server.getsockname()[1]}"
        server.shutdown(socket.SHUT_RDWR)
        thread.join(timeout=10)


def hang_up(connection: socket.socket) -> None:
    """Close while the client still says hello."""
    connection.recv(65536)


def with_a_strange_certificate(connection: socket.socket) -> None:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    trustme.CA().issue_cert("127.0.0.1").configure_cert(context)
    context.wrap_socket(connection, server_side=True).close()


def test_nothing_follows_the_body_that_a_server_might_not_wait_for(tmp_path: Path) -> None:
    """versitygw answers, and closes, before the chunk with a checksum has come, if it need not know the body."""
    authority = trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    heads: list[bytes] = []

    def refuse(connection: socket.socket) -> None:
        with context.wrap_socket(connection, server_side=True) as secure:
            heads.append(secure.recv(65536).partition(b"\r\n\r\n")[0].lower())
            secure.sendall(b"HTTP/1.1 412 Precondition Failed\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")

    with listening(refuse) as url:
        bundle = str(tmp_path / "ca.pem")
        credentials = Credentials("key", "secret", endpoint_url=url, region="us-east-1", ca_bundle=bundle)
        assert open_store("s3://bucket/run", credentials).put_once("taken", b"data") is False
    (head,) = heads
    assert b"content-length: 4" in head
    assert b"trailer" not in head
    assert b"chunked" not in head


@pytest.mark.parametrize(
    ("answer", "said", "unsaid"),
    [
        pytest.param(hang_up, "cannot be reached (the connection was cut)", "AWS_CA_BUNDLE", id="cut"),
        pytest.param(with_a_strange_certificate, "set AWS_CA_BUNDLE", "cannot be reached", id="strange"),
    ],
)
def test_a_cut_connection_is_not_a_bad_certificate(answer: Answer, said: str, unsaid: str) -> None:
    with listening(answer) as url:
        credentials = Credentials("key", "secret", endpoint_url=url, region="us-east-1")
        with pytest.raises(StoreUnreachable) as caught:
            open_store("s3://bucket/run", credentials).exists("anything")
    assert said in str(caught.value)
    assert unsaid not in str(caught.value)
