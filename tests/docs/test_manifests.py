"""Every run that a page shows in full is valid."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from cycleqd.api import KIND
from cycleqd.manifest import parse_manifest
from tests.docs.pages import name, pages, samples


@pytest.mark.parametrize("page", pages(), ids=name)
def test_shown_runs_are_valid(page: Path) -> None:
    for sample in samples(page, "yaml"):
        for document in yaml.safe_load_all(sample.text):
            if document.get("kind") == KIND:
                parse_manifest(document)
