"""Rows of the conformance tables that a provider does not promise are not collected for it."""

from __future__ import annotations

import pytest

from tests.runner.sandbox.behaviours import Behaviour
from tests.runner.sandbox.machine_behaviours import MachineBehaviour
from tests.runner.sandbox.variants import Variant


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items[:] = [item for item in items if _is_promised(item)]


def _is_promised(item: pytest.Item) -> bool:
    if not isinstance(item, pytest.Function) or not hasattr(item, "callspec"):
        return True
    variant, row = item.callspec.params.get("suite"), item.callspec.params.get("behaviour")
    return not (isinstance(variant, Variant) and isinstance(row, Behaviour | MachineBehaviour)) or variant.can_be_asked(
        row
    )
