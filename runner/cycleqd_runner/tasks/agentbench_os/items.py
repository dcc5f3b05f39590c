"""AgentBench's JSON files of operating-system items, with the scripts that they name. Nothing is run here."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, field_validator

from cycleqd.errors import BadData, MissingInput
from cycleqd_runner.tasks.items import first_error

Fetch = Callable[[str], bytes]
"""Returns the content behind a URI. Raises MissingInput where there is none."""


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, use_attribute_docstrings=True)


class Script(_Model):
    """A script of an item, ready to run."""

    language: Literal["bash", "python"]
    """What runs it."""
    code: str
    """Its text."""


class Match(_Model):
    """What the answer itself has to be: exactly one of ``answer`` and ``regex``."""

    answer: str | None = None
    """The answer, word for word."""
    regex: str | None = None
    """A pattern of Python's ``re`` that has to be found in it."""
    strip: bool = True
    """Whether blanks around the answer are taken away first."""

    @field_validator("regex")
    @classmethod
    def _compiles(cls, value: str | None) -> str | None:
        if value is not None:
            try:
                re.compile(value)
            except re.error as error:
                raise ValueError(f"the pattern {value!r} is none of Python's re ({error})") from error
        return value

    def accepts(self, answer: str) -> bool:
        """Whether an answer is right."""
        answer = answer.strip() if self.strip else answer
        return answer == self.answer if self.regex is None else re.search(self.regex, answer) is not None


class OsItem(_Model):
    """One problem, with all scripts in place: the payload of the contract's item."""

    description: str
    """What the model is asked to do or to find out."""
    init: tuple[Script, ...] = ()
    """Run before the first turn, one after the other, each for itself."""
    start: str | None = None
    """Typed into the terminal before the model is: bash that leaves background processes."""
    match: Match | None = None
    """What the answer has to be; unset: the check scripts decide."""
    check: tuple[Script, ...] = ()
    """Each gets the answer and the outputs of those before it as arguments, and has to end with exit code 0."""
    example: Script | None = None
    """A solution; also what ``null`` in the chain of checks stands for."""


def _as_written(value: object) -> object:
    """Let a script be its code alone, as AgentBench does: then it is bash."""
    return {"code": value} if isinstance(value, str) else value


class _ScriptSource(_Model):
    """A script as the file has it: inline or by the name of a file."""

    language: str = "bash"
    code: str | None = None
    file: str | None = None


_Source = Annotated[_ScriptSource, BeforeValidator(_as_written)]


def _as_list(value: object) -> object:
    return value if isinstance(value, list) else [value]


class _Create(_Model):
    init: Annotated[list[_Source], BeforeValidator(_as_list)] = []


def _or_nothing(value: object) -> object:
    """Take a ``create`` that is a list for none: one item of the development split has its checks there again."""
    return {} if isinstance(value, list) else value


def _match(value: object) -> object:
    return {"answer": value} if isinstance(value, str) else value


class _Evaluation(_Model):
    match: Annotated[Match | None, BeforeValidator(_match)] = None
    check: Annotated[list[_Source | None], BeforeValidator(_as_list)] = []
    example: _Source | None = None


class _Line(_Model):
    """One object of the file; what else it has (labels, images) does not matter here."""

    description: Annotated[str, Field(min_length=1)]
    create: Annotated[_Create, BeforeValidator(_or_nothing)] = _Create()
    start: _Source | None = None
    evaluation: _Evaluation
    example: _Source | None = None


class _Scripts:
    """The scripts folder; remembers what it lacks and who needs that."""

    def __init__(self, folder: str | None, fetch: Fetch) -> None:
        self._folder, self._fetch = folder, fetch
        self._read: dict[str, bytes | None] = {}
        self.lacking: dict[str, list[int]] = {}

    def script(self, source: _ScriptSource, item: int) -> Script:
        """Return a script with its code; that of a file which is not there is empty."""
        languages = {"bash": "bash", "python": "python"}
        if source.language not in languages:
            raise ValueError(f"a script's language is bash or python, got {source.language!r}")
        if (source.code is None) == (source.file is None):
            raise ValueError("a script has either code or a file, not both and not none")
        code = source.code if source.file is None else self._text(source.file, item)
        return Script.model_validate({"language": languages[source.language], "code": code})

    def _text(self, path: str, item: int) -> str:
        if path.startswith("/") or {"", ".", ".."} & set(path.split("/")):
            raise ValueError(f"a script's file is a plain path inside the scripts folder, got {path!r}")
        if path not in self._read:
            self._read[path] = self._content(path)
        content = self._read[path]
        if content is None:
            if item not in self.lacking.setdefault(path, []):
                self.lacking[path].append(item)
            return ""
        return content.decode("utf-8")

    def _content(self, path: str) -> bytes | None:
        if self._folder is None:
            return None
        try:
            return self._fetch(f"{self._folder.rstrip('/')}/{path}")
        except MissingInput:
            return None


def read_os_items(data: bytes, name: str, folder: str | None, fetch: Fetch) -> dict[str, OsItem]:
    """Read a file of AgentBench's operating-system items: a JSON array, or one object.

    Args:
        data: the file's content.
        name: the file's name, for messages.
        folder: URI of the folder that items' ``file`` names lie in; None: there is none.
        fetch: reads a script.

    Returns:
        The items by their ids, in the file's order. An id is the place in the file (from 0) and a hash of all that
        decides the score, scripts too.

    Raises:
        BadData: the file is broken, or scripts are missing: one sentence lists them with the items that need them.
    """
    try:
        content = json.loads(data)
    except ValueError as error:
        raise BadData(f"{name} is not JSON ({error}): expected AgentBench's array of items.") from error
    objects = content if isinstance(content, list) else [content]
    if not objects:
        raise BadData(f"{name} has no items: expected AgentBench's array of items.")
    scripts = _Scripts(folder, fetch)
    items = [_item(one, number, name, scripts) for number, one in enumerate(objects)]
    if scripts.lacking:
        raise BadData(_lacking(name, folder, scripts.lacking, len(items)))
    return {f"os-{number}-{_digest(item)}": item for number, item in enumerate(items)}


def _item(value: object, number: int, name: str, scripts: _Scripts) -> OsItem:
    where = f"{name}, item {number}"
    try:
        return _resolved(_Line.model_validate(value), number, scripts)
    except ValidationError as error:
        raise BadData(f"{where}: {first_error(error)}.") from error
    except ValueError as error:  # also what is not UTF-8
        raise BadData(f"{where}: {error}.") from error


def _resolved(line: _Line, number: int, scripts: _Scripts) -> OsItem:
    evaluation = line.evaluation
    source = evaluation.example or line.example
    example = None if source is None else scripts.script(source, number)
    start = None if line.start is None else scripts.script(line.start, number)
    if start is not None and start.language != "bash":
        raise ValueError(f"start is typed into bash, got {start.language}")
    checks: list[Script] = []
    for one in evaluation.check:
        if one is None and example is None:
            raise ValueError("null in check stands for the example, and there is none")
        checks.append(scripts.script(one, number) if one is not None else example)  # type: ignore[arg-type]
    match = evaluation.match
    if match is None and not checks:
        raise ValueError("evaluation has neither match nor check")
    if match is not None and (match.answer is None) == (match.regex is None):
        raise ValueError("match has either answer or regex, not both and not none")
    return OsItem(
        description=line.description,
        init=tuple(scripts.script(one, number) for one in line.create.init),
        start=None if start is None else start.code,
        match=match,
        check=() if match else tuple(checks),
        example=example,
    )


def _lacking(name: str, folder: str | None, lacking: Mapping[str, Sequence[int]], count: int) -> str:
    concerned = {item for items in lacking.values() for item in items}
    listed = "; ".join(f"{path} (items {_numbers(items)})" for path, items in sorted(lacking.items()))
    where = "evaluator.scripts is unset" if folder is None else f"{folder} lacks them"
    return (
        f"{name}: {len(concerned)} of {count} items need scripts, and {where}: {listed}; give AgentBench's scripts "
        "folder as evaluator.scripts, or take these items out of the file."
    )


def _numbers(items: Sequence[int]) -> str:
    return ", ".join(str(item) for item in items)


def _digest(item: OsItem) -> str:
    return hashlib.sha256(item.model_dump_json().encode()).hexdigest()[:8]
