"""What judging a coding item costs beside the model, and that nothing of many items is left.

Run ``python -m benchmarks.judging_code``. The model answers at once with the problem's own solution, so all that is
measured is sandboxes: a fresh one an item, in it the answer and its tests. MBPP's form has three tests an item,
EvalPlus' a hundred inputs and the problem's own solution besides. Target: 50 ms an item, 16 in parallel on 2 cores.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from benchmarks.report import Figure, absent, at_most, publish
from cycleqd.api.tasks import PythonTestsEvaluator, SandboxLimits
from cycleqd.errors import UnsupportedHere
from cycleqd_runner.chat import Answer, Message, Sampling
from cycleqd_runner.sandbox import HostSandbox, open_sandbox
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


def left_of(sandbox: HostSandbox) -> tuple[set[str], set[str], set[str]]:
    """Return this computer's processes below the sandbox's host, this process's mounts, and the host's files."""
    parents = {}
    for status in Path("/proc").glob("[0-9]*/stat"):
        try:
            parents[status.parent.name] = status.read_text().rpartition(")")[2].split()[1]
        except OSError:
            continue
    below, newest = set[str](), {str(sandbox.host.pid)}
    while newest := {child for child, parent in parents.items() if parent in newest} - below:
        below |= newest
    folder = getattr(sandbox.host, "folder", None)
    files = {str(path) for path in folder.rglob("*")} if folder else set[str]()
    return below, {*Path("/proc/self/mounts").read_text(encoding="utf-8").splitlines()}, files


async def measure(count: int, parallel: int) -> list[Figure]:
    """Judge ``count`` items of each form, ``parallel`` at a time; return what they cost and what is left of them."""
    places, seconds, figures, wrong = asyncio.Semaphore(parallel), list[float](), list[Figure](), 0

    async def one(evaluator: Evaluator, item: Item, sandbox: HostSandbox) -> float | None:
        async with places:
            begun = time.monotonic()
            verdict = await evaluator.judge(item, _Knows(CODE), Setting(sandbox, SECONDS_ALLOWED))
            seconds.append(time.monotonic() - begun)
            return verdict.score

    async with open_sandbox() as sandbox:
        for form in FORMS:
            evaluator = evaluator_of(form, count)
            items = evaluator.items()
            await asyncio.gather(*(one(evaluator, item, sandbox) for item in items[:parallel]))
            before = left_of(sandbox)
            seconds.clear()
            begun = time.monotonic()
            scores = await asyncio.gather(*(one(evaluator, item, sandbox) for item in items))
            whole = time.monotonic() - begun
            wrong += sum(score != 1 for score in scores)
            figures += [
                at_most(
                    f"{sandbox.name}, {form}: judging an item, {parallel} in parallel", 1000 * whole / count, "ms", 50
                ),
                Figure(
                    f"{sandbox.name}, {form}: an item from question to verdict, median",
                    1000 * statistics.median(seconds),
                    "ms",
                ),
            ]
            processes, mounts, files = (len(now - then) for now, then in zip(left_of(sandbox), before, strict=True))
            figures += [
                at_most(f"{form}: processes left after {count} items", processes, "", 0),
                at_most(f"{form}: mounts left", mounts, "", 0),
                at_most(f"{form}: files left", files, "", 0),
            ]
    return [*figures, at_most("items not judged right", wrong, "", 0)]


def main() -> int:
    """Measure and publish."""
    parser = argparse.ArgumentParser(description="Judging coding items.")
    parser.add_argument("--items", type=int, default=1000)
    parser.add_argument("--parallel", type=int, default=16)
    options = parser.parse_args()
    try:
        figures = asyncio.run(measure(options.items, options.parallel))
    except UnsupportedHere as error:
        return absent(__file__, f"it needs a sandbox: {error}")
    return publish(__file__, figures, packages=())


if __name__ == "__main__":
    sys.exit(main())
