"""What a program found: JSON Lines with a score for each item. Nothing that it writes is believed unseen."""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Collection
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from cycleqd_runner.chat import Message
from cycleqd_runner.tasks.items import first_error

MOST_BYTES = 64 << 20
"""Of a results file: longer ones are not read."""


class Unreadable(Exception):
    """A file that a program left, or should have left, cannot be used; one clause without a full stop."""


class _Said(BaseModel):
    role: Literal["system", "user", "assistant"]
    content: str


class Result(BaseModel):
    """One line: how one item went.

    Attributes:
        score: in [0, 1]; None: the program could not judge, and should be asked again.
        reason: why there is no score, or what was wrong.
        messages, answer: what was asked and answered, where the program wants to say it.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    score: Annotated[float, Field(strict=True, ge=0, le=1, allow_inf_nan=False)] | None
    reason: str | None = None
    messages: tuple[_Said, ...] = ()
    answer: str = ""

    @property
    def asked(self) -> tuple[Message, ...]:
        """The messages as everybody has them."""
        return tuple(Message(said.role, said.content) for said in self.messages)


def read_results(data: bytes, ids: Collection[str]) -> dict[str, Result | str]:
    """Return each item's result, or why it has none: no line, two lines, or a line that cannot be right.

    Raises:
        Unreadable: it is no JSON Lines file about these items; then no line of it is believed.
    """
    found: dict[str, Result | str] = dict.fromkeys(ids, "the program gave no result for it")
    seen: set[str] = set()
    try:
        lines = data.decode().split("\n")
    except UnicodeDecodeError as error:
        raise Unreadable(f"the results are not UTF-8 text (byte {error.start})") from error
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        value = _object(line, number)
        item = str(value.get("id"))
        if item not in found:
            raise Unreadable(f"results, line {number}: {item!r} is none of the items' ids")
        found[item] = "the program gave two results for it" if item in seen else _result(value, number)
        seen.add(item)
    return found


def read_file(path: Path, most_bytes: int) -> bytes:
    """Return the first ``most_bytes`` of a plain file: no link, device or pipe, which a program could have put there.

    Raises:
        Unreadable: there is no such file, or it is something else.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError as error:
        raise Unreadable(f"the program left no readable file {path.name} ({error.strerror})") from error
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise Unreadable(f"{path.name} is not a plain file")
    with os.fdopen(descriptor, "rb") as file:
        return file.read(most_bytes)


def last_line(path: Path) -> str:
    """Return the last line that a program printed; empty: it printed nothing."""
    try:
        lines = read_file(path, MOST_BYTES).decode(errors="replace").split("\n")
    except Unreadable:
        return ""
    return next((line.strip() for line in reversed(lines) if line.strip()), "")


def _object(line: str, number: int) -> dict[str, object]:
    try:
        value = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise Unreadable(f"results, line {number}: not JSON ({error})") from error
    if not isinstance(value, dict):
        raise Unreadable(f"results, line {number}: expected a JSON object, got {type(value).__name__}")
    return value


def _result(value: dict[str, object], number: int) -> Result | str:
    try:
        return Result.model_validate(value)
    except ValidationError as error:
        return f"results, line {number}: {first_error(error)}"
