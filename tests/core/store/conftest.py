"""Where the conformance suite runs: a folder, and S3: the server of ``AWS_ENDPOINT_URL`` if set, else moto's."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
from moto import settings
from moto.core.authorization import ActionAuthenticatorMixin
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, MotoRequestHandler, create_backend_app
from werkzeug.serving import make_server

from cycleqd.store import Credentials
from tests.core.store.harness import FolderHarness, Harness, S3Harness, token


class _OneAtATime:
    """moto checks ``If-None-Match`` and writes in two steps; a real server does both in one, and so does this."""

    def __init__(self, application: Any) -> None:
        self._application = application
        self._lock = threading.Lock()

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        with self._lock:
            return list(self._application(environ, start_response))


@pytest.fixture(scope="session")
def s3_server() -> Iterator[Credentials]:
    """The server and its credentials."""
    endpoint = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")
    if endpoint:
        found = boto3.session.Session().get_credentials()
        if found is None:
            pytest.fail("AWS_ENDPOINT_URL is set, but there are no credentials: set AWS_ACCESS_KEY_ID, too")
        region = os.environ.get("AWS_DEFAULT_REGION", "us-east-1")
        yield Credentials(found.access_key, found.secret_key, found.token, endpoint, region)
        return
    application = _OneAtATime(DomainDispatcherApplication(create_backend_app))
    server = make_server("127.0.0.1", 0, application, threaded=True, request_handler=MotoRequestHandler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield Credentials("testing", "testing", None, f"http://127.0.0.1:{server.server_port}", "us-east-1")
    server.shutdown()


@pytest.fixture(scope="module")
def s3_bucket(s3_server: Credentials) -> Iterator[str]:
    """A bucket of one module; it is removed with everything in it.

    Other modules of this process may call mock_aws, which empties all of moto's servers.
    """
    session = boto3.session.Session(
        s3_server.access_key_id, s3_server.secret_access_key, s3_server.session_token, s3_server.region
    )
    bucket = session.resource("s3", endpoint_url=s3_server.endpoint_url).Bucket(f"cycleqd-test-{token()}")
    bucket.create()
    yield bucket.name
    bucket.objects.delete()
    bucket.delete()


@pytest.fixture
def s3(s3_server: Credentials, s3_bucket: str) -> S3Harness:
    """An empty prefix of the bucket."""
    return S3Harness(s3_bucket, f"runs/{token()}", s3_server)


@pytest.fixture(params=["folder", "s3"])
def harness(request: pytest.FixtureRequest, tmp_path: Path) -> Harness:
    """Each store in turn."""
    if request.param == "folder":
        return FolderHarness(tmp_path / "store")
    return request.getfixturevalue("s3")  # type: ignore[no-any-return]


@pytest.fixture
def enforced_credentials(s3_server: Credentials, monkeypatch: pytest.MonkeyPatch) -> Credentials:
    """The server, checking who asks: a real one always does, moto only when told to."""
    monkeypatch.setattr(settings, "INITIAL_NO_AUTH_ACTION_COUNT", 0.0)
    monkeypatch.setattr(ActionAuthenticatorMixin, "request_count", 0)
    return s3_server
