"""What holds for all tests.

How long an example of hypothesis takes says something about the machine, not about us. What takes minutes begins first,
so that no core waits for it at the end.
"""

from __future__ import annotations

import pytest
from hypothesis import settings

settings.register_profile("patient", deadline=None)
settings.load_profile("patient")


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put files with a test that is ``long`` before all others."""
    long = {item.path for item in items if item.get_closest_marker("long")}
    items.sort(key=lambda item: item.path not in long)
