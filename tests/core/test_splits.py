"""Splits: disjoint, complete, repeatable, and never a test item that search has seen."""

from __future__ import annotations

from itertools import chain

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cycleqd.api.tasks import SplitSizes
from cycleqd.errors import BadManifest
from cycleqd.records import Split
from cycleqd.splits import make_splits

SIZES = SplitSizes(search=10, validation=5, test=8)


def _ids(prefix: str, n: int) -> list[str]:
    return [f"{prefix}{i}" for i in range(n)]


@given(seed=st.integers(0, 2**63 - 1), seen=st.integers(0, 40), unseen=st.integers(0, 20), either=st.integers(0, 40))
def test_disjoint_of_the_right_size_and_from_the_right_pools(seed: int, seen: int, unseen: int, either: int) -> None:
    pools = _ids("s", seen), _ids("u", unseen), _ids("e", either)
    # What the pools cannot give must come from "either".
    enough = max(0, 8 - unseen) + max(0, 15 - seen) <= either
    if not enough:
        with pytest.raises(BadManifest):
            make_splits("sql", *pools, SIZES, seed)
        return
    splits = make_splits("sql", *pools, SIZES, seed)
    assert {name: len(ids) for name, ids in splits.items()} == {"search": 10, "validation": 5, "test": 8}
    everything = list(chain(*splits.values()))
    assert len(set(everything)) == len(everything)
    assert set(everything) <= set(chain(*pools))
    assert not any(item.startswith("s") for item in splits["test"])
    assert not any(item.startswith("u") for item in (*splits["search"], *splits["validation"]))
    assert make_splits("sql", *pools, SIZES, seed) == splits


def test_exactly_enough_items_are_all_used() -> None:
    pool = _ids("e", 23)
    splits = make_splits("sql", [], [], pool, SIZES, 0)
    assert sorted(chain(*splits.values())) == sorted(pool)


@pytest.mark.parametrize(("task", "seed"), [("sql", 1), ("shell", 0)])
def test_another_seed_or_task_draws_other_items(task: str, seed: int) -> None:
    pool = _ids("e", 200)
    assert make_splits("sql", [], [], pool, SIZES, 0) != make_splits(task, [], [], pool, SIZES, seed)


@pytest.mark.parametrize(
    ("seen", "unseen", "either", "split"),
    [
        pytest.param(0, 0, 22, "validation", id="one too few in all"),
        pytest.param(100, 7, 0, "test", id="items that search may see do not make up for missing test items"),
        pytest.param(9, 100, 0, "search", id="test items do not make up for missing search items"),
        pytest.param(0, 0, 0, "test", id="no items"),
    ],
)
def test_too_few_items_say_what_is_missing(seen: int, unseen: int, either: int, split: str) -> None:
    with pytest.raises(BadManifest, match=rf"Task sql needs 10 search \+ 5 validation \+ 8 test items.* for {split}"):
        make_splits("sql", _ids("s", seen), _ids("u", unseen), _ids("e", either), SIZES, 0)


@pytest.mark.parametrize("further", [("reserve",), ("lessons",), ("reserve", "lessons")], ids=" and ".join)
@given(seed=st.integers(0, 2**63 - 1), count=st.integers(1, 8))
def test_further_splits_come_from_what_search_may_see_and_change_no_other(
    further: tuple[Split, ...], seed: int, count: int
) -> None:
    pools = _ids("s", 30), _ids("u", 30), _ids("e", 5)
    plain = make_splits("sql", *pools, SIZES, seed)
    splits = make_splits("sql", *pools, SIZES.model_copy(update=dict.fromkeys(further, count)), seed)
    assert set(splits) == {*plain, *further}
    own = [item for split in further for item in splits.pop(split)]
    assert splits == plain
    assert len(set(own)) == count * len(further)
    assert not set(own) & set(chain(*plain.values()))
    assert not any(item.startswith("u") for item in own)


@pytest.mark.parametrize("further", ["reserve", "lessons"])
def test_too_few_items_for_a_further_split_say_so(further: str) -> None:
    with pytest.raises(BadManifest, match=rf"8 test \+ 1 {further} items.* for {further}"):
        make_splits("sql", [], [], _ids("e", 23), SIZES.model_copy(update={further: 1}), 0)
