"""What judging an AgentBenchOS item costs beside the model.

Run ``python -m benchmarks.judging_os [--kind Landlock]``. The model answers at once from a script, so all that is
measured is machines, terminals and check scripts: per item an init script, a background process, two commands and a
chain of two checks, six commands in all, none of which waits for anything. Target: 300 ms an item (wall time / items),
16 in parallel on 2 cores. Processor time is told beside the clock's, because others at work lengthen only the latter.
What is left is counted by ``leaks``.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import statistics
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from benchmarks.report import Figure, absent, at_most, publish
from benchmarks.synthetic.sandboxes import add_kinds, kinds_of, settings_of
from cycleqd.api.tasks import AgentBenchOsEvaluator, SandboxLimits
from cycleqd.errors import UnsupportedHere
from cycleqd_runner.chat import Answer, Message, Sampling
from cycleqd_runner.sandbox import Kind, open_sandbox
from cycleqd_runner.tasks.agentbench_os import AgentBenchOs, agentbench_os_evaluator
from cycleqd_runner.tasks.contract import Setting

_USER = 11
"""Place of the first of four times in /proc/PID/stat, behind the name: user and system, own and of ended children."""
ITEM = {
    "description": "How many files are in /home?",
    "create": {"init": "touch /home/a /home/b /home/.c"},
    "start": "sleep 7654321 &",
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


def processor_seconds(host: int) -> float:
    """Return the processor time of the sandbox's host and of everything below it that has ended."""
    fields = Path(f"/proc/{host}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    return sum(map(int, fields[_USER : _USER + 4])) / os.sysconf("SC_CLK_TCK")


async def measure(evaluator: AgentBenchOs, kind: Kind, count: int, parallel: int) -> list[Figure]:
    """Play ``count`` items, ``parallel`` at a time; return what they cost."""
    (item,) = evaluator.items()
    places, seconds = asyncio.Semaphore(parallel), []
    async with open_sandbox(kind, settings_of(kind)) as sandbox:
        sandbox.require_machines()

        async def one() -> float | None:
            async with places:
                begun = time.monotonic()
                verdict = await evaluator.judge(item, _Script(), Setting(sandbox, SECONDS_ALLOWED))
                seconds.append(time.monotonic() - begun)
                return verdict.score

        await asyncio.gather(*(one() for _ in range(parallel)))
        seconds.clear()
        begun, spent = time.monotonic(), processor_seconds(sandbox.host.pid)
        scores = await asyncio.gather(*(one() for _ in range(count)))
        whole = time.monotonic() - begun
        spent = processor_seconds(sandbox.host.pid) - spent
    how = f"wall time / items, {parallel} in parallel on {os.cpu_count()} cores"
    return [
        at_most(f"{kind}: judging an item, {how}", 1000 * whole / count, "ms", 300),
        Figure(f"{kind}: processor time of an item, of all cores together", 1000 * spent / count, "ms"),
        Figure(f"{kind}: latency of an item, first question to verdict, median", statistics.median(seconds), "s"),
        Figure(f"{kind}: the same, longest", max(seconds), "s"),
        Figure(f"{kind}: items judged", count, ""),
        at_most(f"{kind}: items not judged right", sum(score != 1 for score in scores), "", 0),
        Figure(f"{kind}: load of the computer in the last minute", os.getloadavg()[0], ""),
    ]


def main() -> int:
    """Measure and publish."""
    parser = argparse.ArgumentParser(description="Judging AgentBenchOS items.")
    parser.add_argument("--items", type=int, default=96, help="in each sandbox")
    parser.add_argument("--parallel", type=int, default=16)
    add_kinds(parser)
    options = parser.parse_args()
    spec = AgentBenchOsEvaluator(type="AgentBenchOS", data="one item")
    evaluator = agentbench_os_evaluator(spec, lambda _: json.dumps(ITEM).encode())
    figures: list[Figure] = []
    try:
        for kind in kinds_of(options):
            figures += asyncio.run(measure(evaluator, kind, options.items, options.parallel))
    except UnsupportedHere as error:
        return absent(__file__, f"it needs a sandbox with machines: {error}")
    return publish(__file__, figures, packages=())


if __name__ == "__main__":
    sys.exit(main())
