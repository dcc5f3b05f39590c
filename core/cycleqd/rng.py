"""Randomness: one counter-based generator per (seed, individual, purpose), so that no draw depends on another.

Nothing in cycleqd draws from a global generator. Two workers that breed the same child draw the same numbers, and a
new kind of draw never shifts the old ones.
"""

from __future__ import annotations

import hashlib
import json

import numpy as np


def generator(seed: int, individual: int, purpose: str) -> np.random.Generator:
    """Return the generator of one purpose of one individual.

    Args:
        seed: of the run, in [0, 2**63).
        individual: id of the individual; -1 for draws that belong to the run itself (splits).
        purpose: what is drawn, for example ``"mutation"``.
    """
    key = hashlib.blake2b(f"{seed}/{individual}/{purpose}".encode(), digest_size=16).digest()
    return np.random.Generator(np.random.Philox(key=np.frombuffer(key, np.uint64)))


def answer_seed(seed: int, task: str, item: str, repeat: int, turn: int) -> int:
    """Return the seed of one sampled answer, in [0, 2**63), whoever is asked and whatever else is.

    Args:
        seed: of the run.
        task: its name.
        item: the item's id within the task.
        repeat: which time the item is asked: 0, 1, ...
        turn: which answer of the conversation it is: 0, 1, ...
    """
    purpose = json.dumps(["answer", task, item, repeat, turn])  # unambiguous, whatever characters names have
    return int(generator(seed, -1, purpose).integers(2**63))
