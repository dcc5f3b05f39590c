"""Databases on SQLite, in the sandbox: the embedded choice, which is not the paper's protocol.

A database lives no longer than an execution, so an episode is its statements: all of them are run again, in memory,
to see what the last one gives.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from hashlib import md5
from typing import Any

from cycleqd.api.tasks import SandboxLimits
from cycleqd.errors import Unscored
from cycleqd_runner.sandbox import Execution, Sandbox
from cycleqd_runner.tasks.agentbench_db.databases import (
    CONCATENATED,
    MOST_NEW_ROWS,
    SHOWN,
    Content,
    Output,
    Table,
    cell_text,
)
from cycleqd_runner.tasks.contract import Setting
from cycleqd_runner.tasks.executable import one_line
from cycleqd_runner.tasks.inside import program


class Embedded:
    """Makes databases of SQLite."""

    @asynccontextmanager
    async def database(self, table: Table, setting: Setting) -> AsyncIterator[_Database]:
        """Make a database; there is nothing to drop."""
        yield _Database(table, setting.sandbox, setting.limits)


class _Database:
    def __init__(self, table: Table, sandbox: Sandbox, limits: SandboxLimits) -> None:
        self._table, self._sandbox, self._limits = table, sandbox, limits
        self._statements: list[str] = []

    async def execute(self, statement: str) -> Output:
        """Run one statement; one that meets a limit has changed nothing and is not run again."""
        found = await self._run([*self._statements, statement], most=0)
        if isinstance(found, str):
            return Output(f"the statement was ended by the limit on {found}", failed=True)
        self._statements.append(statement)
        return Output(found["text"], found["failed"])

    async def content(self, most: int) -> Content | None:
        """Return what the item's table holds."""
        found = await self._run(self._statements, most)
        if isinstance(found, str) or found["rows"] is None:
            return None
        return Counter(tuple(cell_text(value) for value in row) for row in found["rows"])

    async def answer_md5(self) -> str | None:
        """Return what AgentBench's query would give on the paper's server for what the table holds."""
        content = await self.content(len(self._table.rows) + MOST_NEW_ROWS)
        return None if content is None else f"[({_hash(content)!r},)]"

    async def _run(self, statements: list[str], most: int) -> dict[str, Any] | str:
        """Return what the program found, or the limit that ended it."""
        work = {
            "name": self._table.name,
            "columns": self._table.columns,
            "rows": self._table.rows,
            "statements": statements,
            "shown": SHOWN + 1,
            "most": most,
        }
        rules = {"sql_check.py": program("sql_check").encode()}
        execution = Execution(python=program("sql_session"), files=rules, stdin=json.dumps(work).encode())
        completed = await self._sandbox.run(execution, self._limits)
        if completed.limit is not None:
            return completed.limit
        try:
            found: dict[str, Any] = json.loads(completed.stdout)
        except ValueError as error:
            detail = one_line(completed.stderr.decode(errors="replace")) or f"exit code {completed.exit_code}"
            if "MemoryError" in detail:
                return "memory"
            raise Unscored(f"The SQLite session gave no result ({detail}): see the sandbox's log.") from error
        return found


def _hash(content: Content) -> str | None:
    """Hash the rows' hashes in order: CONCAT_WS leaves out NULL, GROUP_CONCAT gives NULL for no row and cuts."""
    rows = (",".join(cell for cell in row if cell is not None) for row in content.elements())
    hashes = ",".join(sorted(_md5(row)[:5] for row in rows))
    return _md5(hashes[:CONCATENATED]) if content else None


def _md5(text: str) -> str:
    return md5(text.encode(), usedforsecurity=False).hexdigest()
