from __future__ import annotations

import pytest

from cycleqd_cli.pace import WINDOW, Pace


def test_nothing_is_known_before_the_first_child() -> None:
    pace = Pace()
    assert pace.seconds_left(0.0, 10) is None
    pace.saw(0.0, 0)
    assert pace.seconds_left(5.0, 10) is None


def test_the_pace_is_that_of_the_children_seen() -> None:
    pace = Pace()
    for child in range(5):
        pace.saw(100.0 + 8.0 * child, 20 + child)  # a resumed run: 20 were there
        pace.saw(101.0 + 8.0 * child, 20 + child)
    assert pace.seconds_left(132.0, 10) == pytest.approx(80.0)
    assert pace.seconds_left(132.0, 0) == 0.0


def test_a_stall_makes_the_estimate_grow() -> None:
    pace = Pace()
    pace.saw(0.0, 0)
    pace.saw(10.0, 1)
    assert pace.seconds_left(60.0, 3) == pytest.approx(180.0)


def test_only_the_latest_children_count() -> None:
    pace = Pace()
    pace.saw(0.0, 0)
    for child in range(1, 3 * WINDOW):
        pace.saw(1000.0 + child, child)
    assert pace.seconds_left(1000.0 + 3 * WINDOW - 1, 10) == pytest.approx(10.0)
