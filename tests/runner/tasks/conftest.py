"""A MariaDB of a test's own."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from cycleqd_runner.tasks.agentbench_db.private_server import PrivateServer
from tests.runner.tasks.db_plays import HAS_MARIADB


@pytest.fixture
def server() -> Iterator[PrivateServer]:
    if not HAS_MARIADB:
        pytest.skip("no MariaDB here (mariadb-server)")
    one = PrivateServer()
    yield one
    one.close()
