"""What tests of the operator share. ``--hypothesis-profile=thorough`` tries hundreds of simulated histories."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from cycleqd_operator.settings import Settings
from tests.operator.world import World
from tests.runner.conftest import s3_bucket

__all__ = ["s3_bucket", "world"]

# Nothing that whoever runs the tests has set, such as an image for `make e2e`, is a setting of the operators here.
# It is taken away before the modules are imported, because some make settings then.
for _name in Settings.model_fields:
    os.environ.pop(f"CYCLEQD_{_name.upper()}", None)

settings.register_profile("thorough", max_examples=500, stateful_step_count=100, deadline=None)


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    """A cluster with the Secret ``s3`` in the namespace ``research``, and an empty store."""
    world = World(tmp_path / "store")
    with world.entered():
        yield world
