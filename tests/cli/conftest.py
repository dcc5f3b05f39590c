"""What tests of the command share: no cluster unless a test brings one, and a small one for those that do."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.api_server import ApiServer, serving
from tests.runner.conftest import s3_bucket

__all__ = ["api_server", "no_cluster", "s3_bucket"]


@pytest.fixture(autouse=True)
def no_cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Names of runs must not be looked for in the developer's own cluster."""
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "no-kubeconfig"))


@pytest.fixture
def api_server(no_cluster: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ApiServer]:
    """The cluster of the kubeconfig; its current namespace is ``research``. The working directory is empty."""
    server, kubeconfig, here = ApiServer(), tmp_path / "kubeconfig", tmp_path / "here"
    here.mkdir()
    monkeypatch.setenv("KUBECONFIG", str(kubeconfig))
    monkeypatch.chdir(here)
    with serving(server, kubeconfig):
        yield server
