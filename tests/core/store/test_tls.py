"""What is said where a conversation over TLS does not come about."""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

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
