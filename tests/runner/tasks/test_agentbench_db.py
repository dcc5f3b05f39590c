"""AgentBenchDB: gold plays score 1, others 0, statements harm nothing, and a lost server is no score."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import pymysql
import pytest

from cycleqd.api.tasks import AgentBenchDbEvaluator, SandboxLimits
from cycleqd.errors import BadData, UnsupportedHere
from cycleqd.records import ItemOutcome
from cycleqd_runner.chat import Answer, Message, Sampling
from cycleqd_runner.tasks.agentbench_db import AgentBenchDb, agentbench_db_evaluator
from cycleqd_runner.tasks.agentbench_db.items import DbItem, parse_line
from cycleqd_runner.tasks.agentbench_db.mysql import MySql
from cycleqd_runner.tasks.agentbench_db.private_server import SOCKET_VARIABLE, PrivateServer, require_server
from cycleqd_runner.tasks.agentbench_db.protocol import action_in
from cycleqd_runner.tasks.agentbench_db.values import is_right
from cycleqd_runner.tasks.contract import Item, Setting, Verdict
from cycleqd_runner.tasks.items import read_lines
from cycleqd_runner.tasks.run import evaluate
from tests.runner.tasks.db_plays import (
    FILE,
    LIMITS,
    UPDATE,
    Plays,
    ServerName,
    answer,
    evaluator_of,
    gold,
    line,
    needs_mariadb,
    operation,
    played,
)
from tests.runner.tasks.support import NoSandbox

DATA = os.environ.get("CYCLEQD_DATA")
needs_data = pytest.mark.skipif(DATA is None, reason="CYCLEQD_DATA is not set: the folder with AgentBench's items")


def wrong(item: Item) -> Plays:
    """Return who does all but what is asked."""
    question = DbItem.model_validate(item.payload)
    table, column = (f"`{name.replace('`', '``')}`" for name in (question.table_name, question.columns[0]))
    return Plays(operation(f"UPDATE {table} SET {column} = 'nobody wants this'"), answer("nobody wants this"))


BADLY: dict[str, Callable[[Item], Plays]] = {
    "empty": lambda _: Plays("", ""),
    "no action": lambda _: Plays("][ %s {} Action: Operation"),
    "wrong": wrong,
    "an answer only": lambda _: Plays(answer("done")),
    "looks only": lambda _: Plays(operation("SELECT 1"), answer("done")),
    "never ends": lambda _: Plays(*[operation("SELECT 1")] * 6),
    "no statement": lambda _: Plays("Action: Operation\nSELECT 1"),
}


def databases(server: PrivateServer) -> list[str]:
    """Return what databases and accounts of episodes there are."""
    found = root(server, "SHOW DATABASES LIKE 'cycleqd%'") + root(
        server, "SELECT user FROM mysql.user WHERE user LIKE 'cycleqd%'"
    )
    return [str(name) for (name,) in found]


def root(server: PrivateServer, statement: str) -> list[tuple[object, ...]]:
    connection = pymysql.connect(unix_socket=server.socket(), user="root", ssl_disabled=True)
    with connection, connection.cursor() as cursor:
        cursor.execute(statement)
        return [*cursor.fetchall()]


def on(server: PrivateServer, data: bytes = FILE) -> AgentBenchDb:
    """Return an evaluator on a server that the test knows."""
    spec = AgentBenchDbEvaluator(type="AgentBenchDB", data="items.jsonl")
    return AgentBenchDb(spec, read_lines(data, "items.jsonl", parse_line), MySql(server))


@needs_data
@pytest.mark.parametrize("name", ["MySQL", "SQLite"])
def test_each_item_of_agentbench_is_solved_by_its_reference_and_by_nothing_else(name: ServerName) -> None:
    data = (Path(str(DATA)) / "agentbench" / "dbbench-dev.jsonl").read_bytes()
    evaluator = evaluator_of(data, name)
    limits = SandboxLimits()
    assert [verdict.reason for verdict in played(evaluator, gold, limits)] == [None] * 60
    for how in ("empty", "wrong", "an answer only"):
        assert [verdict.score for verdict in played(evaluator, BADLY[how], limits)] == [0] * 60, how


@pytest.mark.parametrize("name", ["MySQL", "SQLite"])
def test_all_but_gold_scores_0(name: ServerName) -> None:
    evaluator = evaluator_of(FILE, name)
    for how, player in BADLY.items():
        assert [verdict.score for verdict in played(evaluator, player)] == [0] * 4, how


@pytest.mark.parametrize("name", ["MySQL", "SQLite"])
def test_an_episode_goes_as_in_agentbench(name: ServerName) -> None:
    evaluator = evaluator_of(line("other", ["1"]), name, turns=3)
    player = Plays(
        operation("SELECT City FROM `Big ``EU`` cities` ORDER BY City"), operation("SELECT nothing"), operation(LONG)
    )
    (verdict,) = played(evaluator, lambda _: player)
    if name == "MySQL":
        assert [message.role for message in player.heard[:3]] == ["user", "assistant", "user"]
        assert player.heard[4].content == "[('Bergen',), ('Lyon',), ('Porto',)]"
    assert player.heard[2].content == "other?\nThe table is Big `EU` cities."
    assert "nothing" in player.heard[6].content
    assert len(player.heard[8].content) == 800 + len("[TRUNCATED]")
    assert (verdict.prompt_tokens, verdict.answer_tokens) == (20, 8)
    assert "cycleqd" not in str(player.heard)


LONG = "SELECT a.City, b.City, c.City, d.City FROM " + ", ".join(f"`Big ``EU`` cities` {name}" for name in "abcd")


@pytest.mark.parametrize(
    ("final", "wanted", "right"),
    [
        ('["Lyon"]', ["Lyon"], True),
        ("['Lyon']", ["Lyon"], True),
        ("Lyon", ["Lyon"], True),
        ("[('Lyon',)]", ["Lyon"], True),
        ('["lyon"]', ["Lyon"], False),
        ('["26"]', ["26.0"], True),
        ("[26.004]", ["26"], True),
        ("[26.2]", ["26"], False),
        ('["21,000"]', ["21000.0"], True),
        ('["b", "a", "a"]', ["a", "b"], True),
        ('["a"]', ["a", "b"], False),
        ('["a", "b", "c"]', ["a", "b"], False),
        ("[]", ["none"], True),
        ("[None]", ["none"], True),
        ("[null]", ["none"], True),
        ("[0]", ["none"], False),
        ("[]", ["Lyon"], False),
        ("__import__('os').abort()", ["Lyon"], False),
        ("[" * 50_000, ["Lyon"], False),
        ("9" * 200_000, ["Lyon"], False),
    ],
)
def test_values(final: str, wanted: list[str], right: bool) -> None:
    assert is_right(final, wanted) is right


@pytest.mark.parametrize(
    ("text", "kind", "content"),
    [
        (operation("SELECT\n1"), "operation", "SELECT 1"),
        (answer("a"), "answer", '["a"]'),
        ("Final Answer: 7", "answer", "7"),
        ("Action: Answer\nFinal Answer:", None, None),
        ("Action: Operation\n```python\n1\n```", None, None),
        ("", None, None),
    ],
)
def test_actions(text: str, kind: str | None, content: str | None) -> None:
    action = action_in(text)
    assert (action and action.kind, action and action.content) == (kind, content)


HOSTILE = {
    "drop the system": "DROP DATABASE mysql",
    "read a file": "LOAD DATA INFILE '/etc/passwd' INTO TABLE `Big ``EU`` cities`",
    "read the client's file": "LOAD DATA LOCAL INFILE '/etc/passwd' INTO TABLE `Big ``EU`` cities`",
    "read a file as a value": "SELECT LOAD_FILE('/etc/passwd')",
    "write a file": "SELECT 1 INTO OUTFILE '/tmp/cycleqd-hostile'",
    "sleep": "SELECT SLEEP(1000)",
    "sleep without limit": "SET STATEMENT max_statement_time=0 FOR SELECT SLEEP(1000)",
    "shut down": "SHUTDOWN",
    "cross join": f"SELECT COUNT(*) FROM ({' CROSS JOIN '.join(f'information_schema.columns c{n}' for n in range(4))})",
    "endless rows": "WITH RECURSIVE r AS (SELECT 1 AS n UNION ALL SELECT n + 1 FROM r) SELECT * FROM r",
    "huge value": "SELECT REPEAT('a', 4000000000)",
    "set a global": "SET GLOBAL max_connections = 1",
    "make an account": "CREATE USER mallory",
    "become root": "GRANT ALL ON *.* TO CURRENT_USER",
    "lock itself out": "SET PASSWORD = PASSWORD('secret')",
    "end its connection": "KILL CONNECTION_ID()",
    "read accounts": "SELECT * FROM mysql.user",
    "two at once": "SELECT 1; DROP TABLE `Big ``EU`` cities`",
    "attach": "ATTACH DATABASE '/tmp/cycleqd-hostile' AS hostile",
    "no unicode": "SELECT '\ud800'",
    "no text": "SET STATEMENT character_set_results = latin1 FOR SELECT 'é'",
    "drop all": "DROP TABLE `Big ``EU`` cities`",
}


@needs_mariadb
def test_hostile_statements_harm_nothing(server: PrivateServer) -> None:
    evaluator = on(server, line("UPDATE", [UPDATE]))
    (item,) = evaluator.items()
    before = root(server, "SELECT user, host FROM mysql.user") + root(server, "SHOW GLOBAL VARIABLES LIKE 'max_conn%'")

    async def work() -> list[Verdict]:
        setting = Setting(NoSandbox(), SandboxLimits(timeout_seconds=1))
        players = [Plays(operation(statement), operation("SELECT 1"), answer("x")) for statement in HOSTILE.values()]
        return await asyncio.gather(*(evaluator.judge(item, player, setting) for player in players))

    began = time.monotonic()
    verdicts = asyncio.run(work())
    assert [verdict.score for verdict in verdicts] == [0] * len(HOSTILE)
    assert time.monotonic() - began < 60
    assert "root:" not in str([verdict.messages for verdict in verdicts])
    after = root(server, "SELECT user, host FROM mysql.user") + root(server, "SHOW GLOBAL VARIABLES LIKE 'max_conn%'")
    assert after == before
    assert databases(server) == []
    assert not Path("/tmp/cycleqd-hostile").exists()
    assert [verdict.score for verdict in played(evaluator, gold)] == [1]


def test_hostile_statements_harm_nothing_embedded() -> None:
    evaluator = evaluator_of(line("UPDATE", [UPDATE]), "SQLite")
    for statement in HOSTILE.values():
        (verdict,) = played(evaluator, lambda _, said=statement: Plays(operation(said), answer("x")))  # type: ignore[misc]
        assert verdict.score == 0, statement
    assert not Path("/tmp/cycleqd-hostile").exists()


@needs_mariadb
def test_a_lost_server_is_no_score_and_comes_back(server: PrivateServer) -> None:
    evaluator = on(server, line("UPDATE", [UPDATE]))
    (item,) = evaluator.items()

    class Kills(Plays):
        async def chat(self, messages: Sequence[Message], sampling: Sampling) -> Answer:
            if len(messages) > 3:  # in the middle of the episode
                folder = Path(server.socket()).parent
                os.kill(int((folder / "pid").read_text()), signal.SIGKILL)
                while folder.exists():  # noqa: ASYNC110 - until its keeper has seen it, which tells nobody
                    await asyncio.sleep(0.05)
                await asyncio.sleep(0.5)
            return Answer(operation(UPDATE), 5, 2, "stop")

    async def asked(model: Plays) -> ItemOutcome:
        evaluation, _ = await evaluate(
            evaluator,
            [item],
            model,
            NoSandbox(),
            LIMITS,
            repeats=1,
            split="search",
            task_name="db",
            first_wait_seconds=0,
        )
        return evaluation.outcomes[0]

    outcome = asyncio.run(asked(Kills()))
    assert outcome.score is None
    assert "not scored after 3 tries: The database server failed" in str(outcome.reason)
    assert asyncio.run(asked(Plays(operation(UPDATE), answer("done")))).score == 1


@needs_mariadb
def test_the_server_ends_with_whoever_started_it() -> None:
    code = (
        "import os, signal\n"
        "from cycleqd_runner.tasks.agentbench_db.private_server import PrivateServer\n"
        "print(PrivateServer().socket(), flush=True)\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    folder = Path(done.stdout.strip()).parent
    assert done.returncode == -signal.SIGKILL, done.stderr
    deadline = time.monotonic() + 20
    while folder.exists() and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not folder.exists()
    assert str(folder) not in subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True).stdout


@needs_mariadb
def test_a_server_that_is_there_is_used(server: PrivateServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(SOCKET_VARIABLE, server.socket())
    assert PrivateServer().socket() == server.socket()
    assert [verdict.score for verdict in played(on(PrivateServer()), gold)] == [1] * 4
    assert databases(server) == []


def test_a_machine_without_a_server_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(SOCKET_VARIABLE, raising=False)
    monkeypatch.setattr("cycleqd_runner.tasks.agentbench_db.private_server.PROGRAMS", ("no-mariadbd",))
    with pytest.raises(UnsupportedHere, match="no-mariadbd cannot be found: install MariaDB"):
        require_server()


@pytest.mark.parametrize("name", ["MySQL", "SQLite"])
def test_an_item_whose_own_statement_fails_is_named(name: ServerName) -> None:
    evaluator = evaluator_of(line("INSERT", ["INSERT INTO nowhere VALUES (1)"]), name)
    with pytest.raises(BadData, match=r"AgentBenchDB item insert-\w+: its own statement fails"):
        played(evaluator, lambda _: Plays(operation("SELECT 1"), answer("x")))


def test_broken_lines_are_refused() -> None:
    broken = json.loads(line("other", ["Lyon"]))
    broken["table"]["table_info"]["rows"][1] = ["Porto"]
    with pytest.raises(BadData, match=r"items.jsonl, line 1: .*row 1 of the table has 1 cells, expected 3"):
        agentbench_db_evaluator(
            AgentBenchDbEvaluator(type="AgentBenchDB", data="items.jsonl"), json.dumps(broken).encode()
        )
