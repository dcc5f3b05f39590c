"""Every manifest below examples/ in a real API server: accepted, and without a warning."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from cycleqd.api import GROUP
from tests.e2e.cluster import Kubectl

pytestmark = pytest.mark.e2e

ROOT = Path(__file__).parents[2]
APPLIED = sorted(path for path in ROOT.glob("examples/*/*.yaml") if path.name != "compare.yaml")
"""A comparison is a file of the command; no cluster knows its kind."""


@pytest.mark.parametrize("path", APPLIED, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_the_api_server_accepts_the_example(kubectl: Kubectl, namespace: str, path: Path) -> None:
    documents: list[dict[str, Any]] = list(yaml.safe_load_all(path.read_text(encoding="utf-8")))
    groups = {document["apiVersion"].rpartition("/")[0] for document in documents}
    known = kubectl.must("api-resources", "--output=name")
    missing = {group for group in groups if group not in ("", GROUP) and group not in known}
    if missing:
        pytest.skip(f"the cluster does not know {', '.join(sorted(missing))}: {path.name} was not offered")
    assert kubectl.apply(documents, namespace, "--dry-run=server") == (True, "")
