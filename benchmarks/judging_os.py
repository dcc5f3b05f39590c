"""What judging an AgentBenchOS item costs beside the model, and that nothing of many items is left.

Run ``python -m benchmarks.judging_os``. The model answers at once from a script, so all that is measured is machines,
terminals and check scripts: per item an init script, a background process, two commands and a chain of two checks.
Target: 300 ms an item, 16 in parallel on 2 cores.
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
from cycleqd.api.tasks import AgentBenchOsEvaluator, SandboxLimits
from cycleqd.errors import UnsupportedHere
from cycleqd_runner.chat import Answer, Message, Sampling
from cycleqd_runner.sandbox import open_sandbox
from cycleqd_runner.tasks.agentbench_os import AgentBenchOs, agentbench_os_evaluator
from cycleqd_runner.tasks.contract import Setting

MARK = "7654321"
"""Seconds that the items' background processes sleep, by which they are found."""
ITEM = {
    "description": "How many files are in /home?",
    "create": {"init": "touch /home/a /home/b /home/.c"},
    "start": f"sleep {MARK} &",
    "evaluation": {
        "check": [None, {"language": "python", "code": "from sys import argv\nexit(int(argv[1]) != int(argv[2]))"}],
        "example": "ls -A /home | wc -l",
    },
}
SAYS = (
    "Think: look.\n\nAct: bash\n\n```bash\ncd /home; ls -A\n```",
    "Think: count.\n\nAct: bash\n\n```bash\nls -A | wc -l\n```",
    "Think: done.\n\nAct: answer(3)",
)
SECONDS_ALLOWED = SandboxLimits(timeout_seconds=60)


class _Script:
    """A model that says one thing after the other, at once."""

    def __init__(self) -> None:
        self._says = iter(SAYS)

    async def chat(self, messages: Sequence[Message], sampling: Sampling) -> Answer:
        del messages, sampling  # it has made up its mind
        return Answer(next(self._says), 1, 1, "stop")


def mounts_and_processes() -> tuple[list[str], list[bytes]]:
    """Return this process's mounts, and the items' background processes on this computer."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            found.append(path.read_bytes())
        except OSError:
            continue
    mounts = Path("/proc/self/mounts").read_text(encoding="utf-8").splitlines()
    return mounts, [line for line in found if line == f"sleep\0{MARK}\0".encode()]


async def measure(evaluator: AgentBenchOs, count: int, parallel: int) -> list[Figure]:
    """Play ``count`` items, ``parallel`` at a time; return what they cost and what is left of them."""
    (item,) = evaluator.items()
    places, seconds = asyncio.Semaphore(parallel), []
    mounts, _ = mounts_and_processes()
    async with open_sandbox() as sandbox:
        sandbox.require_machines()
        folder = getattr(sandbox.host, "folder", None)

        async def one() -> float | None:
            async with places:
                begun = time.monotonic()
                verdict = await evaluator.judge(item, _Script(), Setting(sandbox, SECONDS_ALLOWED))
                seconds.append(time.monotonic() - begun)
                return verdict.score

        await asyncio.gather(*(one() for _ in range(parallel)))
        files = sorted(folder.rglob("*")) if folder else []
        seconds.clear()
        begun = time.monotonic()
        scores = await asyncio.gather(*(one() for _ in range(count)))
        whole = time.monotonic() - begun
        mounts_left, processes = mounts_and_processes()
        left = len(sorted(folder.rglob("*"))) - len(files) if folder else 0
        name = sandbox.name
    return [
        at_most(f"{name}: judging an item, {parallel} in parallel", 1000 * whole / count, "ms", 300),
        Figure(f"{name}: an item from its first question to its verdict, median", statistics.median(seconds), "s"),
        Figure("items judged", count, ""),
        at_most("items not judged right", sum(score != 1 for score in scores), "", 0),
        at_most("processes left", len(processes), "", 0),
        at_most("mounts left", len(set(mounts_left) - set(mounts)), "", 0),
        at_most("files left", left, "", 0),
    ]


def main() -> int:
    """Measure and publish."""
    parser = argparse.ArgumentParser(description="Judging AgentBenchOS items.")
    parser.add_argument("--items", type=int, default=1000)
    parser.add_argument("--parallel", type=int, default=16)
    options = parser.parse_args()
    spec = AgentBenchOsEvaluator(type="AgentBenchOS", data="one item")
    evaluator = agentbench_os_evaluator(spec, lambda _: json.dumps(ITEM).encode())
    try:
        figures = asyncio.run(measure(evaluator, options.items, options.parallel))
    except UnsupportedHere as error:
        return absent(__file__, f"it needs a sandbox with machines: {error}")
    return publish(__file__, figures, packages=())


if __name__ == "__main__":
    sys.exit(main())
