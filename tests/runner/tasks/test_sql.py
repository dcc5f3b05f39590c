from __future__ import annotations

import json

import pytest

from cycleqd.api.tasks import SandboxLimits, SqlEvaluator
from cycleqd.errors import BadData
from cycleqd_runner.tasks.contract import Evaluator
from cycleqd_runner.tasks.sql import sql_evaluator
from tests.runner.tasks.support import judge_answers

SETUP = "CREATE TABLE t (a INTEGER, b TEXT, c REAL); INSERT INTO t VALUES (1, 'x', 0.1), (2, 'y', 0.2), (3, 'y', 0.3);"


def one(gold: str, *, ordered: bool = False, setup: str = SETUP) -> Evaluator:
    item = {"id": "one", "prompt": "t(a, b, c)", "gold": gold, "setup": setup, "ordered": ordered}
    return sql_evaluator(SqlEvaluator(type="Sql", data="items.jsonl"), json.dumps(item).encode())


def scores(evaluator: Evaluator, answers: list[str]) -> dict[str, float | None]:
    return {name: v.score for name, v in judge_answers(evaluator, {a: a for a in answers}).items()}


ROWS = {
    "SELECT b, a FROM t WHERE a >= 2": 1,
    "SELECT b, a FROM t WHERE a > 1 ORDER BY a DESC": 1,
    "SELECT a, b FROM t WHERE a > 1": 0,
    "SELECT b, a FROM t": 0,
    "SELECT DISTINCT b, 2 FROM t WHERE a > 1": 0,
    "SELECT b, a FROM t WHERE a > 1 UNION ALL SELECT 'y', 2": 0,
}


def test_queries_are_judged_by_their_rows_in_any_order() -> None:
    assert scores(one("SELECT b, a FROM t WHERE a > 1"), list(ROWS)) == ROWS


def test_order_matters_where_the_item_asks_for_it() -> None:
    found = judge_answers(
        one("SELECT a FROM t ORDER BY a DESC", ordered=True),
        {"same": "SELECT a FROM t ORDER BY -a", "other": "SELECT a FROM t ORDER BY a"},
    )
    assert found["same"].score == 1
    assert (found["other"].score, found["other"].reason) == (0, "the rows come in another order")


def test_sums_of_fractions_are_compared_with_tolerance() -> None:
    found = judge_answers(
        one("SELECT SUM(c) FROM t"), {"exact": "SELECT 0.6", "close": "SELECT 0.3 + 0.2 + 0.1", "off": "SELECT 0.61"}
    )
    assert [v.score for v in found.values()] == [1, 1, 0]


CHANGES = [
    pytest.param("UPDATE t SET a = a + 1 WHERE b = 'y'", "UPDATE t SET a = a + 1 WHERE a > 1", 1, id="same-state"),
    pytest.param("UPDATE t SET a = a + 1 WHERE b = 'y'", "UPDATE t SET a = a + 1", 0, id="too-much"),
    pytest.param("DELETE FROM t WHERE a = 1", "DELETE FROM t WHERE b = 'x'", 1, id="delete"),
    pytest.param("DELETE FROM t WHERE a = 1", "SELECT 1", 0, id="nothing-done"),
    pytest.param("INSERT INTO t VALUES (4, 'z', 0)", "INSERT INTO t (b, a, c) VALUES ('z', 4, 0)", 1, id="insert"),
    pytest.param("INSERT INTO t VALUES (4, 'z', 0)", "INSERT INTO t VALUES ('4', 'z', 1)", 0, id="other-row"),
    pytest.param("SELECT a FROM t", "DELETE FROM t RETURNING a", 0, id="rows-right-but-table-emptied"),
]


@pytest.mark.parametrize(("gold", "answer", "score"), CHANGES)
def test_changes_are_judged_by_the_state_afterwards(gold: str, answer: str, score: int) -> None:
    assert scores(one(gold), [answer]) == {answer: score}


HOSTILE = {
    "ATTACH DATABASE '/tmp/x' AS x": "not authorized",
    "PRAGMA writable_schema = 1": "not authorized",
    "SELECT load_extension('x.so')": "not authorized",
    "DROP TABLE t": "not authorized",
    "CREATE TABLE u (a)": "not authorized",
    "SELECT 1; DROP TABLE t": "the rows differ",
    "VACUUM INTO '/tmp/x'": "authorization denied",
    "WITH RECURSIVE r(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM r) SELECT MAX(n) FROM r": "interrupted",
    "WITH RECURSIVE r(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM r) SELECT n FROM r": "more than 10000 rows",
    "SELECT zeroblob(2000000000)": "too big",
    "SELECT a FROM missing": "no such table: missing",
}


def test_statements_that_reach_beyond_the_tables_are_refused() -> None:
    found = judge_answers(
        one("SELECT a FROM t"), {answer: answer for answer in HOSTILE}, SandboxLimits(timeout_seconds=60)
    )
    for answer, reason in HOSTILE.items():
        assert found[answer].score == 0.0, answer
        assert reason in str(found[answer].reason), answer


@pytest.mark.parametrize(("setup", "gold"), [(SETUP, "SELECT nothing FROM t"), ("CREATE TABEL t", "SELECT 1")])
def test_an_item_that_does_not_run_is_not_the_models_fault(setup: str, gold: str) -> None:
    with pytest.raises(BadData, match="Sql item one: its own setup or gold statement fails"):
        judge_answers(one(gold, setup=setup), {"any": "SELECT 1"})
