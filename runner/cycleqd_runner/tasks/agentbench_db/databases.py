"""What the evaluator sees of a database: an item's table, the model's statements, and what came of them."""

from __future__ import annotations

from collections import Counter
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Protocol

from cycleqd_runner.tasks.contract import Setting

Cell = str | int | float | None
Content = Counter[tuple[str | None, ...]]
"""A table's rows as text, without their order."""

SHOWN = 800
"""Characters of a statement's output that the model sees; AgentBench's number."""

CONCATENATED = 1024
"""Bytes at which GROUP_CONCAT cuts: MySQL 8's default, which leaves 170 rows in AgentBench's hash."""

MOST_NEW_ROWS = 10_000
"""Rows that may be added to an item's table before it is looked at no further."""


@dataclass(frozen=True)
class Table:
    """A table as the item has it. All columns are TEXT, as in AgentBench, whatever types the file names."""

    name: str
    columns: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]


@dataclass(frozen=True)
class Output:
    """What came of a statement.

    Attributes:
        text: the rows, or the server's error; at least the first :data:`SHOWN` characters, and one more if there are.
        failed: whether it is an error.
    """

    text: str
    failed: bool = False


class Database(Protocol):
    """One database with one item's table, for one episode."""

    async def execute(self, statement: str) -> Output:
        """Run one statement of the model. Raises TemporaryError if the server itself failed."""
        ...

    async def content(self, most: int) -> Content | None:
        """Return the first ``most`` rows of the item's table; None if it cannot be read any more.

        Raises:
            TemporaryError: the server failed.
        """
        ...

    async def answer_md5(self) -> str | None:
        """Return AgentBench's hash of the item's table as its files write it; None if it cannot be read any more.

        Raises:
            TemporaryError: the server failed.
        """
        ...


class Server(Protocol):
    """Where databases are."""

    def database(self, table: Table, setting: Setting) -> AbstractAsyncContextManager[Database]:
        """Make a database that nobody else sees, and drop it afterwards. Raises TemporaryError."""
        ...


def cell_text(value: object) -> str | None:
    """Return how a value is compared."""
    return None if value is None else str(value)
