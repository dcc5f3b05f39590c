"""What the suite is given from outside: a cluster, an S3 that pods reach, images, commands that stop services.

Whatever is missing is named, and the tests that need it are skipped with that as their reason.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import pytest

Service = Literal["S3", "API"]

IMAGES = {
    "CYCLEQD_OPERATOR_IMAGE": "the operator's image",
    "CYCLEQD_RUNNER_IMAGE": "the workers' image",
    "CYCLEQD_SANDBOX_IMAGE": "the image of the sandbox beside them",
}
TRY_OUT_IMAGES = {
    "CYCLEQD_OBJECT_STORE_IMAGE": "versitygw's image",
    "CYCLEQD_QUICKSTART_IMAGE": "the image with the quickstart's models",
}
STORE = {"AWS_ACCESS_KEY_ID": "the S3's key", "AWS_SECRET_ACCESS_KEY": "the S3's secret key"}


@dataclass(frozen=True)
class Outside:
    """What the environment says.

    Attributes:
        operator_image: in a registry that the cluster pulls from, or on its nodes.
        runner_image: likewise.
        sandbox_image: likewise.
        mariadb_image: likewise; empty: the chart's own, which nobody may be able to pull.
        bucket: made if it is missing.
        secret: of the runs' storage, as keys of a Secret.
    """

    operator_image: str
    runner_image: str
    sandbox_image: str
    mariadb_image: str
    bucket: str
    secret: dict[str, str]


def need(variables: Mapping[str, str]) -> None:
    """Skip the test unless there is helm, and all of these are in the environment."""
    missing = [f"{name} ({what})" for name, what in variables.items() if not os.environ.get(name)]
    if missing:
        pytest.skip(f"not set: {', '.join(missing)}")
    if shutil.which("helm") is None:
        pytest.skip("helm is not on PATH: no way to install the chart")


def given() -> Outside:
    """Return what the environment says, or skip the test and say what is missing."""
    need(IMAGES | STORE)
    return Outside(
        operator_image=os.environ["CYCLEQD_OPERATOR_IMAGE"],
        runner_image=os.environ["CYCLEQD_RUNNER_IMAGE"],
        sandbox_image=os.environ["CYCLEQD_SANDBOX_IMAGE"],
        mariadb_image=os.environ.get("CYCLEQD_MARIADB_IMAGE", ""),
        bucket=os.environ.get("CYCLEQD_E2E_BUCKET", "cycleqd-e2e"),
        secret=_secret(),
    )


def _secret() -> dict[str, str]:
    """Return the keys of a Secret with which pods reach the S3 that boto3 reaches here."""
    environment = os.environ
    values = {
        "AWS_ACCESS_KEY_ID": environment["AWS_ACCESS_KEY_ID"],
        "AWS_SECRET_ACCESS_KEY": environment["AWS_SECRET_ACCESS_KEY"],
        "AWS_SESSION_TOKEN": environment.get("AWS_SESSION_TOKEN", ""),
        "AWS_ENDPOINT_URL": environment.get("AWS_ENDPOINT_URL_S3") or environment.get("AWS_ENDPOINT_URL", ""),
        "AWS_REGION": environment.get("AWS_REGION") or environment.get("AWS_DEFAULT_REGION", ""),
    }
    bundle = environment.get("AWS_CA_BUNDLE")
    if bundle and values["AWS_ENDPOINT_URL"].startswith("https://"):
        values["AWS_CA_BUNDLE"] = Path(bundle).read_text(encoding="utf-8")
    return {name: value for name, value in values.items() if value}


@dataclass(frozen=True)
class Switch:
    """Stops and starts a service with commands that the environment brings, because no cluster is like another."""

    service: Service

    def need(self) -> None:
        """Skip the test unless there are commands."""
        missing = [name for name in map(self._variable, ("STOP", "START")) if not os.environ.get(name)]
        if missing:
            pytest.skip(f"not set: {' and '.join(missing)}, the commands that stop and start the {self.service}")

    def stop(self) -> None:
        """Stop the service."""
        self._run("STOP")

    def start(self) -> None:
        """Start it again; a second start changes nothing."""
        self._run("START")

    def _variable(self, what: str) -> str:
        return f"CYCLEQD_E2E_{self.service}_{what}"

    def _run(self, what: str) -> None:
        subprocess.run(["bash", "-c", os.environ[self._variable(what)]], check=True, timeout=60, capture_output=True)
