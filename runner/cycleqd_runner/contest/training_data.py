"""What experts were trained on: files of the user's, or the training pools of the generators. Nobody learns in here."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from cycleqd.api.tasks import ProceduralEvaluator
from cycleqd.errors import BadData
from cycleqd.records import Transcript
from cycleqd_runner.local_copies import read_data
from cycleqd_runner.tasks.executable import ExecutableEvaluator
from cycleqd_runner.tasks.generate.pools import Pool
from cycleqd_runner.tasks.generate.python import generate_python
from cycleqd_runner.tasks.generate.shell import generate_shell
from cycleqd_runner.tasks.generate.sql import generate_sql
from cycleqd_runner.tasks.items import Question
from cycleqd_runner.tasks.opening import RunTask

GENERATORS: Mapping[str, Callable[[int, Pool, int], Sequence[Question]]] = {
    "Sql": generate_sql,
    "Shell": generate_shell,
    "PythonTests": generate_python,
}
"""By the evaluator's type. The pool ``train`` shares no prompt with the items that runs ask."""


class _Turn(BaseModel):
    model_config = ConfigDict(frozen=True)

    role: Literal["system", "user", "assistant"]
    content: str


class _Example(BaseModel):
    """A line of a file; what else it has is left alone, so that transcripts of runs will do."""

    messages: Annotated[tuple[_Turn, ...], Field(min_length=1)]
    answer: Annotated[str, Field(min_length=1)]


def training_data(task: RunTask, uri: str | None, generated: int) -> list[Transcript]:
    """Return the right answers that a task's expert could learn from.

    Args:
        task: of the run.
        uri: of its training data; None: they are generated.
        generated: how many.

    Raises:
        BadData: the file is broken, or the generator has fewer items.
        MissingInput: there is no such file.
    """
    if uri is not None:
        return read_examples(read_data(uri), uri, task.spec.name)
    evaluator, spec = task.evaluator, task.spec.evaluator
    assert isinstance(evaluator, ExecutableEvaluator)  # noqa: S101 - the comparison was refused otherwise
    assert isinstance(spec, ProceduralEvaluator)  # noqa: S101 - likewise
    questions = GENERATORS[spec.type](spec.items_seed, "train", generated)
    return [
        Transcript(
            task=task.spec.name,
            item=question.id,
            messages=tuple(turn._asdict() for turn in evaluator.asking.conversation(question.prompt)),
            answer=question.gold,
            score=1.0,
        )
        for question in questions
    ]


def read_examples(data: bytes, name: str, task: str) -> list[Transcript]:
    """Read JSON Lines with ``messages`` and ``answer``.

    Args:
        data: the file's content.
        name: the file's name, for messages.
        task: whose examples they are.

    Raises:
        BadData: a line is none, or there are no lines.
    """
    found = []
    for number, line in enumerate(data.split(b"\n"), start=1):
        if not line.strip():
            continue
        try:
            example = _Example.model_validate_json(line)
        except ValidationError as error:
            detail = error.errors(include_url=False)[0]
            where = ".".join(map(str, detail["loc"])) or "the line"
            raise BadData(
                f"{name}, line {number}: {where}: {detail['msg']}; "
                'expected {"messages": [{"role": "user", "content": …}, …], "answer": …}.'
            ) from error
        messages = tuple(turn.model_dump() for turn in example.messages)
        found.append(Transcript(task=task, item=f"{number}", messages=messages, answer=example.answer, score=1.0))
    if not found:
        raise BadData(f"{name} has no examples to learn from: expected one JSON object a line.")
    return found
