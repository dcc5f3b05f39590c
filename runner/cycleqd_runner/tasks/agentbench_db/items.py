"""AgentBench's ``dbbench`` JSON Lines: one question about one table a line."""

from __future__ import annotations

import hashlib
from typing import Annotated, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from cycleqd_runner.tasks.agentbench_db.databases import Table
from cycleqd_runner.tasks.items import Question

Category = Literal["SELECT", "INSERT", "UPDATE", "DELETE"]
CHANGES: tuple[Category, ...] = ("INSERT", "UPDATE", "DELETE")
"""Items that are judged by what the table holds afterwards; all others are questions."""

TableHash = Annotated[str, Field(pattern=r"^\[\(('[0-9a-f]{32}'|None),\)\]$")]
"""AgentBench's hash of a table as its files write it: the rows that its query gives, as Python prints them."""


def _is_none(value: object) -> bool:
    """Leave a field out of what is written, so that items without it stay what they are."""
    return value is None


class DbItem(Question):
    """One item. ``prompt`` is the question with the description of the table."""

    category: Category
    """``SELECT``: judged by the values of the final answer; else by what the table holds at the end."""
    label: Annotated[tuple[str, ...], Field(min_length=1)]
    """The values; of a change the statement or statements that make it."""
    answer_md5: TableHash | None = Field(default=None, exclude_if=_is_none)
    """The hash of the table after a change; None: the table is compared with one on which the label was run."""
    table_name: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str | int | float | None, ...], ...]

    @property
    def group(self) -> str:
        """What AgentBench tells apart in its results."""
        return self.category

    @property
    def table(self) -> Table:
        """The table as it is before the first turn."""
        return Table(self.table_name, self.columns, self.rows)

    @model_validator(mode="after")
    def _rows_fit(self) -> DbItem:
        for number, row in enumerate(self.rows):
            if len(row) != len(self.columns):
                raise ValueError(f"row {number} of the table has {len(row)} cells, expected {len(self.columns)}")
        return self


class _Column(BaseModel):
    name: str


class _TableInfo(BaseModel):
    columns: Annotated[list[_Column], Field(min_length=1)]
    rows: list[list[str | int | float | None]]


class _Table(BaseModel):
    table_name: Annotated[str, Field(min_length=1)]
    table_info: _TableInfo


class _Line(BaseModel):
    """One line of the file, as far as it matters here."""

    model_config = ConfigDict(extra="ignore")

    description: Annotated[str, Field(min_length=1)]
    add_description: str = ""
    label: Annotated[list[str | int | float], Field(min_length=1)]
    type: Annotated[list[str], Field(min_length=1)]
    table: _Table
    answer_md5: Annotated[TableHash | None, BeforeValidator(lambda text: text or None)] = Field(
        default=None, exclude_if=_is_none
    )


def parse_line(value: dict[str, object]) -> DbItem:
    """Return the item of one line. Its id is its category and a hash of all that decides its score.

    Raises:
        ValidationError: the line is not of the ``dbbench`` form.
    """
    line = _Line.model_validate(value)
    category = next((change for change in CHANGES if change == line.type[0]), "SELECT")
    digest = hashlib.sha256(line.model_dump_json().encode()).hexdigest()[:12]
    return DbItem(
        id=f"{category.lower()}-{digest}",
        prompt=f"{line.description}\n{line.add_description}".rstrip(),
        category=category,
        label=tuple(str(one) for one in line.label),
        answer_md5=line.answer_md5,
        table_name=line.table.table_name,
        columns=tuple(_name(column, number) for number, column in enumerate(line.table.table_info.columns, start=1)),
        rows=tuple(tuple(row) for row in line.table.table_info.rows),
    )


def _name(column: _Column, number: int) -> str:
    """Return a column's name as a server takes it: the data has unnamed ones, and blanks at the end of names."""
    return column.name.rstrip() or f"column_{number}"
