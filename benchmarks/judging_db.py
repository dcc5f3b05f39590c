"""What judging AgentBenchDB costs beside the model: a thousand items, sixteen at a time, on a MariaDB server.

Run ``python -m benchmarks.judging_db`` where MariaDB is installed. The model is a script that answers at once: it looks
at the table, makes the change that is asked for, and ends; so an item is two databases at most, two or three statements
and the comparison. The server is started before the clock. Afterwards it is asked what is left.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from collections.abc import Sequence
from statistics import median, quantiles

import pymysql

from benchmarks.report import Figure, absent, at_most, publish
from cycleqd.api.tasks import AgentBenchDbEvaluator, SandboxLimits
from cycleqd.errors import UnsupportedHere
from cycleqd_runner.chat import Answer, Message, Sampling
from cycleqd_runner.sandbox import Sandbox, open_sandbox
from cycleqd_runner.tasks.agentbench_db.evaluator import AgentBenchDb
from cycleqd_runner.tasks.agentbench_db.items import DbItem, parse_line
from cycleqd_runner.tasks.agentbench_db.mysql import MySql
from cycleqd_runner.tasks.agentbench_db.private_server import PrivateServer, require_server
from cycleqd_runner.tasks.contract import Item, Setting

ITEMS, AT_ONCE, ROWS = 1000, 16, 30
PACKAGES = ("pymysql",)


class Plays:
    """Looks, changes what is asked for, and ends the episode."""

    def __init__(self, item: DbItem) -> None:
        self._statements = ["SELECT * FROM cities", *(item.label if item.category != "SELECT" else ())]
        self._final = json.dumps(list(item.label))

    async def chat(self, messages: Sequence[Message], sampling: Sampling) -> Answer:  # noqa: ARG002
        """Say what comes next."""
        if self._statements:
            text = f"Action: Operation\n```sql\n{self._statements.pop(0)}\n```"
        else:
            text = f"Action: Answer\nFinal Answer: {self._final}"
        return Answer(text, 1, 1, "stop")


def items() -> list[DbItem]:
    """Return as many questions as changes."""
    columns = [{"name": name} for name in ("city", "country", "people", "area", "founded")]
    rows = [[f"city {n}", f"country {n % 7}", str(1000 * n), str(n), str(1000 + n)] for n in range(ROWS)]
    table = {"table_name": "cities", "table_info": {"columns": columns, "rows": rows}}
    kinds = [
        ("other", "city 7"),
        ("UPDATE", "UPDATE cities SET people = '{}' WHERE city = 'city 3'"),
        ("counting", "30"),
        ("INSERT", "INSERT INTO cities VALUES ('new', 'country', '{}', '1', '2')"),
    ]
    lines = ((*kinds[n % len(kinds)], n) for n in range(ITEMS))
    return [
        parse_line({"description": f"{n}?", "type": [kind], "label": [label.format(n)], "table": table})
        for kind, label, n in lines
    ]


async def judged(evaluator: AgentBenchDb, sandbox: Sandbox) -> tuple[float, list[float]]:
    """Return the seconds of all and of each item."""
    gate = asyncio.Semaphore(AT_ONCE)

    async def one(item: Item) -> float:
        async with gate:
            begun = time.perf_counter()
            model = Plays(DbItem.model_validate(item.payload))
            verdict = await evaluator.judge(item, model, Setting(sandbox, SandboxLimits()))
            assert verdict.score == 1, verdict
            return time.perf_counter() - begun

    begun = time.perf_counter()
    each = await asyncio.gather(*(one(item) for item in evaluator.items()))
    return time.perf_counter() - begun, each


async def measured(server: PrivateServer) -> tuple[float, list[float]]:
    """Judge all items."""
    spec = AgentBenchDbEvaluator(type="AgentBenchDB", data="generated")
    async with open_sandbox() as sandbox:
        return await judged(AgentBenchDb(spec, items(), MySql(server)), sandbox)


def left(server: PrivateServer) -> int:
    """Return how many databases and accounts of items there are."""
    connection = pymysql.connect(unix_socket=server.socket(), user="root", ssl_disabled=True)
    with connection, connection.cursor() as cursor:
        databases = cursor.execute("SHOW DATABASES LIKE 'cycleqd%'")
        return databases + cursor.execute("SELECT user FROM mysql.user WHERE user LIKE 'cycleqd%'")


def main() -> int:
    """Measure and publish."""
    try:
        require_server()
    except UnsupportedHere as error:
        return absent(__file__, str(error))
    server = PrivateServer()
    begun = time.perf_counter()
    server.socket()
    start = time.perf_counter() - begun
    try:
        seconds, each = asyncio.run(measured(server))
        figures = [
            at_most(
                f"judging an AgentBenchDB item, wall time / items, {AT_ONCE} in parallel on {os.cpu_count()} cores",
                1000 * seconds / ITEMS,
                "ms",
                100,
            ),
            Figure("latency of an item, question to verdict, median", 1000 * median(each), "ms"),
            Figure("the same, 95 %", 1000 * quantiles(each, n=20)[-1], "ms"),
            at_most(f"databases and accounts left after {ITEMS} items", left(server), "", 0),
            Figure("starting the worker's own server", start, "s"),
        ]
    finally:
        server.close()
    return publish(__file__, figures, PACKAGES)


if __name__ == "__main__":
    sys.exit(main())
