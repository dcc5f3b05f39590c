"""Runs an episode's statements on one SQLite table in memory, and prints what the last gave or what the table holds.

Standard input: ``{"name", "columns", "rows", "statements", "shown", "most"}``. Output: ``{"text", "failed", "rows"}``:
the first ``shown`` characters of the last statement's rows or error, and the table's first ``most`` rows (null: it
cannot be read any more). ``sql_check.py`` lies in the working directory: what statements may do is its knowledge.
"""

from __future__ import annotations

import json
import sqlite3
import sys

sys.path.insert(0, ".")
from sql_check import MAX_STEPS, MAX_VALUE_BYTES, authorize  # type: ignore[import-not-found]


def quoted(name: str) -> str:
    """Return a name as SQL has it."""
    return '"' + name.replace('"', '""') + '"'


def outcome(database: sqlite3.Connection, statement: str, shown: int) -> tuple[str, bool]:
    """Run one statement; return the beginning of what it gave, and whether that is an error."""
    steps = iter(range(MAX_STEPS))
    database.set_progress_handler(lambda: next(steps, None) is None, 100_000)
    text = ""
    try:
        for row in database.execute(statement):
            text += f"{', ' if text else ''}{row!r}"
            if len(text) > shown:
                break
    except (sqlite3.Error, sqlite3.Warning, ValueError) as error:
        return (str(error) or type(error).__name__)[:shown], True
    return f"[{text}]"[:shown], False


def main() -> None:
    """Read one episode from standard input and print how it stands."""
    work = json.load(sys.stdin)
    database = sqlite3.connect(":memory:", isolation_level=None)
    name, columns = quoted(work["name"]), [quoted(column) for column in work["columns"]]
    database.execute(f"CREATE TABLE {name} ({', '.join(f'{column} TEXT' for column in columns)})")
    places = ", ".join("?" * len(columns))
    database.executemany(f"INSERT INTO {name} VALUES ({places})", work["rows"])  # noqa: S608 - quoted
    database.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, MAX_VALUE_BYTES)
    database.set_authorizer(authorize)
    text, failed = "", False
    for statement in work["statements"]:
        text, failed = outcome(database, statement, work["shown"])
    rows = None
    if work["most"]:
        query = f"SELECT {', '.join(columns)} FROM {name} LIMIT ?"  # noqa: S608 - quoted
        try:
            rows = database.execute(query, (work["most"],)).fetchall()
        except sqlite3.Error:
            rows = None
    sys.stdout.write(json.dumps({"text": text, "failed": failed, "rows": rows}, default=repr))


if __name__ == "__main__":
    main()
