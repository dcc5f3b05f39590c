"""One process of the race for a key; apart from the tests, so that a new process imports little."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from multiprocessing import Queue
from multiprocessing.synchronize import Barrier

from tests.core.store.harness import Harness


def write_in_threads(harness: Harness, process: int, threads: int, gate: Barrier, answers: Queue[list[str]]) -> None:
    """Write from several threads at once, when all processes are there; answer who won."""
    store = harness.open()
    names = [f"{process}-{thread}" for thread in range(threads)]
    together = threading.Barrier(threads)

    def write(name: str) -> bool:
        together.wait()
        return store.put_once("results/race.json", name.encode() * 1000)

    gate.wait()
    with ThreadPoolExecutor(threads) as pool:
        answers.put([name for name, won in zip(names, pool.map(write, names), strict=True) if won])
