"""Ids as people and commands write them: ``3-32,40`` instead of thirty-one numbers."""

from __future__ import annotations

import re
from collections.abc import Iterable

from cycleqd.errors import BadManifest

_PART = re.compile(r"(\d+)(?:-(\d+))?")
_MOST = 1_000_000
"""Ids that one text may mean; nobody breeds more children in a run."""


def format_ids(ids: Iterable[int]) -> str:
    """Return ids, in ascending order, as ranges: ``3-32,40``; nothing for none."""
    ranges: list[list[int]] = []
    for individual in sorted(set(ids)):
        if ranges and individual == ranges[-1][1] + 1:
            ranges[-1][1] = individual
        else:
            ranges.append([individual, individual])
    return ",".join(f"{first}-{last}" if last > first else f"{first}" for first, last in ranges)


def parse_ids(text: str) -> tuple[int, ...]:
    """Return the ids that ``text`` means, ascending, each once; none for an empty text.

    Raises:
        BadManifest: the text has another form.
    """
    found: set[int] = set()
    for part in filter(None, (part.strip() for part in text.split(","))):
        match = _PART.fullmatch(part)
        first, last = (int(match[1]), int(match[2] or match[1])) if match else (1, 0)
        if not first <= last < first + _MOST:
            raise BadManifest(f"The ids hold {part!r}, expected numbers and ranges with commas, like 3-32,40.")
        found.update(range(first, last + 1))
    return tuple(sorted(found))
