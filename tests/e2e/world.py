"""What all scenarios share: the chart installed with helm, a namespace for runs, a bucket, tiny models.

Everything has a name of its own and is removed at the end; only the CustomResourceDefinition stays.
"""

from __future__ import annotations

import os
import subprocess
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
import yaml
from botocore.exceptions import ClientError

from cycleqd.store import open_store
from tests.e2e.cluster import Kubectl, KubectlFailed, connect, install_definition, throwaway_namespace
from tests.e2e.outside import Outside, given
from tests.e2e.tiny import Tiny, publish

ROOT = Path(__file__).parents[2]
RELEASE = "cycleqd"
SECRET = "s3-credentials"
RESTRICTED = {"pod-security.kubernetes.io/enforce": "restricted"}


@dataclass(frozen=True)
class Site:
    """One operator and the place for its runs.

    Attributes:
        kubectl: the cluster.
        system: namespace of the operator.
        namespace: of the runs.
    """

    kubectl: Kubectl
    system: str
    namespace: str

    def operator_ready(self, seconds: int = 120) -> None:
        """Wait until the operator is."""
        limit = f"--timeout={seconds}s"
        target = ("rollout", "status", f"deployment/{RELEASE}", "--namespace", self.system)
        self.kubectl.must(*target, limit, timeout=seconds + 30)

    def operator_log(self, lines: int = 80) -> str:
        """Return the end of the operator's log."""
        return self.kubectl.run("logs", f"deployment/{RELEASE}", "--namespace", self.system, f"--tail={lines}").stdout


@dataclass(frozen=True)
class World(Site):
    """The site that scenarios share, and what is there for them.

    Attributes:
        outside: what the suite was given.
        uri: S3 URI below which everything is written.
        tiny: models for runs that are not about models.
        folder: on this machine, removed in the end.
    """

    outside: Outside
    uri: str
    tiny: Tiny
    folder: Path

    def put_secret(self, name: str) -> None:
        """Create a Secret with the storage's credentials."""
        manifest = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "stringData": self.outside.secret}
        ok, error = self.kubectl.apply(manifest, self.namespace)
        if not ok:
            raise KubectlFailed(error)


@contextmanager
def build_world() -> Iterator[World]:
    """Install everything, and remove it in the end."""
    kubectl, outside = connect(), given()
    install_definition(kubectl)
    with (
        tempfile.TemporaryDirectory(prefix="cycleqd-e2e-") as folder,
        throwaway_namespace(kubectl, RESTRICTED) as system,
        throwaway_namespace(kubectl, RESTRICTED) as namespace,
        own_bucket(outside.bucket) as uri,
    ):
        os.environ["CYCLEQD_CACHE"] = f"{folder}/cache"  # where what is downloaded here goes
        install_chart(outside, system, namespace)
        tiny = publish(Path(folder), f"{uri}/tiny")
        world = World(kubectl, system, namespace, outside, uri, tiny, Path(folder))
        world.put_secret(SECRET)
        world.operator_ready()
        yield world


def install_chart(outside: Outside, system: str, namespace: str) -> None:
    """Install the chart so that it serves one namespace; other operators on the cluster are not disturbed."""
    values: dict[str, Any] = {
        "fullnameOverride": RELEASE,
        "image": image_value(outside.operator_image),
        "worker": {"image": image_value(outside.runner_image)},
        "sandbox": {"image": image_value(outside.sandbox_image)},
        **({"mariadb": {"image": image_value(outside.mariadb_image)}} if outside.mariadb_image else {}),
        "watch": {"namespaces": [namespace]},
        "crds": {"install": False},  # it belongs to whoever installed it; ours came by kubectl
        "log": {"format": "plain"},
    }
    command = ["helm", "install", RELEASE, str(ROOT / "charts" / "cycleqd"), "--namespace", system, "--values", "-"]
    done = subprocess.run(
        command, input=yaml.safe_dump(values), capture_output=True, text=True, check=False, timeout=90
    )
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(command)}: {done.stderr}")


def image_value(reference: str) -> dict[str, str]:
    """Return an image as the chart's values have it."""
    repository, _, tag = reference.rpartition(":")
    return {"repository": repository, "tag": tag}


@contextmanager
def own_bucket(bucket: str) -> Iterator[str]:
    """Yield the S3 URI of an empty prefix of the bucket, which is made if it is missing; empty it in the end."""
    make_bucket(bucket)
    uri = f"s3://{bucket}/{uuid.uuid4().hex[:12]}"
    try:
        yield uri
    finally:
        open_store(uri).delete_prefix("")


def make_bucket(bucket: str) -> None:
    """Make a bucket; one that is ours already is left as it is."""
    client = boto3.client("s3")
    with suppress(client.exceptions.BucketAlreadyOwnedByYou):
        try:
            client.head_bucket(Bucket=bucket)
        except ClientError:
            client.create_bucket(Bucket=bucket)
