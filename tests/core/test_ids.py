"""Ids as ranges: what is written is read back, and what means nothing is refused."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cycleqd.errors import BadManifest
from cycleqd.ids import format_ids, parse_ids


@given(st.sets(st.integers(0, 60)) | st.sets(st.integers(0, 10**9), max_size=20))
def test_ids_are_read_back(ids: set[int]) -> None:
    assert parse_ids(format_ids(ids)) == tuple(sorted(ids))


@pytest.mark.parametrize(
    ("ids", "text"),
    [
        ((), ""),
        ((7,), "7"),
        ((3, 4), "3-4"),
        ((*range(3, 33), 40), "3-32,40"),
        ((5, 3, 4, 3), "3-5"),
        ((0, 2, 4), "0,2,4"),
    ],
)
def test_runs_of_ids_become_ranges(ids: tuple[int, ...], text: str) -> None:
    assert format_ids(ids) == text


@pytest.mark.parametrize(
    ("text", "ids"),
    [("", ()), (" , ", ()), ("40,3-5", (3, 4, 5, 40)), ("3-5,4-6", (3, 4, 5, 6)), (" 3 , 4 ", (3, 4)), ("007", (7,))],
)
def test_people_may_write_ids_in_other_ways(text: str, ids: tuple[int, ...]) -> None:
    assert parse_ids(text) == ids


@pytest.mark.parametrize(
    "text", ["x", "-3", "3-", "3--4", "5-3", "3-4-5", "3;4", "1.5", "+3", "0x3", "3 - 4", "0-1000000"]
)
def test_what_means_no_ids_is_refused(text: str) -> None:
    with pytest.raises(BadManifest, match=r"expected numbers and ranges with commas, like 3-32,40\.") as caught:
        parse_ids(f"1,{text}")
    assert repr(text) in str(caught.value)
