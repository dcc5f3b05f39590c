"""Questions about one small table, with their SQL. Test items ask about tables that no expert was trained on."""

# ruff: noqa: S608 - these statements are composed of the words below, nothing of them comes from outside

from __future__ import annotations

import re
import sqlite3
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass

from cycleqd_runner.tasks.generate.pools import SEEN_ITEMS, UNSEEN_ITEMS, Dice, Pool, draw_pool
from cycleqd_runner.tasks.generate.schemas import SEEN_SCHEMAS, UNSEEN_SCHEMAS, Schema
from cycleqd_runner.tasks.items import SqlItem

NAMES = [
    "Ada",
    "Bo",
    "Cleo",
    "Dan",
    "Eva",
    "Finn",
    "Gus",
    "Hana",
    "Ivo",
    "Jan",
    "Kim",
    "Lena",
    "Max",
    "Nina",
    "Otto",
    "Pia",
    "Rex",
    "Sam",
    "Tess",
    "Uma",
    "Vic",
    "Wes",
    "Yara",
    "Zoe",
]

ROWS = 12
"""Rows of a table: enough that a wrong condition shows, few enough to be fast."""


@dataclass(frozen=True)
class Condition:
    """A condition in words and in SQL."""

    words: str
    sql: str


@dataclass(frozen=True)
class Scene:
    """A schema with its rows; what every kind of question is drawn from."""

    dice: Dice
    schema: Schema
    columns: tuple[str, ...]
    rows: tuple[tuple[str | int, ...], ...]

    def value(self, column: str) -> str | int:
        """Return a value that the column has, so that > and >= differ."""
        return self.dice.pick(self.rows)[self.columns.index(column)]

    def number(self) -> str:
        """Return the name of one number column."""
        return self.dice.pick(self.schema.numbers)[0]

    def condition(self) -> Condition:
        """Return a condition on one column."""
        schema, dice = self.schema, self.dice
        form = dice.pick(("category", "category", "category", "prefix", "range", *["number"] * 5))
        if form == "category":
            value = self.value(schema.category)
            word, sign = dice.pick((("is", "="), ("is", "="), ("is not", "<>")))
            return Condition(f"{schema.category} {word} {value}", f"{schema.category} {sign} '{value}'")
        if form == "prefix":
            letter = str(self.value(schema.name))[0]
            return Condition(f"{schema.name} starts with {letter}", f"{schema.name} LIKE '{letter}%'")
        column = self.number()
        if form == "range":
            low, high = sorted((int(self.value(column)), int(self.value(column))))
            return Condition(f"{column} is between {low} and {high}", f"{column} BETWEEN {low} AND {high}")
        word, sign = dice.pick(
            (("over", ">"), ("under", "<"), ("at least", ">="), ("at most", "<="), ("equal to", "="))
        )
        value = self.value(column)
        return Condition(f"{column} is {word} {value}", f"{column} {sign} {value}")

    def where(self, chance_of_two: float = 0.4) -> Condition:
        """Return one condition, or two joined by and/or."""
        first = self.condition()
        if not self.dice.chance(chance_of_two):
            return first
        second = self.condition()
        if first.sql.split()[0] == second.sql.split()[0]:
            return first
        word = self.dice.pick(("and", "or"))
        return Condition(f"{first.words} {word} {second.words}", f"{first.sql} {word.upper()} {second.sql}")


Drafted = tuple[str, str, bool]
"""Question, SQL, and whether the order of the rows matters."""


def _columns(scene: Scene) -> Drafted:
    columns = scene.dice.several(scene.columns, scene.dice.between(1, 2))
    where = scene.where()
    question = f"Show {' and '.join(columns)} of {scene.schema.table} where {where.words}."
    return question, f"SELECT {', '.join(columns)} FROM {scene.schema.table} WHERE {where.sql}", False


def _count(scene: Scene) -> Drafted:
    where = scene.where()
    return (
        f"How many {scene.schema.table} are there where {where.words}?",
        f"SELECT COUNT(*) FROM {scene.schema.table} WHERE {where.sql}",
        False,
    )


AGGREGATES = (("average", "AVG"), ("highest", "MAX"), ("lowest", "MIN"), ("total", "SUM"))


def _aggregate(scene: Scene) -> Drafted:
    word, function = scene.dice.pick(AGGREGATES)
    column, where = scene.number(), scene.where(0.2)
    question = f"What is the {word} {column} of {scene.schema.table} where {where.words}?"
    return question, f"SELECT {function}({column}) FROM {scene.schema.table} WHERE {where.sql}", False


def _group(scene: Scene) -> Drafted:
    (word, function), column, by = scene.dice.pick(AGGREGATES), scene.number(), scene.schema.category
    question = f"Show the {word} {column} of {scene.schema.table} for each {by}"
    sql = f"SELECT {by}, {function}({column}) FROM {scene.schema.table}"
    if scene.dice.chance(0.5):
        where = scene.where(0.0)
        question, sql = f"{question} where {where.words}", f"{sql} WHERE {where.sql}"
    return f"{question}.", f"{sql} GROUP BY {by}", False


def _top(scene: Scene) -> Drafted:
    column, count = scene.number(), scene.dice.between(1, 6)
    word, order = scene.dice.pick((("highest", "DESC"), ("lowest", "ASC")))
    question = f"Show {scene.schema.name} of the {count} {scene.schema.table} with the {word} {column}, {word} first."
    return (
        question,
        f"SELECT {scene.schema.name} FROM {scene.schema.table} ORDER BY {column} {order} LIMIT {count}",
        True,
    )


def _ordered(scene: Scene) -> Drafted:
    column, where = scene.number(), scene.where(0.2)
    word, order = scene.dice.pick((("descending", "DESC"), ("ascending", "ASC")))
    shown, table = scene.schema.name, scene.schema.table
    question = f"Show {shown} of {table} where {where.words}, by {word} {column}."
    return question, f"SELECT {shown} FROM {table} WHERE {where.sql} ORDER BY {column} {order}", True


def _update(scene: Scene) -> Drafted:
    table, where = scene.schema.table, scene.where(0.2)
    column, amount = scene.number(), scene.dice.between(2, 60)
    form = scene.dice.below(3)
    if form == 0:
        return (
            f"Set {column} to {amount} in {table} where {where.words}.",
            (f"UPDATE {table} SET {column} = {amount} WHERE {where.sql}"),
            False,
        )
    if form == 1:
        word, sign = scene.dice.pick((("Increase", "+"), ("Decrease", "-")))
        return (
            f"{word} {column} by {amount} in {table} where {where.words}.",
            (f"UPDATE {table} SET {column} = {column} {sign} {amount} WHERE {where.sql}"),
            False,
        )
    category, value = scene.schema.category, scene.dice.pick(scene.schema.values)
    return (
        f"Change {category} to {value} in {table} where {where.words}.",
        (f"UPDATE {table} SET {category} = '{value}' WHERE {where.sql}"),
        False,
    )


def _delete(scene: Scene) -> Drafted:
    where = scene.where()
    return (
        f"Delete {scene.schema.table} where {where.words}.",
        f"DELETE FROM {scene.schema.table} WHERE {where.sql}",
        False,
    )


def _insert(scene: Scene) -> Drafted:
    row = _row(scene.dice, scene.schema, scene.columns, scene.dice.pick(NAMES))
    said = ", ".join(f"{column} {value}" for column, value in zip(scene.columns, row, strict=True))
    values = ", ".join(_literal(value) for value in row)
    return f"Add to {scene.schema.table}: {said}.", f"INSERT INTO {scene.schema.table} VALUES ({values})", False


KINDS: tuple[Callable[[Scene], Drafted], ...] = (
    _columns,
    _update,
    _count,
    _aggregate,
    _delete,
    _group,
    _top,
    _ordered,
    _insert,
)


def generate_sql(seed: int, pool: Pool, count: int | None = None) -> list[SqlItem]:
    """Return ``count`` items of a pool, the same for the same seed on every machine.

    Raises:
        BadData: the generator has fewer distinct items than asked for.
    """
    count = count or (UNSEEN_ITEMS if pool == "unseen" else SEEN_ITEMS)
    found = draw_pool("sql", seed, pool, count, draft=_draft, prompt_of=lambda item: item.prompt)
    return [item.model_copy(update={"id": f"sql-{pool}-{seed}-{n:04d}"}) for n, item in enumerate(found)]


def _draft(dice: Dice, pool: Pool, number: int) -> SqlItem | None:
    schema = dice.pick(UNSEEN_SCHEMAS if pool == "unseen" else SEEN_SCHEMAS)
    middle = dice.several([schema.category, *(column for column, _, _ in schema.numbers)], 3)
    columns = (schema.name, *middle)
    rows = tuple(_row(dice, schema, columns, name) for name in dice.several(NAMES, ROWS))
    scene = Scene(dice, schema, columns, rows)
    question, sql, ordered = KINDS[number % len(KINDS)](scene)
    setup = _setup(scene)
    if (ordered and _has_ties(scene, sql)) or not _matters(setup, sql):
        return None
    return SqlItem(
        id="draft",
        pool="unseen" if pool == "unseen" else "seen",
        prompt=f"{schema.table}({', '.join(columns)})\n{question}",
        gold=sql,
        setup=setup,
        ordered=ordered,
    )


def _row(dice: Dice, schema: Schema, columns: tuple[str, ...], name: str) -> tuple[str | int, ...]:
    values: dict[str, str | int] = {schema.name: name, schema.category: dice.pick(schema.values)}
    values |= {column: dice.between(low, high) for column, low, high in schema.numbers}
    return tuple(values[column] for column in columns)


def _has_ties(scene: Scene, sql: str) -> bool:
    column = sql.split("ORDER BY ", 1)[1].split(maxsplit=1)[0]
    values = [row[scene.columns.index(column)] for row in scene.rows]
    return len(set(values)) < len(values)


def _matters(setup: str, sql: str) -> bool:
    """Say whether the statement does something, and something else without its condition."""
    bare = re.sub(r" WHERE .*?(?= GROUP BY| ORDER BY|$)", "", sql)
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as database:
        database.executescript(setup)
        before, effect, unconditional = (_effect(database, setup.split()[2], text) for text in ("", sql, bare))
    return effect not in (before, [], [(None,)], [(0,)]) and (bare == sql or effect != unconditional)


def _effect(database: sqlite3.Connection, table: str, sql: str) -> list[object]:
    """Return a statement's rows, or the table after a change, which is taken back."""
    database.execute("BEGIN")
    found = database.execute(sql).fetchall() if sql else []
    if not sql.startswith("SELECT"):
        found = database.execute(f"SELECT * FROM {table} ORDER BY 1, 2, 3, 4").fetchall()
    database.execute("ROLLBACK")
    return found


def _literal(value: str | int) -> str:
    return f"'{value}'" if isinstance(value, str) else str(value)


def _setup(scene: Scene) -> str:
    numbers = {column for column, _, _ in scene.schema.numbers}
    types = ", ".join(f"{column} {'INTEGER' if column in numbers else 'TEXT'}" for column in scene.columns)
    rows = ",\n".join(f"({', '.join(_literal(value) for value in row)})" for row in scene.rows)
    return f"CREATE TABLE {scene.schema.table} ({types});\nINSERT INTO {scene.schema.table} VALUES\n{rows};"
