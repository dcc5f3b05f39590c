"""Big files over S3: what a killed process had moved is not moved again, and what arrives is what was sent."""

from __future__ import annotations

import multiprocessing
import os
import secrets
import signal
import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from cycleqd.errors import BadData, PermanentError, StoreUnreachable
from cycleqd.store import multipart
from cycleqd.store.checksums import field_of
from cycleqd.store.multipart import Source
from cycleqd.store.parallel import MAX_PIECES, for_all, pieces_of
from cycleqd.store.ranges import fetch
from cycleqd.store.s3 import S3Store
from tests.core.store.harness import PART_BYTES, S3Harness, proxy_to

SIZE = 12 * PART_BYTES - 1000
"""More parts than are on their way at the same time, so that some are complete when the others are not."""

HALF_WAY = 10 * PART_BYTES
OVERHEAD = 200_000
"""Bytes of the requests themselves."""


@pytest.fixture
def data() -> bytes:
    return secrets.token_bytes(SIZE)


@pytest.fixture
def file(tmp_path: Path, data: bytes) -> Path:
    path = tmp_path / "source"
    path.write_bytes(data)
    return path


def opened(s3: S3Harness) -> S3Store:
    return S3Store(s3.bucket, s3.prefix, s3.credentials, part_bytes=PART_BYTES)


def unfinished_parts(s3: S3Harness) -> list[dict[str, Any]]:
    """Return the parts of the only unfinished upload."""
    client = opened(s3)._client
    found = client.list_multipart_uploads(Bucket=s3.bucket, Prefix=s3.prefix).get("Uploads", [])
    if not found:
        return []
    (upload,) = found
    names = {"Bucket": s3.bucket, "Key": upload["Key"], "UploadId": upload["UploadId"]}
    return list(client.list_parts(**names).get("Parts", []))


def move(s3: S3Harness, action: str, path: Path) -> None:
    getattr(opened(s3), action)(*((path, "x") if action == "upload" else ("x", path)))


def kill_half_way(s3: S3Harness, action: str, path: Path) -> None:
    """Let another process move a file, and kill it while it is busy."""
    with proxy_to(s3.endpoint) as proxy:
        proxy.bytes_left, proxy.stalled = HALF_WAY, threading.Event()
        through = replace(s3, credentials=replace(s3.credentials, endpoint_url=proxy.url))
        process = multiprocessing.get_context("spawn").Process(target=move, args=(through, action, path))
        process.start()
        assert process.pid is not None
        assert proxy.stalled.wait(120)
        os.kill(process.pid, signal.SIGKILL)
        process.join()
        assert process.exitcode == -signal.SIGKILL


def wait_for_parts(s3: S3Harness) -> int:
    """Wait for a part that the server had received whole; return how many there are."""
    while not unfinished_parts(s3):
        time.sleep(0.05)
    return len(unfinished_parts(s3))


def test_an_upload_goes_on_where_a_killed_one_stopped(s3: S3Harness, file: Path, data: bytes) -> None:
    kill_half_way(s3, "upload", file)
    assert list(s3.open().list()) == []
    n_there = wait_for_parts(s3)
    with proxy_to(s3.endpoint) as proxy:
        s3.open_at(proxy.url).upload(file, "x")
        assert proxy.sent < SIZE - n_there * PART_BYTES + OVERHEAD
    assert opened(s3).get("x") == data
    assert unfinished_parts(s3) == []


def test_an_upload_sends_what_changed_since_it_was_killed(s3: S3Harness, file: Path, data: bytes) -> None:
    kill_half_way(s3, "upload", file)
    assert wait_for_parts(s3) > 0
    changed = bytes(byte ^ 1 for byte in data[:: PART_BYTES // 2])
    new = bytearray(data)
    new[:: PART_BYTES // 2] = changed
    file.write_bytes(new)
    opened(s3).upload(file, "x")
    assert opened(s3).get("x") == new


def test_a_download_goes_on_where_a_killed_one_stopped(s3: S3Harness, file: Path, data: bytes) -> None:
    opened(s3).upload(file, "x")
    target = file.with_name("target")
    kill_half_way(s3, "download", target)
    assert not target.exists()
    n_there = len((target.parent / ".target.pieces").read_text().splitlines()) - 1
    assert n_there > 0
    with proxy_to(s3.endpoint) as proxy:
        s3.open_at(proxy.url).download("x", target)
        assert proxy.answered < SIZE - n_there * PART_BYTES + OVERHEAD
    assert target.read_bytes() == data


@pytest.mark.parametrize("loss", ["replaced", "damaged", "torn"])
def test_what_is_left_of_a_download_is_not_believed(s3: S3Harness, file: Path, data: bytes, loss: str) -> None:
    opened(s3).upload(file, "x")
    target = file.with_name("target")
    kill_half_way(s3, "download", target)
    if loss == "replaced":
        data = data[::-1]
        file.write_bytes(data)
        opened(s3).upload(file, "x")
    elif loss == "damaged":  # as after a power cut
        (target.parent / ".target.part").write_bytes(b"")
    else:
        with (target.parent / ".target.pieces").open("a") as notes:
            notes.write("[7, 12")
    opened(s3).download("x", target)
    assert target.read_bytes() == data


def test_an_object_that_is_replaced_meanwhile_is_not_mixed(s3: S3Harness, file: Path, data: bytes) -> None:
    store, other = opened(s3), opened(s3)
    store.upload(file, "x")
    version = store._version("x")
    file.write_bytes(data[::-1])
    other.upload(file, "x")
    fetch(store._remote("x"), version, file, PART_BYTES, attempts=1)
    assert file.read_bytes() == data[::-1]


def test_an_object_that_is_replaced_all_the_time_is_given_up(
    s3: S3Harness, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = S3Store(s3.bucket, s3.prefix, replace(s3.credentials, session_token=None), attempts=3)
    store.put("x", b"0")
    get_object = store._client.get_object

    def get(**request: Any) -> Any:
        store.put("x", secrets.token_bytes(8))
        return get_object(**request)

    monkeypatch.setattr(store._client, "get_object", get)
    with pytest.raises(StoreUnreachable, match="replaced 3 times"):
        store.download("x", tmp_path / "x")
    assert not (tmp_path / "x").exists()


def test_two_downloads_to_one_place_do_not_mix(s3: S3Harness, file: Path, data: bytes) -> None:
    opened(s3).put("a", data[: 3 * PART_BYTES])
    opened(s3).put("b", data[-3 * PART_BYTES :])
    target = file.with_name("target")
    for_all(lambda key: opened(s3).download(key, target), ["a", "b"] * 3)
    assert target.read_bytes() in (data[: 3 * PART_BYTES], data[-3 * PART_BYTES :])


def write_with_checksum(s3: S3Harness, data: bytes) -> None:
    """Write an object in one request; moto keeps a checksum only if the request says so twice."""
    name, client = f"{s3.prefix}/x", opened(s3)._client
    client.put_object(Bucket=s3.bucket, Key=name, Body=data, ChecksumAlgorithm="CRC64NVME", **field_of(data))


def test_a_flipped_bit_is_noticed_on_the_way_back(s3: S3Harness, tmp_path: Path, data: bytes) -> None:
    write_with_checksum(s3, data)
    target = tmp_path / "target"
    with proxy_to(s3.endpoint) as proxy:
        proxy.flips = {True: SIZE // 2}
        with pytest.raises(StoreUnreachable, match=r"arrived with the checksum .* run it again"):
            s3.open_at(proxy.url).download("x", target)
        assert not target.exists()
        s3.open_at(proxy.url).download("x", target)
    assert target.read_bytes() == data


def test_a_flipped_bit_of_a_record_is_noticed(s3: S3Harness, data: bytes) -> None:
    write_with_checksum(s3, data[: 1 << 20])
    with proxy_to(s3.endpoint) as proxy:
        proxy.flips = {True: 1 << 19}
        with pytest.raises(StoreUnreachable, match="sent x with a wrong checksum"):
            s3.open_at(proxy.url).get("x")


@pytest.mark.parametrize("size", [1 << 20, SIZE], ids=["one request", "parts"])
def test_a_flipped_bit_is_noticed_on_the_way_there(s3: S3Harness, file: Path, data: bytes, size: int) -> None:
    if s3.credentials.access_key_id == "testing":
        pytest.skip("moto believes everything: set AWS_ENDPOINT_URL to a real server")
    file.write_bytes(data[:size])
    with proxy_to(s3.endpoint) as proxy:
        store = s3.open_at(proxy.url)
        proxy.flips = {False: size // 2}
        with pytest.raises(StoreUnreachable, match=r"BadDigest|XAmzContentSHA256Mismatch"):
            store.upload(file, "x")
        assert not store.exists("x")
        store.upload(file, "x")
    assert opened(s3).get("x") == data[:size]


@pytest.mark.parametrize("told", [{"ChecksumAlgorithm": "CRC64NVME"}, {}], ids=["checks", "does not check"])
def test_parts_are_signed_where_the_server_does_not_check_them(
    s3: S3Harness, file: Path, monkeypatch: pytest.MonkeyPatch, told: dict[str, str]
) -> None:
    with proxy_to(s3.endpoint) as proxy:  # its address gives a client that nobody shares
        store = s3.open_at(proxy.url)
        client = store._client  # type: ignore[attr-defined]
        create, contents = client.create_multipart_upload, []

        def begin(**request: Any) -> Any:
            answer = create(**request) if told else create(Bucket=request["Bucket"], Key=request["Key"])
            return {"UploadId": answer["UploadId"], **told}

        def see(request: Any, **_: Any) -> None:
            contents.append(request.headers["X-Amz-Content-SHA256"])

        monkeypatch.setattr(client, "create_multipart_upload", begin)
        client.meta.events.register("before-send.s3.UploadPart", see)
        store.upload(file, "x")
    assert len(contents) == SIZE // PART_BYTES + 1
    assert all((content == b"UNSIGNED-PAYLOAD") == bool(told) for content in contents)


def test_what_cannot_be_finished_is_aborted(s3: S3Harness, file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = opened(s3)
    monkeypatch.setattr(store._client, "complete_multipart_upload", refusing("EntityTooLarge", 400))
    with pytest.raises(PermanentError, match="EntityTooLarge"):
        store.upload(file, "x")
    assert unfinished_parts(s3) == []


def test_a_file_that_becomes_shorter_is_not_uploaded(s3: S3Harness, file: Path) -> None:
    store = opened(s3)
    with file.open("rb") as opened_file, pytest.raises(BadData, match="became shorter"):
        store._send(Source(opened_file.fileno(), SIZE + PART_BYTES, "it"), "x")
    assert unfinished_parts(s3) == []


@pytest.mark.parametrize("code", ["NoSuchUpload", "InvalidPart"])
def test_an_upload_that_another_process_took_is_begun_anew(
    s3: S3Harness, file: Path, data: bytes, monkeypatch: pytest.MonkeyPatch, code: str
) -> None:
    store = opened(s3)
    answers = [store._client.complete_multipart_upload, refusing(code, 400)]
    monkeypatch.setattr(store._client, "complete_multipart_upload", lambda **request: answers.pop()(**request))  # noqa: PLW0108 - another one each time
    store.upload(file, "x")
    assert store.get("x") == data
    multipart.abort(store._remote("x"))


def test_a_server_without_the_checksum_gets_none(
    s3: S3Harness, file: Path, data: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = opened(s3)
    create = store._client.create_multipart_upload

    def begin(**request: Any) -> Any:
        return refusing("InvalidArgument", 400)() if "ChecksumAlgorithm" in request else create(**request)

    monkeypatch.setattr(store._client, "create_multipart_upload", begin)
    store.upload(file, "x")
    assert store.get("x") == data


def test_a_user_who_may_not_list_uploads_can_upload(
    s3: S3Harness, file: Path, data: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = opened(s3)
    monkeypatch.setattr(store._client, "list_multipart_uploads", refusing("AccessDenied", 403))
    store.upload(file, "x")
    assert store.get("x") == data


def test_pieces_cover_an_object_once_within_s3s_limit() -> None:
    assert pieces_of(0, 5) == []
    for size in (1, 5, 6, 5 * MAX_PIECES, 5 * MAX_PIECES + 1, 50 * MAX_PIECES + 7):
        pieces = pieces_of(size, 5)
        ends = [0, *(piece.start + piece.length for piece in pieces)]
        assert [piece.start for piece in pieces] == ends[:-1]
        assert ends[-1] == size
        assert [piece.number for piece in pieces] == list(range(1, len(pieces) + 1))
        assert len(pieces) <= MAX_PIECES


def test_the_first_failure_ends_parallel_work() -> None:
    begun: list[int] = []

    def work(item: int) -> int:
        begun.append(item)
        if item == 3:
            raise ValueError
        time.sleep(0.01)
        return item

    with pytest.raises(ValueError):  # noqa: PT011 - whatever it was
        for_all(work, range(1000))
    assert len(begun) < 1000
    assert for_all(abs, [-2, 1]) == [2, 1]


def test_the_checksum_is_s3s() -> None:
    """The check value of CRC-64/NVME in the catalogue of CRCs."""
    assert field_of(b"123456789") == {"ChecksumCRC64NVME": "rosUhgp5mIg="}


def refusing(code: str, status: int) -> Any:
    def refuse(**_: Any) -> Any:
        answer: Any = {"Error": {"Code": code}, "ResponseMetadata": {"HTTPStatusCode": status}}
        raise ClientError(answer, "Any")

    return refuse
