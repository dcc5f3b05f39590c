"""Databases on a server of MySQL's protocol: each item's own, with an account that reaches nothing else.

Everything about the client library, its exceptions and the server's dialect is here; which server it is, is
:mod:`.private_server`'s knowledge.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import threading
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, contextmanager
from typing import TypeVar

import pymysql
from pymysql.cursors import SSCursor

from cycleqd.errors import Unscored
from cycleqd_runner.tasks.agentbench_db.databases import CONCATENATED, SHOWN, Content, Output, Table, cell_text
from cycleqd_runner.tasks.agentbench_db.private_server import PrivateServer
from cycleqd_runner.tasks.contract import Setting

T = TypeVar("T")

THREADS = 16
"""Statements that run at one time; the others wait for their turn, without a connection."""

GRACE_SECONDS = 1.0
"""How long after its own limit the server may take to end a statement before its connection is killed."""

SETUP_SECONDS = 60.0
"""Limit of our own statements, which lay out tables of some hundred rows."""

MODE = (
    "ONLY_FULL_GROUP_BY,STRICT_TRANS_TABLES,NO_ZERO_IN_DATE,NO_ZERO_DATE,ERROR_FOR_DIVISION_BY_ZERO,"
    "NO_ENGINE_SUBSTITUTION"
)
"""MySQL 8's default, which AgentBench runs."""

RIGHTS = "SELECT, INSERT, UPDATE, DELETE, CREATE, ALTER, DROP, INDEX"
"""What the model's account may do, in its database only."""

PUBLIC_NAME = "dbbench"
"""What messages call the database: its real name is drawn, and prompts should repeat."""

_LOST = 2013
_CONNECTION_ENDED = {0, 1053, 1927, 2002, 2003, 2006, _LOST}
"""Error codes of a connection that is no more: the server's failure, or a statement that ended its own."""
_SERVER_FULL = {1021, 1040, 1041}
"""Error codes of a server out of disk, connections or memory."""


class MySql:
    """Makes databases on one server, which is looked for or started with the first of them."""

    def __init__(self, server: PrivateServer | None = None) -> None:
        self._server = server or PrivateServer()
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="mysql")

    @asynccontextmanager
    async def database(self, table: Table, setting: Setting) -> AsyncIterator[_Database]:
        """Make a database that only its own account and we reach, and drop both afterwards."""
        socket = await self.run(self._server.socket)
        database = _Database(self, socket, table, setting.limits.timeout_seconds)
        try:
            await self.run(database.make)
            yield database
        finally:
            await asyncio.shield(asyncio.ensure_future(self.run(database.drop)))

    async def run(self, work: Callable[[], T]) -> T:
        """Run blocking work in one of the threads. Raises Unscored for whatever the server does to us."""
        try:
            return await asyncio.get_running_loop().run_in_executor(self._threads, work)
        except (pymysql.MySQLError, OSError) as error:
            raise _server_failed(error) from error


class _Database:
    """One item's database. What blocks is called in threads only."""

    def __init__(self, server: MySql, socket: str, table: Table, seconds: float) -> None:
        self._server, self._socket, self._table, self._seconds = server, socket, table, seconds
        self._name = f"cycleqd{secrets.token_hex(8)}"

    async def execute(self, statement: str) -> Output:
        """Run one statement of the model."""
        return await self._server.run(lambda: self._execute(statement))

    async def content(self, most: int) -> Content | None:
        """Return what the item's table holds, as the model's account sees it."""
        return await self._server.run(lambda: self._content(most))

    async def answer_md5(self) -> str | None:
        """Return what AgentBench's own query gives, asked as the model's account."""
        return await self._server.run(self._answer_md5)

    def make(self) -> None:
        """Create database, table and account."""
        columns = ", ".join(f"{_quoted(column)} TEXT" for column in self._table.columns)
        table = f"{self._name}.{_quoted(self._table.name)}"
        with self._connected("root", SETUP_SECONDS) as connection, connection.cursor() as cursor:
            cursor.execute(f"CREATE DATABASE {self._name} CHARACTER SET utf8mb4 COLLATE utf8mb4_unicode_520_nopad_ci")
            cursor.execute(f"CREATE TABLE {table} ({columns})")
            places = ", ".join(["%s"] * len(self._table.columns))
            cursor.executemany(
                f"INSERT INTO {table.replace('%', '%%')} VALUES ({places})",  # noqa: S608 - quoted
                self._table.rows,
            )
            cursor.execute(f"CREATE USER {self._name}@localhost")
            cursor.execute(f"GRANT {RIGHTS} ON {self._name}.* TO {self._name}@localhost")

    def drop(self) -> None:
        """Leave nothing of it. A server that is gone has taken it along."""
        with self._connected("root", SETUP_SECONDS) as connection, connection.cursor() as cursor:
            cursor.execute(f"DROP DATABASE IF EXISTS {self._name}")
            cursor.execute(f"DROP USER IF EXISTS {self._name}@localhost")

    def _execute(self, statement: str) -> Output:
        try:
            with self._as_model() as rows:
                shown: list[str] = []
                length = 0
                for row in rows(statement):
                    shown.append(repr(row))
                    length += len(shown[-1]) + 2
                    if length > SHOWN + len(self._name):
                        break
            text, failed = f"[{', '.join(shown)}]", False
        except pymysql.MySQLError as error:
            text, failed = self._what_the_model_did(error), True
        except ValueError as error:  # bytes that are no text, because the statement asked for another encoding
            text, failed = _message(error), True
        return Output(text.replace(self._name, PUBLIC_NAME), failed)

    def _content(self, most: int) -> Content | None:
        columns = ", ".join(_quoted(column) for column in self._table.columns)
        query = f"SELECT {columns} FROM {_quoted(self._table.name)} LIMIT {most}"  # noqa: S608 - quoted
        try:
            with self._as_model() as rows:
                return Counter(tuple(cell_text(value) for value in row) for row in rows(query))
        except pymysql.MySQLError as error:
            self._what_the_model_did(error)
            return None

    def _answer_md5(self) -> str | None:
        columns = ", ".join(_quoted(column) for column in self._table.columns)
        hashes = f"SELECT SUBSTRING(MD5(CONCAT_WS(',', {columns})), 1, 5) AS h FROM {_quoted(self._table.name)}"  # noqa: S608 - quoted
        try:
            with self._as_model() as rows:
                return str([*rows(f"SELECT MD5(GROUP_CONCAT(h ORDER BY h)) FROM ({hashes}) AS hashes")])  # noqa: S608 - quoted
        except pymysql.MySQLError as error:
            self._what_the_model_did(error)
            return None

    def _what_the_model_did(self, error: pymysql.MySQLError) -> str:
        """Return an error as the model sees it; raise it if it is the server's own."""
        code = error.args[0] if error.args else 0
        if code in _CONNECTION_ENDED:
            with self._connected("root", SETUP_SECONDS):  # else the server is gone, and nothing is judged
                return f"{_LOST}: the statement was ended"
        if code in _SERVER_FULL:
            raise error
        return _message(error)

    @contextmanager
    def _as_model(self) -> Iterator[Callable[[str], Iterator[Sequence[object]]]]:
        """Connect as the model's account; yield what runs a statement and gives its rows one by one.

        A connection each, as in AgentBench: nothing that a statement sets lasts. It is killed when its time is over,
        whatever the statement did to the server's own limit, and when not all rows were wanted.
        """
        with self._connected(self._name, self._seconds) as connection:
            number: int = connection.thread_id()  # type: ignore[no-untyped-call] # of the stubs
            alarm = threading.Timer(self._seconds + GRACE_SECONDS, self._kill, (number,))
            alarm.daemon = True
            alarm.start()
            cursor = connection.cursor(SSCursor)
            is_read = False

            def rows(statement: str) -> Iterator[Sequence[object]]:
                nonlocal is_read
                cursor.execute(statement)
                if cursor.description is not None:
                    yield from iter(cursor.fetchone, None)
                is_read = True

            try:
                yield rows
            finally:
                alarm.cancel()
                if not is_read:
                    self._kill(number)
                with contextlib.suppress(pymysql.MySQLError):
                    cursor.close()

    def _kill(self, number: int) -> None:
        with contextlib.suppress(pymysql.MySQLError), self._connected("root", SETUP_SECONDS) as connection:
            connection.kill(number)  # type: ignore[no-untyped-call] # of the stubs

    @contextmanager
    def _connected(self, user: str, seconds: float) -> Iterator[pymysql.Connection[pymysql.cursors.Cursor]]:
        connection = _connect(self._socket, user, None if user == "root" else self._name, seconds)
        try:
            yield connection
        finally:
            connection.close()


def require_answer(socket: str) -> None:
    """Connect once, as for every database. Raises Unscored if the server cannot be used; another one cannot either."""
    try:
        _connect(socket, "root", None, SETUP_SECONDS).close()
    except (pymysql.MySQLError, OSError) as error:
        raise _server_failed(error) from error


def _connect(
    socket: str, user: str, database: str | None, seconds: float
) -> pymysql.Connection[pymysql.cursors.Cursor]:
    return pymysql.connect(
        unix_socket=socket,
        user=user,
        database=database,
        ssl_disabled=True,  # on a socket of this machine; reading the certificates takes 50 ms
        charset="utf8mb4",
        autocommit=True,
        connect_timeout=30,
        read_timeout=seconds + 2 * GRACE_SECONDS,
        init_command=f"SET SESSION sql_mode='{MODE}', group_concat_max_len={CONCATENATED}, "
        f"max_statement_time={seconds}, lock_wait_timeout=30",
    )


def _server_failed(error: Exception) -> Unscored:
    return Unscored(f"The database server failed ({_message(error)}): see its log.")


def _quoted(name: str) -> str:
    return "`" + name.replace("`", "``") + "`"


def _message(error: Exception) -> str:
    return ": ".join(str(one) for one in error.args) or type(error).__name__
