"""Libraries of the extra ``compare``, which few comparisons need all of: whether those of one are there."""

from __future__ import annotations

from importlib.util import find_spec

from cycleqd.errors import UnsupportedHere
from cycleqd_runner.contest.spec import ContestSpec

OF_METHODS = {"CmaEs": "cmaes", "NsgaII": "pymoo"}
OF_TABLES = "scipy"


def refuse_missing(spec: ContestSpec) -> None:
    """Refuse a comparison whose methods need what is not installed, before hours have gone into it.

    Raises:
        UnsupportedHere: one sentence about the first library.
    """
    for package in (OF_TABLES, *(OF_METHODS[own.type] for own in spec.methods if own.type in OF_METHODS)):
        if find_spec(package) is None:
            raise UnsupportedHere(f"The comparison needs {package}, which is missing: install cycleqd[compare].")
