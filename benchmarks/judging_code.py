"""What judging a coding item costs beside the model, and that nothing of many items is left.

Run ``python -m benchmarks.judging_code [--kind Landlock]``. The model answers at once with the problem's own solution,
so all that is measured is sandboxes: a fresh one an item, in it the answer and its tests. MBPP's form has three tests
an item, EvalPlus' a hundred inputs and the problem's own solution besides. Target: 50 ms an item (wall time / items),
16 in parallel on 2 cores.
"""

from __future__ import annotations

import argparse
import asyncio
import functools
import json
import os
import statistics
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from benchmarks.report import Figure, absent, at_most, publish
from benchmarks.synthetic.census import census, staying
from benchmarks.synthetic.sandboxes import add_kinds, kinds_of, settings_of, temporary_folder
from benchmarks.synthetic.untidy import MARK
from cycleqd.api.tasks import PythonTestsEvaluator, SandboxLimits
from cycleqd.errors import UnsupportedHere
from cycleqd_runner.chat import Answer, Message, Sampling
from cycleqd_runner.sandbox import Kind, Sandbox, open_sandbox
from cycleqd_runner.tasks.contract import Evaluator, Item, Setting
from cycleqd_runner.tasks.python_tests import python_tests_evaluator

CODE = """import math
from collections import Counter

def frequent(words, most):
    counts = Counter(word.lower() for word in words)
    ranked = sorted(counts, key=lambda word: (-counts[word], word))
    return ranked[:math.ceil(most)]
"""
FORMS: dict[str, dict[str, object]] = {
    "MBPP": {
        "text": "Write a function to find the most frequent words.",
        "code": CODE,
        "test_list": [
            "assert frequent(['a', 'b', 'B'], 1) == ['b']",
            "assert frequent(['a', 'b'], 2) == ['a', 'b']",
            "assert frequent([], 3) == []",
        ],
    },
    "EvalPlus": {
        "prompt": '"""\nWrite a function to find the most frequent words.\nassert frequent(["b"], 1) == ["b"]\n"""\n',
        "entry_point": "frequent",
        "canonical_solution": CODE,
        "base_input": [[["a", "b", "B"], 1], [[], 3]],
        "plus_input": [[["a", "b", "c"] * (number % 7) + ["d"] * number, number % 5] for number in range(98)],
    },
}
"""A problem of each form, without its id."""
SECONDS_ALLOWED = SandboxLimits(timeout_seconds=60)


class _Knows:
    """A model that gives one answer, at once."""

    def __init__(self, answer: str) -> None:
        self._answer = answer

    async def chat(self, messages: Sequence[Message], sampling: Sampling) -> Answer:
        del messages, sampling  # it has made up its mind
        return Answer(f"Here it is:\n```python\n{self._answer}```", 1, 1, "stop")


def evaluator_of(form: str, count: int) -> Evaluator:
    """Return an evaluator of ``count`` items that differ in their ids."""
    lines = (json.dumps({**FORMS[form], "task_id": f"Mbpp/{number}"}) for number in range(10_000, 10_000 + count))
    return python_tests_evaluator(PythonTestsEvaluator(type="PythonTests", data=form), "\n".join(lines).encode())


async def measure(kind: Kind, folder: Path, count: int, parallel: int) -> list[Figure]:
    """Judge ``count`` items of each form, ``parallel`` at a time; return what they cost and what is left of them."""
    places, seconds, figures, wrong = asyncio.Semaphore(parallel), list[float](), list[Figure](), 0

    async def one(evaluator: Evaluator, item: Item, sandbox: Sandbox) -> float | None:
        async with places:
            begun = time.monotonic()
            verdict = await evaluator.judge(item, _Knows(CODE), Setting(sandbox, SECONDS_ALLOWED))
            seconds.append(time.monotonic() - begun)
            return verdict.score

    async with open_sandbox(kind, settings_of(kind, folder)) as sandbox:
        for form in FORMS:
            evaluator = evaluator_of(form, count)
            items = evaluator.items()
            await asyncio.gather(*(one(evaluator, item, sandbox) for item in items[:parallel]))
            look = functools.partial(census, folder, MARK, [sandbox.host.pid])
            before = look()
            seconds.clear()
            begun = time.monotonic()
            scores = await asyncio.gather(*(one(evaluator, item, sandbox) for item in items))
            whole = time.monotonic() - begun
            wrong += sum(score != 1 for score in scores)
            figures += [
                at_most(
                    f"{kind}, {form}: judging an item, wall time / items, "
                    f"{parallel} in parallel on {os.cpu_count()} cores",
                    1000 * whole / count,
                    "ms",
                    50,
                ),
                Figure(
                    f"{kind}, {form}: latency of an item, question to verdict, median",
                    1000 * statistics.median(seconds),
                    "ms",
                ),
            ]
            figures += [
                at_most(f"{kind}, {form}: {what} left after {count} items", len(things), "", 0)
                for what, things in staying(look, before).items()
            ]
    return [*figures, at_most(f"{kind}: items not judged right", wrong, "", 0)]


def main() -> int:
    """Measure and publish."""
    parser = argparse.ArgumentParser(description="Judging coding items.")
    parser.add_argument("--items", type=int, default=300, help="of each form, in each sandbox")
    parser.add_argument("--parallel", type=int, default=16)
    add_kinds(parser)
    options = parser.parse_args()
    figures: list[Figure] = []
    try:
        for kind in kinds_of(options):
            with temporary_folder() as folder:
                figures += asyncio.run(measure(kind, folder, options.items, options.parallel))
    except UnsupportedHere as error:
        return absent(__file__, f"it needs a sandbox: {error}")
    return publish(__file__, figures, packages=())


if __name__ == "__main__":
    sys.exit(main())
