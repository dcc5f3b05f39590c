"""How fast children come, and when the last one will have come. Time is passed in."""

from __future__ import annotations

from collections import deque

WINDOW = 30
"""Children that the estimate looks back on: long enough to level out lucky ones, short enough to notice a change."""


class Pace:
    """The pace of the latest children."""

    def __init__(self) -> None:
        self._seen: deque[tuple[float, int]] = deque(maxlen=WINDOW + 1)

    def saw(self, now: float, children: int) -> None:
        """Note that so many children were done at ``now`` (seconds of any steady clock); calls may repeat a number."""
        if not self._seen or children != self._seen[-1][1]:
            self._seen.append((now, children))

    def seconds_left(self, now: float, remaining: int) -> float | None:
        """Return the seconds until ``remaining`` more children are done, or None while nothing is known.

        A stalled run's estimate grows: the time since the latest child counts.
        """
        if not remaining:
            return 0.0
        if len(self._seen) < 2:  # noqa: PLR2004 - a pace needs a beginning and an end
            return None
        (start, first), (_, last) = self._seen[0], self._seen[-1]
        return remaining * (now - start) / (last - first) if last > first else None
