"""Runs the gold statement and the answer on two copies of a database and prints how they compare, as JSON.

Standard input: ``{"setup", "gold", "answer", "ordered"}``. Output: ``{"score", "reason"}``, or ``{"broken"}`` where the
item itself does not run. An SQL statement cannot reach this process, so its output can be believed.
"""

from __future__ import annotations

import json
import sqlite3
import sys
from collections import Counter

Row = tuple[object, ...]

ALLOWED = {
    sqlite3.SQLITE_SELECT,
    sqlite3.SQLITE_READ,
    sqlite3.SQLITE_INSERT,
    sqlite3.SQLITE_UPDATE,
    sqlite3.SQLITE_DELETE,
    sqlite3.SQLITE_FUNCTION,
    sqlite3.SQLITE_RECURSIVE,
    sqlite3.SQLITE_TRANSACTION,  # sqlite3 itself begins one before a change
}
FORBIDDEN_FUNCTIONS = {"load_extension", "writefile", "readfile", "edit", "fts3_tokenizer"}
MAX_ROWS = 10_000
MAX_STEPS = 300
"""Of a hundred thousand instructions each: about a second, and the same verdict on every machine."""
MAX_VALUE_BYTES = 1_000_000


def authorize(action: int, _first: str | None, second: str | None, _database: str | None, _trigger: str | None) -> int:
    """Refuse what reaches beyond the tables: ATTACH, PRAGMA, schema changes, functions that touch files."""
    if action not in ALLOWED or (action == sqlite3.SQLITE_FUNCTION and str(second).lower() in FORBIDDEN_FUNCTIONS):
        return sqlite3.SQLITE_DENY
    return sqlite3.SQLITE_OK


def run(setup: str, statement: str) -> tuple[list[Row] | None, list[Counter[Row]]]:
    """Return the rows (None if the statement has none) and the state of all tables."""
    database = sqlite3.connect(":memory:")
    database.executescript(setup)
    names = [name for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY name")]
    steps = iter(range(MAX_STEPS))
    database.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, MAX_VALUE_BYTES)
    database.set_authorizer(authorize)
    database.set_progress_handler(lambda: next(steps, None) is None, 100_000)
    cursor = database.execute(statement)
    rows = None
    if cursor.description is not None:
        rows = cursor.fetchmany(MAX_ROWS + 1)
        if len(rows) > MAX_ROWS:
            raise sqlite3.OperationalError(f"more than {MAX_ROWS} rows")
    database.set_authorizer(None)
    database.set_progress_handler(None, 0)
    quoted = ['"' + name.replace('"', '""') + '"' for name in names]
    return rows, [bag(database.execute(f"SELECT * FROM {name}").fetchall()) for name in quoted]  # noqa: S608


def comparable(rows: list[Row]) -> list[Row]:
    """Round what arithmetic made inexact; 2.0 and 2 are equal already."""
    return [tuple(round(value, 6) if isinstance(value, float) else value for value in row) for row in rows]


def bag(rows: list[Row]) -> Counter[Row]:
    """Return the rows without their order."""
    return Counter(comparable(rows))


def difference(
    setup: str, answer: str, ordered: bool, wanted: tuple[list[Row] | None, list[Counter[Row]]]
) -> str | None:
    """Return what is wrong with an answer, or None."""
    try:
        rows, state = run(setup, answer)
    except (sqlite3.Error, sqlite3.Warning, ValueError) as error:
        return str(error) or type(error).__name__
    if state != wanted[1]:
        return "the tables differ"
    if wanted[0] is None:
        return None
    if rows is None or bag(rows) != bag(wanted[0]):
        return "the rows differ"
    if ordered and comparable(rows) != comparable(wanted[0]):
        return "the rows come in another order"
    return None


def main() -> None:
    """Read one comparison from standard input and print the verdict."""
    work = json.load(sys.stdin)
    try:
        wanted = run(work["setup"], work["gold"])
    except sqlite3.Error as error:
        verdict: dict[str, object] = {"broken": str(error)}
    else:
        reason = difference(work["setup"], work["answer"], work["ordered"], wanted)
        verdict = {"score": int(reason is None), "reason": reason}
    sys.stdout.write(json.dumps(verdict))


if __name__ == "__main__":
    main()
