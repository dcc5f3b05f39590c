"""Pools of generated items: seeded, distinct, and disjoint between training, search and test.

What an item asks is the business of the skill's own module; this one only knows how to draw many of them.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable, Sequence
from typing import Literal, TypeVar

from cycleqd.errors import BadData

T = TypeVar("T")

Pool = Literal["train", "seen", "unseen"]
"""``train`` and ``seen`` share schemas but no prompt; ``unseen`` has schemas, paths or combinations of its own."""

SEEN_ITEMS = 480
"""Items of the seen pool: the default search and validation splits need 300."""

UNSEEN_ITEMS = 320
"""Items of the unseen pool: the default test split needs 200."""

TRIES_PER_ITEM = 200
"""Draws that may be thrown away for one new item before a generator counts as exhausted."""


class Dice:
    """Seeded choices that give the same values on every machine and Python version.

    Only ``random.Random.random`` is used: it is the one method whose sequence Python promises to keep.
    """

    def __init__(self, seed: str) -> None:
        self._random = random.Random(seed)  # noqa: S311 - repeatable on purpose

    def below(self, limit: int) -> int:
        """Return an integer in [0, limit)."""
        return int(self._random.random() * limit)

    def between(self, low: int, high: int) -> int:
        """Return an integer in [low, high]."""
        return low + self.below(high - low + 1)

    def pick(self, choices: Sequence[T]) -> T:
        """Return one of ``choices``."""
        return choices[self.below(len(choices))]

    def several(self, choices: Sequence[T], count: int) -> list[T]:
        """Return ``count`` different positions of ``choices``, in random order."""
        rest = list(choices)
        return [rest.pop(self.below(len(rest))) for _ in range(count)]

    def chance(self, probability: float) -> bool:
        """Return True with this probability."""
        return self._random.random() < probability


def stable_hash(text: str) -> int:
    """Return a 64-bit hash that is the same in every process, unlike ``hash``."""
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big")


def held_out(*parts: str) -> bool:
    """Say whether a combination of building blocks is reserved for the unseen pool (a quarter of them are)."""
    return stable_hash("combination/" + "/".join(parts)) % 4 == 0


def is_training_prompt(prompt: str) -> bool:
    """Say whether a prompt belongs to training: half of them do, whatever the seed, so no seed can mix the two."""
    return stable_hash("prompt/" + prompt) % 2 == 0


def draw_pool(
    skill: str,
    seed: int,
    pool: Pool,
    count: int,
    *,
    draft: Callable[[Dice, Pool, int], T | None],
    prompt_of: Callable[[T], str],
) -> list[T]:
    """Draw ``count`` items with distinct prompts.

    Args:
        skill: name that the seed is mixed with.
        seed: the user's ``itemsSeed``.
        pool: whose schemas and combinations to use.
        count: how many.
        draft: makes one item from dice, pool and the number of the item (so that kinds can take turns), or None
            if what the dice said makes no good item.
        prompt_of: the prompt of an item.

    Raises:
        BadData: the generator has fewer distinct items than asked for.
    """
    dice = Dice(f"{skill}/{pool}/{seed}")
    found: dict[str, T] = {}
    for _ in range(count * TRIES_PER_ITEM):
        if len(found) == count:
            break
        item = draft(dice, pool, len(found))
        if item is None:
            continue
        prompt = prompt_of(item)
        if pool != "unseen" and is_training_prompt(prompt) != (pool == "train"):
            continue
        found.setdefault(prompt, item)
    if len(found) < count:
        raise BadData(f"The {skill} generator has only {len(found)} distinct {pool} items of {count}: ask for fewer.")
    return list(found.values())
