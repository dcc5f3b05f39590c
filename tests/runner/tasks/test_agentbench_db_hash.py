"""AgentBench's hash of a table: what decides about a change where the file has it, the same on both servers."""

from __future__ import annotations

import asyncio
import json
import os
from pathlib import Path

import pytest

from cycleqd.errors import BadData
from cycleqd_runner.sandbox import Sandbox
from cycleqd_runner.tasks.agentbench_db.databases import Server, Table
from cycleqd_runner.tasks.agentbench_db.embedded import Embedded
from cycleqd_runner.tasks.agentbench_db.items import parse_line
from cycleqd_runner.tasks.agentbench_db.mysql import MySql
from cycleqd_runner.tasks.agentbench_db.private_server import PrivateServer
from cycleqd_runner.tasks.contract import Setting
from tests.runner.tasks.db_plays import (
    LIMITS,
    TABLE,
    UPDATE,
    Plays,
    ServerName,
    answer,
    evaluator_of,
    gold,
    line,
    operation,
    played,
)
from tests.runner.tasks.support import in_sandbox

DATA = os.environ.get("CYCLEQD_DATA")
UPDATED = "[('80353e539a90b60a32a4c7ff566da1e2',)]"
"""What AgentBench's query gives after ``UPDATE``."""
NO_SQL = "SET the country of Lyon to FR"
SERVERS = ("MySQL", "SQLite")


def hashed(server: Server, table: Table, *statements: str) -> str | None:
    """Return the hash of a table after these statements."""

    async def work(sandbox: Sandbox) -> str | None:
        async with server.database(table, Setting(sandbox, LIMITS)) as database:
            for statement in statements:
                assert not (await database.execute(statement)).failed
            return await database.answer_md5()

    return in_sandbox(work)


@pytest.mark.skipif(DATA is None, reason="CYCLEQD_DATA is not set: the folder with AgentBench's items")
@pytest.mark.parametrize("name", SERVERS)
def test_tables_end_as_agentbench_says(name: ServerName, server: PrivateServer) -> None:
    lines = (Path(str(DATA)) / "agentbench" / "dbbench-dev.jsonl").read_text(encoding="utf-8").splitlines()
    said = [one for one in map(json.loads, lines) if one.get("answer_md5")]
    where = MySql(server) if name == "MySQL" else Embedded()

    async def work(sandbox: Sandbox) -> list[str | None]:
        async def one(line: dict[str, object]) -> str | None:
            question = parse_line(line)
            async with where.database(question.table, Setting(sandbox, LIMITS)) as database:
                assert not (await database.execute(question.label[0])).failed
                return await database.answer_md5()

        return await asyncio.gather(*map(one, said))

    assert len(said) == 40
    assert in_sandbox(work) == [one["answer_md5"] for one in said]


TABLES: dict[str, tuple[tuple[str | int | float | None, ...], ...]] = {
    "no rows": (),
    "null": ((None, "x"), (None, None), ("x", None), ("", "x")),
    "text": (("ä – 東京", "🚲"), ("a,b", "c"), ("a", "b,c"), ("a", "b,c")),
    "numbers": ((1, 2.5), (10**18, -0.125)),
    "170 rows": tuple((str(n), "x") for n in range(170)),
    "more than the hash covers": tuple((str(n), "x") for n in range(400)),
}


def test_both_servers_give_the_same_hash(server: PrivateServer) -> None:
    tables = {name: Table("Big `EU` cities", ("a", "`b` %"), rows) for name, rows in TABLES.items()}
    found = {name: hashed(MySql(server), table) for name, table in tables.items()}
    assert found == {name: hashed(Embedded(), table) for name, table in tables.items()}
    assert found["no rows"] == "[(None,)]"
    assert len(set(found.values())) == len(TABLES)


@pytest.mark.parametrize("name", SERVERS)
def test_the_hash_decides_and_not_the_label(name: ServerName) -> None:
    evaluator = evaluator_of(line("UPDATE", [NO_SQL], UPDATED), name)
    other = f"UPDATE {TABLE} SET Country = 'FR' WHERE Country = 'France'"
    plays = {
        "another statement": Plays(operation(other), answer("done")),
        "back again": Plays(
            operation(other), operation(f"UPDATE {TABLE} SET Country = 'France' WHERE City = 'Lyon'"), answer("done")
        ),
        "one row more": Plays(operation(UPDATE), operation(f"INSERT INTO {TABLE} VALUES ('', '', '')"), answer("x")),
        "a column away": Plays(operation(UPDATE), operation(f"ALTER TABLE {TABLE} DROP Country"), answer("x")),
        "without an answer": Plays(operation(UPDATE), ""),
    }
    scores = {how: played(evaluator, lambda _, play=play: play)[0].score for how, play in plays.items()}  # type: ignore[misc]
    if name == "SQLite":  # where schemas cannot be changed: the column is still there
        assert scores.pop("a column away") == 1
    assert scores.pop("another statement") == 1
    assert set(scores.values()) == {0}


@pytest.mark.parametrize("name", SERVERS)
def test_a_label_that_does_something_else_scores_0(name: ServerName) -> None:
    (verdict,) = played(evaluator_of(line("UPDATE", [UPDATE.replace("FR", "PT")], UPDATED), name), gold)
    assert (verdict.score, verdict.reason) == (0, "the table does not hold what it should")


@pytest.mark.parametrize("said", ["0" * 32, "[('abc',)]", "[('" + "0" * 32 + "',), ('',)]"])
def test_what_is_no_hash_of_agentbench_is_refused(said: str) -> None:
    with pytest.raises(BadData, match=r"items.jsonl, line 1: answer_md5: string should match pattern"):
        evaluator_of(line("UPDATE", [UPDATE], said), "SQLite")


def test_an_item_is_another_one_with_its_hash_only() -> None:
    without = json.loads(line("UPDATE", [UPDATE]))
    del without["answer_md5"]
    ids = [parse_line({**without, **more}).id for more in ({}, {"answer_md5": ""}, {"answer_md5": UPDATED})]
    assert ids[:2] == ["update-8d7471c9e5d7"] * 2
    assert ids[2] != ids[0]
    assert "answer_md5" not in parse_line(without).model_dump()
