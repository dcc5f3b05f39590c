"""A file of AgentBenchDB's form, and models that play episodes by a script."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
from collections.abc import Callable, Sequence
from typing import Literal

import pytest

from cycleqd.api.tasks import AgentBenchDbEvaluator, SandboxLimits
from cycleqd_runner.chat import Answer, Message, Sampling
from cycleqd_runner.sandbox import Sandbox
from cycleqd_runner.tasks.agentbench_db import AgentBenchDb, agentbench_db_evaluator
from cycleqd_runner.tasks.agentbench_db.items import DbItem
from cycleqd_runner.tasks.agentbench_db.private_server import PROGRAMS
from cycleqd_runner.tasks.contract import Item, Setting, Verdict
from tests.runner.tasks.support import in_sandbox

ServerName = Literal["MySQL", "SQLite"]
LIMITS = SandboxLimits(timeout_seconds=2)
HAS_MARIADB = all(shutil.which(name, path=f"{os.environ['PATH']}:/usr/sbin") for name in PROGRAMS)
needs_mariadb = pytest.mark.skipif(not HAS_MARIADB, reason="no MariaDB here (mariadb-server)")


class Plays:
    """Says one answer after another, then ends the episode; remembers the last messages."""

    def __init__(self, *answers: str) -> None:
        self._answers = [*answers]
        self.heard: Sequence[Message] = ()

    async def chat(self, messages: Sequence[Message], sampling: Sampling) -> Answer:
        self.heard = messages
        return Answer(self._answers.pop(0) if self._answers else answer(), 5, 2, "stop")


def operation(statement: str) -> str:
    return f"I look first.\nAction: Operation\n```sql\n{statement}\n```\nThen I wait."


def answer(*values: str) -> str:
    return f"Action: Answer\nFinal Answer: {json.dumps([*values])}"


def gold(item: Item) -> Plays:
    """Return who plays an item right."""
    question = DbItem.model_validate(item.payload)
    if question.category == "SELECT":
        looked = question.table_name.replace("`", "``")
        return Plays(operation(f"SELECT * FROM `{looked}`"), answer(*question.label))
    return Plays(*map(operation, question.label), answer("done"))


TABLE = "`Big ``EU`` cities`"
"""The table of the items here, as statements name it."""


def line(kind: str, label: Sequence[str], answer_md5: str = "") -> bytes:
    """Return a line of a dbbench file about one small table, with AgentBench's hash of it after the change."""
    columns = [{"name": name, "type": "INT"} for name in ("City", "Country", "People (%)")]
    rows = [["Lyon", "France", "520"], ["Porto", "Portugal", 230], ["Bergen", "Norway", "1,280"]]
    table = {"table_name": "Big `EU` cities", "table_info": {"columns": columns, "rows": rows}}
    said = {
        "description": f"{kind}?",
        "add_description": "The table is Big `EU` cities.",
        "type": [kind],
        "label": label,
        "answer_md5": answer_md5,
    }
    return json.dumps(said | {"table": table}).encode() + b"\n"


UPDATE = f"UPDATE {TABLE} SET Country = 'FR' WHERE City = 'Lyon'"
FILE = line("other", ["Lyon"]) + line("ranking", ["1280.0", "none"]) + line("UPDATE", [UPDATE])
FILE += line("INSERT", [f"INSERT INTO {TABLE} VALUES ('Oslo', 'Norway', '700')"])


def evaluator_of(data: bytes, server: ServerName, **more: int) -> AgentBenchDb:
    if server == "MySQL" and not HAS_MARIADB:
        pytest.skip("no MariaDB here (mariadb-server)")
    spec = AgentBenchDbEvaluator(type="AgentBenchDB", data="items.jsonl", server=server, max_turns=more.get("turns", 5))
    return agentbench_db_evaluator(spec, data)


def played(evaluator: AgentBenchDb, player: Callable[[Item], Plays], limits: SandboxLimits = LIMITS) -> list[Verdict]:
    """Judge all items at once."""

    async def judged(item: Item, sandbox: Sandbox) -> Verdict:
        return await evaluator.judge(item, player(item), Setting(sandbox, limits))

    async def work(sandbox: Sandbox) -> list[Verdict]:
        return await asyncio.gather(*(judged(item, sandbox) for item in evaluator.items()))

    return in_sandbox(work)
