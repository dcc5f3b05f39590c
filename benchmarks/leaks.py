"""What judging leaves behind: processes, mounts, files and databases after many untidy items of each task.

Run ``python -m benchmarks.leaks [--items N] [--kind Landlock]``. The model is a script that answers at once, and what
it says leaves as much as it can (:mod:`benchmarks.synthetic.untidy`). Tasks whose items run in the sandbox are judged
in each kind of it, five hundred items together; those on MariaDB and in containers, which do without, once. Containers
are started by the tests' stand-in for Docker: what the evaluator itself leaves is counted, what Docker would is not.
Everything is counted twice: while sandbox and server are still open, and after they were closed; processes that end by
themselves within ten seconds are not left. Target: nothing, and every item scored as it should be.
"""

from __future__ import annotations

import argparse
import asyncio
import functools
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.judging_db import left as databases_left
from benchmarks.report import Figure, absent, at_most, publish
from benchmarks.synthetic import untidy
from benchmarks.synthetic.census import census, staying
from benchmarks.synthetic.sandboxes import KINDS, add_kinds, kinds_of, settings_of, temporary_folder
from cycleqd.api.tasks import SandboxLimits
from cycleqd.errors import Unscored, UnsupportedHere
from cycleqd_runner.sandbox import Kind, Sandbox, open_sandbox
from cycleqd_runner.tasks.agentbench_db.embedded import Embedded
from cycleqd_runner.tasks.agentbench_db.mysql import MySql
from cycleqd_runner.tasks.agentbench_db.private_server import PrivateServer, require_server
from cycleqd_runner.tasks.contract import Evaluator, Setting
from tests.runner.tasks.container.places import stand_in

AT_ONCE = 16
LIMITS = SandboxLimits(timeout_seconds=60)
"""Time is not what is measured here."""
IN_SANDBOX = {"coding": "coding", "sqlite": "AgentBenchDB on SQLite", "os": "AgentBenchOS"}
BESIDE_IT = {"mysql": "AgentBenchDB on MariaDB", "container": "Container"}
SHARES = {"coding": 0.75, "sqlite": 0.15, "os": 0.1, "mysql": 0.25, "container": 0.1}
"""Items of a task, of those in a sandbox: one of AgentBenchOS takes as long as ten of code."""


@dataclass
class Left:
    """What was left of one task's items, and how many were not scored as they should have been."""

    wrong: list[str] = field(default_factory=list)
    things: dict[str, list[str]] = field(default_factory=dict)
    """Processes, mounts, files and databases, by these words."""

    def add(self, found: dict[str, list[str]]) -> None:
        """Take down what was found."""
        for kind, things in found.items():
            self.things.setdefault(kind, []).extend(things)


def cases(kinds: Sequence[Kind] = KINDS) -> dict[str, tuple[str, Kind]]:
    """Return what is judged, each task with the kind of sandbox that is open meanwhile, by name."""
    named = {f"{name} in {kind}": (task, kind) for kind in kinds for task, name in IN_SANDBOX.items()}
    return named | {name: (task, kinds[0]) for task, name in BESIDE_IT.items()}


def leave(task: str, kind: Kind, count: int) -> Left:
    """Judge ``count`` items of a task and return what is left.

    Args:
        task: one of :data:`IN_SANDBOX` or :data:`BESIDE_IT`.
        kind: of the sandbox.
        count: at most 1000.

    Raises:
        UnsupportedHere: no such sandbox (with machines), or no MariaDB, on this computer.
    """
    with temporary_folder() as folder:
        look = functools.partial(census, folder, untidy.MARK)
        before = look()
        found = asyncio.run(_judged(task, kind, count, folder))
        found.add(staying(look, before))
    return found


async def _judged(task: str, kind: Kind, count: int, folder: Path) -> Left:
    found = Left()
    async with open_sandbox(kind, settings_of(kind, folder)) as sandbox:
        with _server(task) as server, tempfile.TemporaryDirectory(dir=folder.parent) as elsewhere:
            make: dict[str, Callable[[int], untidy.Plays]] = {
                "coding": untidy.coding,
                "sqlite": untidy.databases(Embedded()),
                "mysql": untidy.databases(MySql(server)),
                "os": untidy.operating_system,
                "container": untidy.containers(stand_in(Path(elsewhere))),
            }
            evaluator, plays = make[task](count)
            found.wrong += await _all(evaluator, plays[:AT_ONCE], sandbox)  # after this, all that stays is there
            look = functools.partial(census, folder, untidy.MARK, [sandbox.host.pid])
            before = look()
            found.wrong += await _all(evaluator, plays, sandbox)
            found.add(staying(look, before))
            found.things["databases"] = [] if server is None else ["a database or account"] * databases_left(server)
    if server is not None:
        # The server writes where and when it likes; what it leaves counts when it has ended.
        found.things["files"] = [path for path in found.things["files"] if "/cycleqd-db-" not in path]
    return found


async def _all(evaluator: Evaluator, plays: list[untidy.Play], sandbox: Sandbox) -> list[str]:
    """Judge items, some at a time; return what was not scored as it should have been."""
    gate = asyncio.Semaphore(AT_ONCE)

    async def one(play: untidy.Play) -> str:
        async with gate:
            try:
                verdict = await evaluator.judge(play.item, untidy.Says(play.says), Setting(sandbox, LIMITS))
                score, reason = verdict.score, verdict.reason
            except Unscored as error:
                score, reason = None, str(error)
        return "" if score == play.score else f"{play.item.id}: {score} ({reason})"

    return [wrong for wrong in await asyncio.gather(*map(one, plays)) if wrong]


@contextmanager
def _server(task: str) -> Iterator[PrivateServer | None]:
    if task != "mysql":
        yield None
        return
    require_server()
    server = PrivateServer()
    try:
        server.socket()
        yield server
    finally:
        server.close()


def main() -> int:
    """Measure and publish."""
    parser = argparse.ArgumentParser(description="What judging leaves behind.")
    parser.add_argument("--items", type=int, default=500, help="in each sandbox")
    add_kinds(parser)
    options = parser.parse_args()
    kinds = kinds_of(options)
    figures: list[Figure] = []
    judged = total = 0
    try:
        for name, (task, kind) in cases(kinds).items():
            count = round(options.items * SHARES[task])
            found = leave(task, kind, count)
            figures += [
                at_most(f"{name}: {what} left after {count} items", len(things), "", 0)
                for what, things in found.things.items()
            ]
            judged += count
            total += sum(map(len, found.things.values()))
            figures.append(at_most(f"{name}: items not scored as they should be", len(found.wrong), "", 0))
            for line in (*found.wrong[:3], *(thing for things in found.things.values() for thing in things[:3])):
                print(line, file=sys.stderr)
    except UnsupportedHere as error:
        return absent(__file__, str(error))
    in_each = " and ".join(f"{options.items} in {kind}" for kind in kinds)
    everything = f"everything left after {judged} items, {in_each} among them"
    return publish(__file__, [at_most(everything, total, "", 0), *figures], ("pymysql",))


if __name__ == "__main__":
    sys.exit(main())
