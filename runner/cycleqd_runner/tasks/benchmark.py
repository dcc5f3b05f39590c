"""A benchmark of the final report: an evaluator and the items that finalize asks. No split of the run has them."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass

from cycleqd.api.run import Benchmark
from cycleqd.api.tasks import SandboxLimits
from cycleqd.errors import BadManifest, PermanentError
from cycleqd.records import ItemOutcome, TaskEvaluation
from cycleqd.rng import generator
from cycleqd_runner.chat import ChatModel
from cycleqd_runner.local_copies import read_data
from cycleqd_runner.sandbox import Sandbox
from cycleqd_runner.tasks.contract import Evaluator, Item
from cycleqd_runner.tasks.executable import one_line
from cycleqd_runner.tasks.registry import make_evaluator
from cycleqd_runner.tasks.run import evaluate


@dataclass(frozen=True)
class OpenBenchmark:
    """A benchmark that can be asked.

    Attributes:
        spec: from the manifest.
        evaluator: asks and judges.
        items: in the order in which they are asked.
        seed: of the run.
        digest: SHA-256 (hex) of what is asked: another evaluator or other items are another benchmark.
    """

    spec: Benchmark
    evaluator: Evaluator
    items: tuple[Item, ...]
    seed: int
    digest: str

    async def score(self, model: ChatModel, sandbox: Sandbox) -> TaskEvaluation:
        """Ask ``model`` all items. A mistake in one of them leaves all without a score: it must not lose the run."""
        try:
            evaluation, _ = await evaluate(
                self.evaluator,
                self.items,
                model,
                sandbox,
                SandboxLimits(),
                repeats=1,
                split="benchmark",
                task_name=self.spec.name,
                seed=self.seed,
            )
        except PermanentError as error:
            reason = one_line(str(error))
            outcomes = tuple(
                ItemOutcome(item=item.id, score=None, group=item.group, reason=reason) for item in self.items
            )
            return TaskEvaluation(task=self.spec.name, split="benchmark", outcomes=outcomes)
        return evaluation


def open_benchmark(spec: Benchmark, seed: int) -> OpenBenchmark:
    """Return a benchmark with its items; fewer than all are drawn by the run's ``seed``, and asked in their own order.

    Raises:
        BadData: its items file is broken or missing.
        BadManifest: it has no items, or fewer than ``spec.items``.
        UnsupportedHere: this version has no such evaluator.
    """
    evaluator = make_evaluator(spec.evaluator, read_data)
    items = evaluator.items()
    wanted = max(1, len(items)) if spec.items is None else spec.items
    if wanted > len(items):
        raise BadManifest(f"Benchmark {spec.name} should ask {wanted} items and has {len(items)}: lower its items.")
    drawn = generator(seed, -1, f"benchmark {spec.name}").choice(len(items), wanted, replace=False)
    chosen = tuple(items[i] for i in sorted(drawn))
    said = [spec.evaluator.model_dump_json(), *(json.dumps([item.id, item.payload], sort_keys=True) for item in chosen)]
    return OpenBenchmark(spec, evaluator, chosen, seed, hashlib.sha256("\n".join(said).encode()).hexdigest())
