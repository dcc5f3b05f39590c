"""What an item of each skill says, and reading items files. How items are judged is each evaluator's business."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Annotated, Protocol, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from cycleqd.errors import BadData
from cycleqd_runner.tasks.contract import Item, Pool


class Question(BaseModel):
    """What all items share: one line of a JSON Lines file."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    id: Annotated[str, Field(min_length=1, max_length=200)]
    """Unique within the file."""
    prompt: Annotated[str, Field(min_length=1)]
    """What the model is asked."""
    gold: str | None = None
    """An answer that scores 1."""
    system_prompt: str = Field(default="", exclude_if=lambda text: not text)  # items without one stay what they are
    """The system prompt of an item that its benchmark asks in words of its own; empty: the evaluator's."""
    pool: Pool = "any"
    """``unseen`` items go to the test split only, ``seen`` ones to the other two, ``any`` anywhere."""

    @property
    def group(self) -> str:
        """The kind of item, whose score the report tells apart; empty: there are no kinds."""
        return ""


class SqlItem(Question):
    """A question about a small database. The model sees the prompt only, never the rows."""

    gold: str
    """The statement whose rows, or whose change of the tables, the answer must give."""
    setup: str
    """SQLite script that makes and fills the tables."""
    ordered: bool = False
    """Whether the order of the rows matters."""


class ShellItem(Question):
    """An instruction to bash in a fresh directory tree."""

    files: dict[str, str] = Field(default_factory=dict)
    """Relative path to text, before the command."""
    directories: tuple[str, ...] = ()
    """Directories that are there although they hold no file."""
    stdout: str | None = None
    """Expected standard output; unset: the output does not matter."""
    ordered: bool = True
    """Whether the order of the output's lines matters."""
    files_after: dict[str, str] | None = None
    """Expected files after the command, all of them; unset: the same as before."""
    directories_after: tuple[str, ...] = ()
    """Empty directories that must be there after the command besides those of ``directories`` that still are."""


class PythonItem(Question):
    """A description of a function and the statements that test it."""

    tests: Annotated[tuple[str, ...], Field(min_length=1)]
    """Statements, usually ``assert f(1) == 2``; each must run without an exception."""
    setup: str = ""
    """Code that is run after the answer and before the tests, for example imports that the tests need."""
    reference: str = Field(default="", exclude_if=lambda code: not code)  # so that items without one stay what they are
    """Code that is run before the answer and out of its reach; tests know what it defines as ``reference``."""


class Identified(Protocol):
    """A line of an items file, whatever else it holds."""

    @property
    def id(self) -> str:
        """Unique within the file."""
        ...


L = TypeVar("L", bound=Identified)


def as_item(question: Question) -> Item:
    """Return the contract's item for a question."""
    return Item(id=question.id, pool=question.pool, payload=question.model_dump(mode="json"), group=question.group)


def read_lines(data: bytes, name: str, parse: Callable[[dict[str, object]], L]) -> list[L]:
    """Read a JSON Lines file.

    Args:
        data: the file's content.
        name: the file's name, for messages.
        parse: makes a question of one line's object.

    Raises:
        BadData: a line is not a JSON object of the right form, an id comes twice, or there are no items.
    """
    questions: dict[str, L] = {}
    try:
        lines = data.decode("utf-8").split("\n")
    except UnicodeDecodeError as error:
        raise BadData(f"{name} is not UTF-8 text (byte {error.start}): save it as UTF-8 JSON Lines.") from error
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            value = json.loads(line)
        except ValueError as error:  # of JSON, or a number with too many digits
            said = getattr(error, "msg", error)
            raise BadData(f"{name}, line {number}: not JSON ({said}); expected one object a line.") from error
        if not isinstance(value, dict):
            raise BadData(f"{name}, line {number}: expected a JSON object, got {type(value).__name__}.")
        try:
            question = parse(value)
        except ValidationError as error:
            raise BadData(f"{name}, line {number}: {first_error(error)}.") from error
        if question.id in questions:
            raise BadData(f"{name}, line {number}: the id {question.id!r} was used before; ids must be unique.")
        questions[question.id] = question
    if not questions:
        raise BadData(f"{name} has no items: expected one JSON object a line.")
    return list(questions.values())


def items_of(questions: Sequence[Question]) -> tuple[Item, ...]:
    """Return the contract's items, in order."""
    return tuple(as_item(question) for question in questions)


def first_error(error: ValidationError) -> str:
    """Return where a value is wrong, and how, as one line for messages."""
    detail = error.errors(include_url=False)[0]
    where = ".".join(str(part) for part in detail["loc"]) or "the item"
    more = error.error_count() - 1
    return f"{where}: {detail['msg'].lower()}" + (f" (and {more} more)" if more else "")
