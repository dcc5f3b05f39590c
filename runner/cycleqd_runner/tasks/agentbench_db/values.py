"""Whether the final answer of a question has the expected values. Model output is data, never evaluated."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterator, Sequence

TOLERANCE = 0.01
"""How far numbers may be apart, absolutely; AgentBench's."""

LONGEST = 100_000
"""Characters of a final answer that are looked at: literals that nest deeper than any list cost memory."""

_NOTHING = {"", "none", "null"}
_THOUSANDS = re.compile(r"[-+]?\d{1,3}(,\d{3})+(\.\d+)?%?")


def is_right(final: str, wanted: Sequence[str]) -> bool:
    """Return whether a final answer is right.

    One expected value must be given as the only one; of several all must be given and nothing else, in any order and
    however often. Numbers may be :data:`TOLERANCE` apart, and ``none``, ``null`` and an empty list are the same.

    Args:
        final: what stands behind ``Final Answer:``: a list in JSON or Python, or one bare value.
        wanted: the item's values.
    """
    given = [_plain(value) for value in _values(final)] or [""]
    expected = [_plain(value) for value in wanted]
    if len(given) == 1 and len(expected) == 1:
        return _same(given[0], expected[0])
    return all(any(_same(one, other) for other in expected) for one in given) and all(
        any(_same(one, other) for other in given) for one in expected
    )


def _values(final: str) -> list[object]:
    final = final.strip()
    if len(final) <= LONGEST:
        for read in (json.loads, ast.literal_eval):
            try:
                return list(_flat(read(final)))
            except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
                continue
    return [final]


def _flat(value: object) -> Iterator[object]:
    """Yield the values of lists in lists: rows that were copied as the server showed them."""
    if isinstance(value, list | tuple | set):
        for one in value:
            yield from _flat(one)
    else:
        yield value


def _plain(value: object) -> str:
    text = str(value).strip()
    return "" if text.lower() in _NOTHING else text


def _same(one: str, other: str) -> bool:
    if one == other:
        return True
    first, second = _number(one), _number(other)
    return first is not None and second is not None and abs(first - second) <= TOLERANCE


def _number(text: str) -> float | None:
    if _THOUSANDS.fullmatch(text):
        text = text.replace(",", "")
    try:
        return float(text.removesuffix("%"))
    except ValueError:
        return None
