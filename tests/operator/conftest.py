"""What tests of the operator share. ``--hypothesis-profile=thorough`` tries hundreds of simulated histories."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from tests.operator.world import World
from tests.runner.conftest import s3_bucket

__all__ = ["s3_bucket", "world"]

settings.register_profile("thorough", max_examples=500, stateful_step_count=100, deadline=None)


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    """A cluster with the Secret ``s3`` in the namespace ``research``, and an empty store."""
    world = World(tmp_path / "store")
    with world.entered():
        yield world
