"""What only S3 can suffer: credentials, addresses, buckets, answers that get lost."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from botocore.exceptions import ClientError
from botocore.utils import parse_timestamp

from cycleqd.errors import (
    AccessDenied,
    BadManifest,
    CycleQDError,
    MissingInput,
    MissingObject,
    NoSpace,
    PermanentError,
    StoreUnreachable,
    UnsupportedHere,
)
from cycleqd.store import Credentials, ObjectStore, open_store
from cycleqd.store.s3 import S3Store, _timestamp
from cycleqd.store.s3_errors import translate
from cycleqd.store.transfer import probe
from tests.core.store.harness import S3Harness, proxy_to, unused_address

OPERATIONS: dict[str, Callable[[ObjectStore, Path], object]] = {
    "get": lambda store, file: store.get("a"),
    "put": lambda store, file: store.put("a", b""),
    "put_once": lambda store, file: store.put_once("a", b""),
    "list": lambda store, file: list(store.list()),
    "exists": lambda store, file: store.exists("a"),
    "size": lambda store, file: store.size("a"),
    "upload": lambda store, file: store.upload(file, "a"),
    "download": lambda store, file: store.download("a", file),
    "delete": lambda store, file: store.delete("a"),
    "delete_prefix": lambda store, file: store.delete_prefix("a/"),
    "probe": lambda store, file: probe(store),
}

every_operation = pytest.mark.parametrize("operation", OPERATIONS.values(), ids=OPERATIONS.keys())
Operation = Callable[[ObjectStore, Path], object]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "file"
    path.write_bytes(b"x")
    return path


@every_operation
def test_wrong_credentials(s3: S3Harness, enforced_credentials: Credentials, file: Path, operation: Operation) -> None:
    wrong = replace(enforced_credentials, access_key_id="AKIAWRONG", secret_access_key="wrong")
    with pytest.raises(
        AccessDenied, match=rf"s3://{s3.bucket}/.* at http.*refused access.*AWS_ACCESS_KEY_ID"
    ) as caught:
        operation(S3Store(s3.bucket, "x", wrong), file)
    assert "wrong" not in str(caught.value).lower().replace("akiawrong", "")


@every_operation
def test_unreachable(s3: S3Harness, file: Path, operation: Operation) -> None:
    address = unused_address()
    with pytest.raises(StoreUnreachable) as caught:
        operation(s3.open_at(address, attempts=1), file)
    assert str(caught.value) == (
        f"The store {s3.open().uri} at {address} cannot be reached (connection refused): "
        "start it, or correct AWS_ENDPOINT_URL."
    )


@every_operation
def test_missing_bucket(s3: S3Harness, file: Path, operation: Operation) -> None:
    with pytest.raises(MissingInput, match=r"no such bucket \(NoSuchBucket\): create it"):
        operation(S3Store("cycleqd-no-such-bucket", "x", s3.credentials), file)


def test_a_missing_bucket_is_made(s3: S3Harness) -> None:
    store = S3Store(f"{s3.bucket}-made", "x", s3.credentials)
    store.make_bucket()
    store.put("a", b"1")
    S3Store(f"{s3.bucket}-made", "y", s3.credentials).make_bucket()
    assert store.get("a") == b"1"
    store.delete("a")
    store._client.delete_bucket(Bucket=f"{s3.bucket}-made")


def test_a_bucket_is_made_in_the_clients_region(s3: S3Harness, monkeypatch: pytest.MonkeyPatch) -> None:
    store, asked = S3Store("cycleqd-no-such-bucket", "x", replace(s3.credentials, region="eu-central-1")), []
    monkeypatch.setattr(store._client, "create_bucket", lambda **request: asked.append(request))
    store.make_bucket()
    (request,) = asked
    assert request["CreateBucketConfiguration"] == {"LocationConstraint": "eu-central-1"}


def test_unknown_host(s3: S3Harness) -> None:
    with pytest.raises(StoreUnreachable, match="unknown host name"):
        s3.open_at("http://store.invalid", attempts=1).get("a")


def test_no_credentials(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE", "AWS_SESSION_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    with pytest.raises(AccessDenied, match="needs credentials"):
        open_store("s3://runs/x").get("a")


def test_a_client_without_credentials_of_its_own_takes_the_environments(
    s3: S3Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", s3.credentials.access_key_id)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", s3.credentials.secret_access_key)
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.delenv("AWS_ENDPOINT_URL_S3", raising=False)
    monkeypatch.setenv("AWS_ENDPOINT_URL", s3.endpoint)
    store = open_store(f"s3://{s3.bucket}/{s3.prefix}")
    store.put("a", b"1")
    assert s3.open().get("a") == b"1"


@pytest.mark.parametrize(
    "text",
    ["2026-03-01T12:00:00.000Z", "2026-03-01T12:00:00Z", "2026-03-01T12:00:00+00:00", "Sun, 01 Mar 2026 12:00:00 GMT"],
)
def test_times_of_objects_are_read_as_botocore_does(text: str) -> None:
    assert _timestamp(text) == parse_timestamp(text) == datetime(2026, 3, 1, 12, tzinfo=UTC)


def test_stores_share_what_is_large(s3: S3Harness) -> None:
    first, same = (S3Store(s3.bucket, prefix, s3.credentials) for prefix in ("a", "b"))
    other = S3Store(s3.bucket, "a", replace(s3.credentials, secret_access_key="another"))
    assert same._client is first._client
    assert other._client is not first._client
    assert other._client._loader is first._client._loader
    assert S3Store(s3.bucket, "a", s3.credentials, attempts=1)._client is not first._client


def test_a_write_whose_answer_got_lost_is_there(s3: S3Harness) -> None:
    """The repetition meets its own object: False, "it is there", is all that can be known."""
    with proxy_to(s3.endpoint) as proxy:
        store = s3.open_at(proxy.url)
        proxy.answers_to_swallow = 1
        assert store.put_once("results/1.json", b"mine") is False
        assert proxy.answers_to_swallow == 0
    assert s3.open().get("results/1.json") == b"mine"


def test_a_lost_answer_is_asked_for_again(s3: S3Harness) -> None:
    s3.open().put("a", b"1")
    with proxy_to(s3.endpoint) as proxy:
        store = s3.open_at(proxy.url)
        proxy.answers_to_swallow = 1
        assert store.get("a") == b"1"
        assert list(store.list()) == ["a"]


@pytest.mark.parametrize(("conflicts", "outcome"), [(0, True), (2, True), (5, None)])
def test_conflicts_are_repeated(
    s3: S3Harness, monkeypatch: pytest.MonkeyPatch, conflicts: int, outcome: bool | None
) -> None:
    """Amazon answers 409 to one of two writes at the same moment; neither test server does."""
    store = S3Store(s3.bucket, s3.prefix, s3.credentials)
    put_object, asked = store._client.put_object, []

    def put(**request: object) -> object:
        asked.append(request)
        if len(asked) <= conflicts:
            raise ClientError({"Error": {"Code": "ConditionalRequestConflict"}}, "PutObject")
        return put_object(**request)

    monkeypatch.setattr(store._client, "put_object", put)
    if outcome is None:
        with pytest.raises(StoreUnreachable, match="conflicts"):
            store.put_once("a", b"")
    else:
        assert store.put_once("a", b"") is outcome
        assert len(asked) == conflicts + 1


def test_a_server_that_overwrites_is_refused(s3: S3Harness, monkeypatch: pytest.MonkeyPatch) -> None:
    store = S3Store(s3.bucket, s3.prefix, s3.credentials)
    put_object = store._client.put_object
    monkeypatch.setattr(
        store._client,
        "put_object",
        lambda IfNoneMatch, **request: put_object(**request),  # noqa: N803
    )
    with pytest.raises(UnsupportedHere, match="If-None-Match"):
        probe(store)
    assert list(store.list()) == []


def test_neighbours_of_the_prefix_are_not_touched(s3: S3Harness) -> None:
    store, neighbour = (S3Store(s3.bucket, s3.prefix + end, s3.credentials) for end in ("", "-2"))
    store.put("a", b"1")
    neighbour.put("a", b"2")
    assert list(store.list()) == ["a"]
    assert store.delete_prefix("") == 1
    assert neighbour.get("a") == b"2"


def test_folders_made_by_consoles_are_not_listed(s3: S3Harness) -> None:
    store = S3Store(s3.bucket, s3.prefix, s3.credentials)
    store._client.put_object(Bucket=s3.bucket, Key=f"{s3.prefix}/results/", Body=b"")
    store.put("results/1.json", b"")
    assert list(store.list()) == ["results/1.json"]
    store._client.delete_object(Bucket=s3.bucket, Key=f"{s3.prefix}/results/")


@pytest.mark.parametrize(
    ("code", "status", "kind"),
    [
        ("NoSuchKey", 404, MissingObject),
        ("404", 404, MissingObject),
        ("NoSuchBucket", 404, MissingInput),
        ("InvalidBucketName", 400, BadManifest),
        ("403", 403, AccessDenied),
        ("ExpiredToken", 400, AccessDenied),
        ("SignatureDoesNotMatch", 403, AccessDenied),
        ("NeverHeardOf", 403, AccessDenied),
        ("XAdminUserNotFound", 404, AccessDenied),
        ("NeverHeardOf", 404, PermanentError),
        ("PermanentRedirect", 301, BadManifest),
        ("AuthorizationHeaderMalformed", 400, BadManifest),
        ("XMinioStorageFull", 507, NoSpace),
        ("NeverHeardOf", 507, NoSpace),
        ("QuotaExceeded", 403, NoSpace),
        ("SlowDown", 503, StoreUnreachable),
        ("NeverHeardOf", 500, StoreUnreachable),
        ("NotImplemented", 501, UnsupportedHere),
        ("EntityTooLarge", 400, PermanentError),
        ("", 400, PermanentError),
    ],
)
def test_the_servers_answers(code: str, status: int, kind: type[CycleQDError]) -> None:
    answer = {"Error": {"Code": code}, "ResponseMetadata": {"HTTPStatusCode": status}}
    error = translate(ClientError(answer, "GetObject"), "The store s3://runs/x", "a")  # type: ignore[arg-type]
    assert type(error) is kind
    assert str(error).startswith("The store s3://runs/x ")
    assert str(error).endswith(".")
