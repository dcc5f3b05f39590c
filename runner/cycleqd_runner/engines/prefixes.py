"""Which tokens of a set of prompts have to be computed: each shared prefix once. Integers only, no tensors."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]


class Tree(NamedTuple):
    """The prompts of a batch as the nodes of their prefix tree.

    Two prompts use one node for a token when they agree on it and on everything before it.

    Attributes:
        tokens: (n_nodes,) token ids.
        positions: (n_nodes,) positions in the prompt, from 0.
        paths: for each prompt its nodes from first to last token.
        own: (n_prompts,) for each prompt the position from which its nodes are its own, that is not shared with the
            prompt before it; equal to its length for a repeated prompt.
    """

    tokens: Ints
    positions: Ints
    paths: list[Ints]
    own: Ints


def tree(prompts: Sequence[Sequence[int]]) -> Tree:
    """Build the prefix tree of prompts in lexicographic order (in another order it shares less, but is right)."""
    arrays = [np.asarray(prompt, dtype=np.int64) for prompt in prompts]
    own = np.zeros(len(arrays), dtype=np.int64)
    paths: list[Ints] = []
    count = 0
    for i, prompt in enumerate(arrays):
        own[i] = _shared(arrays[i - 1], prompt) if i else 0
        fresh = np.arange(count, count + len(prompt) - own[i], dtype=np.int64)
        paths.append(np.concatenate([paths[-1][: own[i]], fresh]) if i else fresh)
        count += len(fresh)
    tokens = [prompt[start:] for prompt, start in zip(arrays, own, strict=True)]
    positions = [np.arange(start, len(prompt)) for prompt, start in zip(arrays, own, strict=True)]
    return Tree(np.concatenate(tokens), np.concatenate(positions), paths, own)


def _shared(one: Ints, other: Ints) -> int:
    """Return the length of the longest common prefix."""
    n = min(len(one), len(other))
    different = np.flatnonzero(one[:n] != other[:n])
    return int(different[0]) if len(different) else n


def chunks(prompts: Sequence[Sequence[int]], max_tokens: int) -> list[range]:
    """Divide ordered prompts into neighbourhoods of at most ``max_tokens`` tokens to compute (at least one prompt)."""
    bounds, used = [0], 0
    for i, prompt in enumerate(prompts):
        shared = _shared(np.asarray(prompts[i - 1]), np.asarray(prompt)) if i > bounds[-1] else 0
        fresh = len(prompt) - shared
        if i > bounds[-1] and used + fresh > max_tokens:
            bounds.append(i)
            used, fresh = 0, len(prompt)
        used += fresh
    bounds.append(len(prompts))
    return [range(a, b) for a, b in itertools.pairwise(bounds)]


def alike(sizes: Sequence[int], *, ratio: float = 1.25, slack: int = 8) -> list[list[int]]:
    """Group indices whose sizes differ little, so that padding to the largest of a group costs little.

    A group's largest size is at most ``ratio`` x smallest + ``slack``. Sizes of 0 are left out.
    """
    groups: list[list[int]] = []
    for i in sorted(range(len(sizes)), key=lambda i: (sizes[i], i)):
        if sizes[i] == 0:
            continue
        if not groups or sizes[i] > ratio * sizes[groups[-1][0]] + slack:
            groups.append([])
        groups[-1].append(i)
    return groups
