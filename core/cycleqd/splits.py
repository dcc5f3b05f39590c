"""Splits: which items are for search, its reserve and lessons, validation and test. Made once from the seed."""

from __future__ import annotations

from collections.abc import Sequence

from cycleqd.api.tasks import SplitSizes
from cycleqd.errors import BadManifest
from cycleqd.records import Split
from cycleqd.rng import generator

Splits = dict[Split, tuple[str, ...]]


def make_splits(
    task: str, seen: Sequence[str], unseen: Sequence[str], either: Sequence[str], sizes: SplitSizes, seed: int
) -> Splits:
    """Draw disjoint splits.

    Args:
        task: its name, part of the random key.
        seen: ids of items that may serve everything but test.
        unseen: ids of items that only the test split may take.
        either: ids of items that any split may take.
        sizes: how many items each split gets.
        seed: of the run.

    Returns:
        Item ids per split, in the order in which they are asked.

    Raises:
        BadManifest: fewer items than the splits need.
    """
    rng = generator(seed, -1, f"splits/{task}")
    pools = [[ids[i] for i in rng.permutation(len(ids))] for ids in (seen, unseen, either)]
    for_search, for_test, anywhere = pools
    wanted: list[tuple[Split, int, list[str]]] = [
        ("test", sizes.test, for_test),
        ("search", sizes.search, for_search),
        ("validation", sizes.validation, for_search),
    ]
    # Last, so that the other splits are the same without them.
    optional: list[tuple[Split, int]] = [("reserve", sizes.reserve), ("lessons", sizes.lessons)]
    wanted += [(split, count, for_search) for split, count in optional if count]
    splits: dict[Split, tuple[str, ...]] = {}
    for split, count, pool in wanted:
        own = [pool.pop() for _ in range(min(count, len(pool)))]
        own += [anywhere.pop() for _ in range(min(count - len(own), len(anywhere)))]
        if len(own) < count:
            total = len(seen) + len(unseen) + len(either)
            needs = " + ".join(f"{n} {name}" for name, n in sizes if n)
            raise BadManifest(
                f"Task {task} needs {needs} items, but its {total} items leave only {len(own)} of {count} for {split}: "
                "lower spec.tasks[].items or give more items."
            )
        splits[split] = tuple(own)
    return splits
