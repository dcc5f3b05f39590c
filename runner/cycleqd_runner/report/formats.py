"""How the page writes numbers, names and moments: the filters of its templates."""

from __future__ import annotations

import math
from datetime import UTC, datetime

LONG_NAME = 13
"""Characters of a name that fit into a node of the lineage."""
MINUS = "\N{MINUS SIGN}"
PERCENT = "\N{NO-BREAK SPACE}%"
"""Behind a number: the sign alone does not begin a line."""


def percent(share: float, digits: int = 1) -> str:
    """Return a fraction in percent, without the sign."""
    return f"{100 * share:.{digits}f}"


def points(difference: float, digits: int = 1) -> str:
    """Return a difference of scores in signed percentage points; what rounds to zero has no sign."""
    text = f"{100 * difference:+.{digits}f}"
    return text[1:] if not float(text) else text.replace("-", MINUS)


def duration(seconds: float) -> str:
    """Return a duration in the unit that suits it."""
    unit, size = time_unit(seconds)
    return f"{seconds / size:.1f} {unit}"


def memory(size: int) -> str:
    """Return a number of bytes in the unit that suits it."""
    gibibytes = size / 2**30
    return f"{gibibytes:.1f} GiB" if gibibytes >= 0.1 else f"{size / 2**20:.0f} MiB"  # noqa: PLR2004 - of one digit


def time_unit(seconds: float) -> tuple[str, float]:
    """Return the unit that suits durations up to ``seconds``, and its length in seconds."""
    return next((unit for unit in (("h", 3600.0), ("min", 60.0)) if seconds >= unit[1]), ("s", 1.0))


def token_unit(tokens: int) -> tuple[int, str]:
    """Return how many tokens suit as a unit of numbers up to ``tokens``, and its name."""
    units = ((10**9, "billion tokens"), (10**6, "million tokens"), (10**3, "thousand tokens"))
    return next((unit for unit in units if tokens >= unit[0]), (1, "tokens"))


def like(number: float, greatest: float) -> str:
    """Return a number with as many decimals as three digits of the greatest one of its row have; 0 stays 0."""
    return f"{number:.{max(0, 2 - math.floor(math.log10(greatest)))}f}" if number and greatest else "0"


def count(number: int) -> str:
    """Return a number with a comma every three digits."""
    return f"{number:,}"


def coordinate(at: float) -> str:
    """Return a coordinate as short as it can be: a page may hold thousands of cells."""
    return f"{at:.2f}".rstrip("0").rstrip(".")


def moment(seconds: float) -> str:
    """Return a Unix time as people write it, or nothing for a run that has not finished."""
    return f"{datetime.fromtimestamp(seconds, UTC):%d %B %Y, %H:%M UTC}".lstrip("0") if seconds else ""


def shorten(name: str) -> str:
    """Return a name that fits into a node."""
    return name if len(name) <= LONG_NAME else f"{name[: LONG_NAME - 1]}…"


def listed(parts: list[str]) -> str:
    """Return ``a, b and c``."""
    return " and ".join([", ".join(parts[:-1]), parts[-1]] if len(parts) > 1 else parts)
