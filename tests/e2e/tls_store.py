"""An S3 server of the suite's own behind TLS: versitygw, with a certificate that an authority made here has signed.

Everything but the authority's certificate, which a run's Secret has to bring, is as with any other store.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import boto3
import pytest
import trustme
from botocore.exceptions import BotoCoreError

from cycleqd.store import Credentials
from tests.e2e.cluster import Kubectl

BINARY = "CYCLEQD_VERSITYGW"
BUCKET = "private"
START_SECONDS = 20


@dataclass(frozen=True)
class TlsStore:
    """The server.

    Attributes:
        credentials: how this machine reaches it; ``ca_bundle`` is the authority's certificate.
    """

    credentials: Credentials

    @property
    def authority(self) -> str:
        """The authority's certificate as PEM text."""
        return Path(self.credentials.ca_bundle or "").read_text(encoding="utf-8")


@contextmanager
def serve(kubectl: Kubectl, folder: Path) -> Iterator[TlsStore]:
    """Start the server on a free port of this machine, at the address that pods reach it by; stop it in the end.

    Skips the test where there is no binary to start.
    """
    binary = os.environ.get(BINARY)
    if not binary or not shutil.which(binary):
        pytest.skip(f"{BINARY} names no program: no S3 server (versitygw) to put behind TLS")
    address = address_for_pods(kubectl)
    certificates, data = folder / "certificates", folder / "s3"
    certificates.mkdir()
    (data / BUCKET).mkdir(parents=True)
    authority = trustme.CA()
    certificate = authority.issue_cert(address)
    authority.cert_pem.write_to_path(certificates / "ca.pem")
    certificate.cert_chain_pems[0].write_to_path(certificates / "server.pem")
    certificate.private_key_pem.write_to_path(certificates / "server.key")
    port = free_port(address)
    credentials = Credentials(
        access_key_id="private",
        secret_access_key="private-secret",
        endpoint_url=f"https://{address}:{port}",
        region="us-east-1",
        ca_bundle=str(certificates / "ca.pem"),
    )
    command = [binary, "--port", f"{address}:{port}", "--health", "/health"]
    command += ["--cert", str(certificates / "server.pem"), "--key", str(certificates / "server.key")]
    environment = {"ROOT_ACCESS_KEY": credentials.access_key_id, "ROOT_SECRET_KEY": credentials.secret_access_key}
    with (folder / "s3.log").open("wb") as log:
        server = subprocess.Popen([*command, "posix", str(data)], env=environment, stdout=log, stderr=log)
    try:
        _await(credentials, server, folder / "s3.log")
        yield TlsStore(credentials)
    finally:
        server.terminate()
        server.wait(timeout=30)


def _await(credentials: Credentials, server: subprocess.Popen[bytes], log: Path) -> None:
    """Wait until the server answers."""
    client = boto3.client(
        "s3",
        endpoint_url=credentials.endpoint_url,
        aws_access_key_id=credentials.access_key_id,
        aws_secret_access_key=credentials.secret_access_key,
        region_name=credentials.region,
        verify=credentials.ca_bundle,
    )
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and server.poll() is None:
        with suppress(BotoCoreError):
            client.head_bucket(Bucket=BUCKET)
            return
        time.sleep(0.1)
    raise RuntimeError(f"the S3 server behind TLS did not start: {log.read_text(errors='replace')}")


def address_for_pods(kubectl: Kubectl) -> str:
    """Return the address of this machine on the way to the nodes: what pods reach it by."""
    addresses = kubectl.get("nodes")["items"][0]["status"]["addresses"]
    node = next(address["address"] for address in addresses if address["type"] == "InternalIP")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.connect((node, 9))  # sends nothing: the kernel only chooses a way
        return str(probe.getsockname()[0])


def free_port(address: str) -> int:
    """Return a port of this address that nobody uses."""
    with socket.socket() as probe:
        probe.bind((address, 0))
        return int(probe.getsockname()[1])
