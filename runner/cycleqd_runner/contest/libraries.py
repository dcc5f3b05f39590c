"""Libraries of the extra ``compare``: imported when a method needs them, because most comparisons need few of them."""

from __future__ import annotations

import importlib
from typing import Any

from cycleqd.errors import UnsupportedHere


def library(name: str) -> Any:  # noqa: ANN401 - a module of a library without types
    """Return a module of the extra.

    Raises:
        UnsupportedHere: it is not installed.
    """
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        package = name.partition(".")[0]
        if (error.name or "").partition(".")[0] != package:
            raise
        raise UnsupportedHere(
            f"This comparison needs {package}, which is missing: install cycleqd[compare]."
        ) from error
