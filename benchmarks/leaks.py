"""What judging leaves behind: processes, mounts, files and databases after a thousand untidy items of each kind.

Run ``python -m benchmarks.leaks [--items N]``. The model is a script that answers at once, and what it says leaves as
much as it can (:mod:`benchmarks.synthetic.untidy`). Everything is counted twice: while sandbox and server are still
open, and after they were closed. Target: nothing, and every item scored as it should be.
"""

from __future__ import annotations

import argparse
import asyncio
import functools
import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.judging_db import left as databases_left
from benchmarks.report import Figure, absent, at_most, publish
from benchmarks.synthetic import untidy
from benchmarks.synthetic.census import census
from cycleqd.api.tasks import SandboxLimits
from cycleqd.errors import UnsupportedHere
from cycleqd_runner.sandbox import HostSettings, Sandbox, open_sandbox
from cycleqd_runner.tasks.agentbench_db.embedded import Embedded
from cycleqd_runner.tasks.agentbench_db.mysql import MySql
from cycleqd_runner.tasks.agentbench_db.private_server import PrivateServer, require_server
from cycleqd_runner.tasks.contract import Evaluator, Setting

AT_ONCE = 16
LIMITS = SandboxLimits(timeout_seconds=60)
"""Time is not what is measured here."""
NAMES = {
    "coding": "coding",
    "sqlite": "AgentBenchDB on SQLite",
    "mysql": "AgentBenchDB on MariaDB",
    "os": "AgentBenchOS",
}


@dataclass
class Left:
    """What was left of one kind of items, and how many were not scored as they should have been."""

    wrong: list[str] = field(default_factory=list)
    things: dict[str, list[str]] = field(default_factory=dict)
    """Processes, mounts, files and databases, by these words."""

    def add(self, found: dict[str, list[str]]) -> None:
        """Take down what was found."""
        for kind, things in found.items():
            self.things.setdefault(kind, []).extend(things)


def leave(kind: str, count: int) -> Left:
    """Judge ``count`` items of a kind and return what is left.

    Args:
        kind: one of :data:`NAMES`.
        count: at most 1000.

    Raises:
        UnsupportedHere: no sandbox (with machines), or no MariaDB, on this computer.
    """
    with _folder() as folder:
        before = census(folder, untidy.MARK)
        found = asyncio.run(_judged(kind, count, folder))
        found.add(census(folder, untidy.MARK).since(before))
    return found


async def _judged(kind: str, count: int, folder: Path) -> Left:
    found = Left()
    async with open_sandbox(settings=HostSettings(folder=folder)) as sandbox:
        with _server(kind) as server:
            make: dict[str, Callable[[int], untidy.Plays]] = {
                "coding": untidy.coding,
                "sqlite": untidy.databases(Embedded()),
                "mysql": untidy.databases(MySql(server)),
                "os": untidy.operating_system,
            }
            evaluator, plays = make[kind](count)
            found.wrong += await _all(evaluator, plays[:AT_ONCE], sandbox)  # after this, all that stays is there
            look = functools.partial(census, folder, untidy.MARK, [sandbox.host.pid])
            before = look()
            found.wrong += await _all(evaluator, plays, sandbox)
            found.add(look().since(before))
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
            verdict = await evaluator.judge(play.item, untidy.Says(play.says), Setting(sandbox, LIMITS))
        return "" if verdict.score == play.score else f"{play.item.id}: {verdict.score} ({verdict.reason})"

    return [wrong for wrong in await asyncio.gather(*map(one, plays)) if wrong]


@contextmanager
def _server(kind: str) -> Iterator[PrivateServer | None]:
    if kind != "mysql":
        yield None
        return
    require_server()
    server = PrivateServer()
    try:
        server.socket()
        yield server
    finally:
        server.close()


@contextmanager
def _folder() -> Iterator[Path]:
    """Have all temporary files of this process and those below it in one fresh folder."""
    former = os.environ.get("TMPDIR")
    with tempfile.TemporaryDirectory(prefix="cycleqd-leaks-") as name:
        Path(name).chmod(0o711)  # the users of items pass through
        os.environ["TMPDIR"], tempfile.tempdir = name, name
        try:
            yield Path(name)
        finally:
            tempfile.tempdir = None
            os.environ.pop("TMPDIR")
            if former is not None:
                os.environ["TMPDIR"] = former


def main() -> int:
    """Measure and publish."""
    parser = argparse.ArgumentParser(description="What judging leaves behind.")
    parser.add_argument("--items", type=int, default=1000)
    count = parser.parse_args().items
    figures: list[Figure] = []
    total = 0
    try:
        for kind, name in NAMES.items():
            found = leave(kind, count)
            figures += [
                at_most(f"{name}: {what} left after {count} items", len(things), "", 0)
                for what, things in found.things.items()
            ]
            total += sum(map(len, found.things.values()))
            figures.append(at_most(f"{name}: items not scored as they should be", len(found.wrong), "", 0))
            for line in (*found.wrong[:3], *(thing for things in found.things.values() for thing in things[:3])):
                print(line, file=sys.stderr)
    except UnsupportedHere as error:
        return absent(__file__, str(error))
    figures.insert(0, at_most(f"everything left after {count} items of each of {len(NAMES)} kinds", total, "", 0))
    return publish(__file__, figures, ("pymysql",))


if __name__ == "__main__":
    sys.exit(main())
