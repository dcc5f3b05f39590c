"""Merging two checkpoints of 400 million parameters to disk: against reading and writing alone, and against mergekit.

All take turns on the same files and threads. The floor reads every byte of both models into a buffer and writes as many
as the merged model has, chunk by chunk in as many threads as the merge uses. A merge may be below it: arithmetic on
mapped pages spares the copy that reading is. On disk means what it says: the models are not in the page cache when the
clock starts, and the merged one is on the disk when it stops (fsync). Beside it stands the same without any disk, all
three models in the page cache, where arithmetic has nothing to hide behind.

The mean of two models is the case that the target speaks of, and one pass of a processor; task arithmetic, with the
base as the third model that is read, stands for all other sums; it is measured in the page cache alone.

mergekit runs by its own entry point, a linear merge in bf16 of the same models, with its defaults and with what it has
to be faster (asynchronous writing); no tokenizer, no model card, so that it does nothing that ours does not. Each round
has an order of its own, because who comes after a slow writer finds the disk busy; medians count.

Peak memory is that of a process of its own, mapped pages of the models included.
"""

from __future__ import annotations

import importlib
import os
import random
import shutil
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Container, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import median

import torch

from benchmarks.report import Figure, at_least, at_most, publish
from benchmarks.synthetic.checkpoints import MEDIUM, save
from benchmarks.synthetic.memory import MIB, cost, cost_elsewhere, tell
from cycleqd_runner.checkpoints import SINGLE, Checkpoint
from cycleqd_runner.export import export_checkpoint
from cycleqd_runner.model_card import ModelCard
from cycleqd_runner.safetensors_writer import CHUNK_BYTES
from cycleqd_runner.weighted_sum import WeightedSum, merged

ROUNDS = 5
EVERY_OTHER = range(0, ROUNDS, 2)
MODELS = 2
"""That are averaged; one more is the base of task arithmetic."""
THREADS = 2
FLOOR_BYTES = 1 << 20
"""Read and written at a time by the floor: with four times as many it was up to six times slower here (ext4)."""
PACKAGES = ("torch", "mergekit", "safetensors", "transformers")


def ours(work: Path, *, share: float = 1 / MODELS) -> None:
    """Merge as ``cycleqd export`` writes a genome whose weights are such sums; shares that sum to 1 need no base."""
    *experts, base = [Checkpoint(work / f"model{k}") for k in range(MODELS + 1)]

    def tensors() -> Iterator[tuple[str, WeightedSum]]:
        for name in base.names:
            yield name, merged(base.stored(name), [(m.stored(name), share) for m in experts], torch.float32)

    export_checkpoint(work / "out", base, tensors(), ModelCard("merged", "base", {}))


def floor(work: Path, *, models: int = MODELS) -> None:
    """Read the models' bytes and write one's."""
    (work / "out").mkdir()
    sources = [os.open(work / f"model{k}" / SINGLE, os.O_RDONLY) for k in range(models)]
    target = os.open(work / "out" / SINGLE, os.O_WRONLY | os.O_CREAT)
    size = os.fstat(sources[0]).st_size
    buffers = [bytearray(FLOOR_BYTES) for _ in range(THREADS)]

    def copy(start: int) -> None:
        buffer = buffers.pop()
        view = memoryview(buffer)[: min(FLOOR_BYTES, size - start)]
        for source in sources:
            os.preadv(source, [view], start)
        os.pwrite(target, view, start)
        buffers.append(buffer)

    with ThreadPoolExecutor(THREADS) as pool:
        list(pool.map(copy, range(0, size, FLOOR_BYTES)))
    for file in (*sources, target):
        os.close(file)


def mergekit(work: Path, **options: object) -> None:
    """Write the mean of both models with mergekit."""
    config, merge, known = (importlib.import_module(f"mergekit.{part}") for part in ("config", "merge", "options"))
    models = [{"model": str(work / f"model{k}"), "parameters": {"weight": 1 / MODELS}} for k in range(MODELS)]
    merging = config.MergeConfiguration.model_validate(
        {"merge_method": "linear", "models": models, "dtype": "bfloat16"}
    )
    settings = known.MergeOptions(copy_tokenizer=False, write_model_card=False, quiet=True, **options)
    merge.run_merge(merging, str(work / "out"), settings)


def seconds(work: Path, merging: Callable[[Path], None], *, on_disk: bool) -> float:
    """Return how long a merge takes; what it wrote is removed."""
    if on_disk:
        for k in range(MODELS + 1):
            _forget(work / f"model{k}" / SINGLE)
    start = time.perf_counter()
    merging(work)
    if on_disk:
        for file in (work / "out").glob("*.safetensors"):
            _sync(file)
    duration = time.perf_counter() - start
    shutil.rmtree(work / "out")
    return duration


def _forget(file: Path) -> None:
    """Put a file out of the page cache."""
    _sync(file)
    descriptor = os.open(file, os.O_RDONLY)
    os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
    os.close(descriptor)


def _sync(file: Path) -> None:
    descriptor = os.open(file, os.O_RDWR)
    os.fsync(descriptor)
    os.close(descriptor)


@dataclass(frozen=True)
class Peer:
    """Who takes turns.

    Attributes:
        merging: writes the merged model.
        on_disk: rounds with the disk in which it takes part.
        in_cache: rounds without.
    """

    merging: Callable[[Path], None]
    on_disk: Container[int] = range(ROUNDS)
    in_cache: Container[int] = range(ROUNDS)


PEERS = {
    "floor": Peer(floor),
    "ours": Peer(ours),
    "mergekit": Peer(mergekit, on_disk=EVERY_OTHER, in_cache=EVERY_OTHER),
    "mergekit, fast": Peer(
        partial(mergekit, async_write=True, write_threads=THREADS), on_disk=EVERY_OTHER, in_cache=()
    ),
    "floor of three": Peer(partial(floor, models=MODELS + 1), on_disk=(), in_cache=EVERY_OTHER),
    "arithmetic": Peer(partial(ours, share=0.6), on_disk=(), in_cache=EVERY_OTHER),
}


def main() -> int:
    """Measure, report and return the exit code."""
    torch.set_num_threads(THREADS)
    shuffled = random.Random(0)  # noqa: S311 - an order, not a secret
    with tempfile.TemporaryDirectory(prefix="cycleqd-merge-") as folder:
        work = Path(folder)
        for k in range(MODELS + 1):
            save(work / f"model{k}", MEDIUM.shapes, MEDIUM.config(), k)
        seconds(work, mergekit, on_disk=False)  # imports
        took: defaultdict[tuple[str, bool], list[float]] = defaultdict(list)
        for on_disk in (True, False):
            seconds(work, partial(floor, models=MODELS + 1), on_disk=False)  # reads everything once
            for turn in range(ROUNDS):
                for name, peer in shuffled.sample(list(PEERS.items()), len(PEERS)):
                    if turn in (peer.on_disk if on_disk else peer.in_cache):
                        took[name, on_disk].append(seconds(work, peer.merging, on_disk=on_disk))
        peak = cost_elsewhere("benchmarks.merge", "peak", folder).peak
    best = {key: median(durations) for key, durations in took.items()}
    allowed = 64 + 3 * THREADS * CHUNK_BYTES / MIB

    def ratio(above: str, below: str, *, on_disk: bool) -> float:
        return best[above, on_disk] / best[below, on_disk]

    return publish(
        __file__,
        [
            Figure("floor: read two models, write one, on disk", best["floor", True], "s"),
            Figure("ours, on disk", best["ours", True], "s"),
            at_most("ours / floor, on disk", ratio("ours", "floor", on_disk=True), "x", 1.15),
            at_least("mergekit / ours, on disk", ratio("mergekit", "ours", on_disk=True), "x", 5.0),
            Figure("mergekit with async_write / ours, on disk", ratio("mergekit, fast", "ours", on_disk=True), "x"),
            Figure("floor, in the page cache", best["floor", False], "s"),
            Figure("ours, in the page cache", best["ours", False], "s"),
            at_most("ours / floor, in the page cache", ratio("ours", "floor", on_disk=False), "x", 1.15),
            at_least("mergekit / ours, in the page cache", ratio("mergekit", "ours", on_disk=False), "x", 5.0),
            Figure(
                "task arithmetic: ours / floor, three models read, in the page cache",
                ratio("arithmetic", "floor of three", on_disk=False),
                "x",
            ),
            at_most("peak memory above importing torch, mapped pages included", peak / MIB, "MiB", allowed),
        ],
        PACKAGES,
    )


if __name__ == "__main__":
    if sys.argv[1:2] == ["peak"]:
        torch.set_num_threads(THREADS)
        tell(cost(lambda: ours(Path(sys.argv[2]), share=0.6)))  # three models mapped: the dearer of the two
    else:
        sys.exit(main())
