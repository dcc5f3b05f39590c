"""Big files over S3: this project's store against boto3 as it comes, and against its CRT client.

Run ``python -m benchmarks.s3`` with ``AWS_*`` naming an S3 server; without one it says so and measures nothing. Each
round uploads 1 GB and downloads it again with each client in turn, and the ratios are medians over the rounds. Files
lie in memory where there is a /dev/shm, because ours waits until a download is on the disk and boto3 does not. A server
on this machine takes its share of the same cores: the client's own CPU time stands beside the time on the clock.
"""

from __future__ import annotations

import os
import resource
import secrets
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

import boto3
from boto3.s3.transfer import TransferConfig
from s3transfer.crt import (
    BotocoreCRTCredentialsWrapper,
    BotocoreCRTRequestSerializer,
    CRTTransferManager,
    create_s3_crt_client,
)

from benchmarks.report import Figure, absent, at_least, publish
from cycleqd.store.s3 import S3Store

SIZE = 10**9
ROUNDS = 3
KEY = "big"
PACKAGES = ("boto3", "awscrt")


class Cost(NamedTuple):
    """Seconds on the clock, and of this process's CPU time."""

    clock: float
    cpu: float


def measured(work: Callable[[], object]) -> Cost:
    start, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_SELF)
    work()
    clock, after = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_SELF)
    return Cost(clock, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)


def crt_manager() -> Any:  # noqa: ANN401 - s3transfer has no types
    """Return what boto3 uses on the machines of Amazon that it knows; nothing but its own defaults is set."""
    core = boto3.session.Session()._session  # noqa: SLF001 - s3transfer asks for botocore's
    client = boto3.client("s3")
    url, region = client.meta.endpoint_url, client.meta.region_name
    provider = BotocoreCRTCredentialsWrapper(core.get_credentials()).to_crt_credentials_provider()
    engine = create_s3_crt_client(region, provider, use_ssl=url.startswith("https"))
    return CRTTransferManager(engine, BotocoreCRTRequestSerializer(core, {"endpoint_url": url, "region_name": region}))


def measure(bucket: str, folder: Path) -> dict[str, list[Cost]]:
    """Return what each client's uploads and downloads cost, round by round."""
    source, target = folder / "source", folder / "target"
    with source.open("wb") as file:
        for _ in range(SIZE // 10**7):
            file.write(secrets.token_bytes(10**7))
    plain, store, crt = boto3.client("s3"), S3Store(bucket), crt_manager()
    # boto3's own choice of "auto" would take the CRT client on some machines: the peer is what everybody gets.
    threads = TransferConfig(preferred_transfer_client="classic")
    work: dict[str, Callable[[], object]] = {
        "upload, boto3": partial(plain.upload_file, str(source), bucket, KEY, Config=threads),
        "upload, crt": lambda: crt.upload(str(source), bucket, KEY).result(),
        "upload, ours": partial(store.upload, source, KEY),
        "download, boto3": partial(plain.download_file, bucket, KEY, str(target), Config=threads),
        "download, crt": lambda: crt.download(bucket, KEY, str(target)).result(),
        "download, ours": partial(store.download, KEY, target),
    }
    costs: dict[str, list[Cost]] = {name: [] for name in work}
    for _ in range(ROUNDS):
        for name, run in work.items():
            if name.startswith("upload"):
                store.delete(KEY)
            costs[name].append(measured(run))
            target.unlink(missing_ok=True)
    return costs


def figures_of(costs: dict[str, list[Cost]]) -> list[Figure]:
    """Compare the clients within each round."""

    def ratio(one: str, other: str, of: Callable[[Cost], float] = lambda cost: cost.clock) -> float:
        return median(of(a) / of(b) for a, b in zip(costs[one], costs[other], strict=True))

    def cpu(cost: Cost) -> float:
        return cost.cpu

    figures = [
        at_least("upload of 1 GB, boto3 / ours", ratio("upload, boto3", "upload, ours"), "x", 3),
        Figure("download of 1 GB, boto3 / ours", ratio("download, boto3", "download, ours"), "x"),
    ]
    for way in ("upload", "download"):
        figures += [
            Figure(f"{way}, boto3's CRT client / ours", ratio(f"{way}, crt", f"{way}, ours"), "x"),
            Figure(f"{way}, CPU time of boto3 / ours", ratio(f"{way}, boto3", f"{way}, ours", cpu), "x"),
            Figure(f"{way}, CPU time of CRT / ours", ratio(f"{way}, crt", f"{way}, ours", cpu), "x"),
        ]
    for name, rounds in costs.items():
        speed = SIZE / 10**6 / median(cost.clock for cost in rounds)
        figures.append(Figure(f"{name}, speed", speed, "MB/s"))
    return figures


def main() -> int:
    if not (os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")):
        return absent(__file__, "An S3 server is needed in AWS_ENDPOINT_URL (or AWS_ENDPOINT_URL_S3) and AWS_*.")
    bucket = f"cycleqd-bench-{secrets.token_hex(4)}"
    store = S3Store(bucket)
    store.make_bucket()
    memory = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None  # noqa: S108 - a folder of its own is made in it
    try:
        with tempfile.TemporaryDirectory(prefix="cycleqd-bench-", dir=memory) as folder:
            costs = measure(bucket, Path(folder))
    finally:
        store.delete_prefix("")
        boto3.client("s3").delete_bucket(Bucket=bucket)
    return publish(__file__, figures_of(costs), PACKAGES)


if __name__ == "__main__":
    sys.exit(main())
