"""Finding and making the task that a manifest names, and refusing what it needs and this evaluator lacks."""

from __future__ import annotations

import inspect
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import cast
from urllib.parse import unquote, urlsplit

import yaml
from inspect_ai import Task
from inspect_ai._eval.loader import create_file_tasks, load_file_tasks
from inspect_ai._eval.registry import task_create
from inspect_ai._eval.task.run import resolve_plan
from inspect_ai._eval.task.util import sample_messages
from inspect_ai._util.decorator import parse_decorators
from inspect_ai._util.registry import (
    is_registry_object,
    registry_find,
    registry_info,
    registry_lookup,
    registry_unqualified_name,
)

from cycleqd.api.tasks import InspectEvaluator
from cycleqd.errors import BadData, BadManifest, MissingInput, UnsupportedHere, near_misses
from cycleqd_runner.tasks.executable import one_line
from cycleqd_runner.tasks.inspect_tasks.provider import NotAskable, conversation, sampling_of

LACKING = {
    "sandbox": "needs inspect's own sandbox, which is not started here: use a task that needs none",
    "model": "names a model of its own, but the run's models answer: leave model out of it",
    "sample_source": "makes samples while it runs, but a run's items are fixed before: use a dataset",
    "working_limit": "has a working_limit, which is not measured here: use message_limit, token_limit or time_limit",
    "cost_limit": "has a cost_limit, which is not measured here: use message_limit, token_limit or time_limit",
    "sentinel": "has a sentinel, which does not watch here: leave it out",
}
"""Settings of inspect's tasks that cannot be honoured, and what is said of a task that has one."""

OF_TOOLS = ("use_tools", "basic_agent", "react")
"""Solvers of inspect-ai that offer the model tools."""


def open_task(spec: InspectEvaluator, fetch: Callable[[str], bytes]) -> Task:
    """Return the task; see :func:`~cycleqd_runner.tasks.inspect_tasks.inspect_evaluator` for what it raises."""
    arguments = {name: _read(name, text) for name, text in spec.args.items()}
    file, _, name = spec.task.rpartition("@")
    if file.endswith(".py"):
        with _on_this_machine(file, fetch) as path:
            task = _task_of_file(path, name, file, arguments)
    else:
        task = _registered(spec.task, arguments)
    _refuse(task, spec)
    return task


def _read(name: str, text: str) -> object:
    """Return an argument as inspect's command line reads it: ``"2"`` is a number."""
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise BadManifest(f"evaluator.args.{name} is {text!r}, which is not YAML: put it in quotes.") from error


@contextmanager
def _on_this_machine(file: str, fetch: Callable[[str], bytes]) -> Iterator[Path]:
    """Yield a path to load a task's file from: a copy, if it lies in S3."""
    parts = urlsplit(file)
    if parts.scheme != "s3":
        path = Path(unquote(parts.path) if parts.scheme else file)
        if not path.is_file():
            raise MissingInput(f"There is no file {path}: correct evaluator.task, which is FILE.py@TASK.")
        yield path.absolute()
        return
    with tempfile.TemporaryDirectory(prefix="cycleqd-inspect-") as folder:
        path = Path(folder) / Path(parts.path).name
        path.write_bytes(fetch(file))
        yield path


def _task_of_file(path: Path, name: str, file: str, arguments: Mapping[str, object]) -> Task:
    with _users_code(file):
        load_file_tasks(path)
        names = [found for found, _ in parse_decorators(path, "task")]
    if name not in names:
        hint = near_misses(name, names) if names else ""
        raise BadData(f"{file} has no inspect task {name or 'without a name'}{hint}: correct evaluator.task.")
    _check_arguments(name, arguments)
    with _users_code(file):
        (task,) = create_file_tasks(path, [name], dict(arguments))
    return task


def _registered(name: str, arguments: Mapping[str, object]) -> Task:
    with _users_code(name):
        found = registry_lookup("task", name)
    if found is None:
        names = [info.name for info in map(registry_info, registry_find(lambda info: info.type == "task"))]
        hint = near_misses(name, names) if names else ""
        raise BadData(f"No installed package has the inspect task {name}{hint}: install it, or name a FILE.py@TASK.")
    _check_arguments(name, arguments)
    with _users_code(name):
        return task_create(name, **arguments)


def _check_arguments(name: str, arguments: Mapping[str, object]) -> None:
    """Raise BadManifest if the task does not take these arguments; inspect would go on without them."""
    factory = cast("Callable[..., Task]", registry_lookup("task", name))
    try:
        inspect.signature(factory).bind(**arguments)
    except TypeError as error:
        raise BadManifest(
            f"The inspect task {name} cannot be made of evaluator.args ({error}): correct them."
        ) from error


@contextmanager
def _users_code(what: str) -> Iterator[None]:
    """Say in one sentence that a task's own code failed."""
    try:
        yield
    except Exception as error:
        raise BadData(f"{what} cannot be loaded ({described(error)}): correct it.") from error


def described(error: Exception) -> str:
    """Return what an error of users' code says, as part of a line."""
    return one_line(f"{type(error).__name__}: {error}")


def _refuse(task: Task, spec: InspectEvaluator) -> None:
    """Refuse a task that cannot be run here, as far as can be seen without running it.

    Raises:
        UnsupportedHere: it needs what this evaluator or the engines lack.
        BadData: it has no samples or no scorer.
    """
    what = f"The inspect task {spec.task}"
    samples = list(task.dataset)
    needs = {name for name in LACKING if getattr(task, name) is not None}
    needs |= {"sandbox"} if any(sample.sandbox is not None for sample in samples) else set()
    for name, lack in LACKING.items():
        if name in needs:
            raise UnsupportedHere(f"{what} {lack}.")
    if not task.scorer:
        raise BadData(f"{what} has no scorer: give it one.")
    if not samples:
        raise BadData(f"{what} has no samples: give it a dataset.")
    for step in resolve_plan(task, None).steps:
        if is_registry_object(step) and registry_unqualified_name(step) in OF_TOOLS:
            solver = registry_unqualified_name(step)
            raise UnsupportedHere(
                f"{what} offers the model tools ({solver}), and the engines call none: use another task."
            )
    try:
        sampling_of(task.config, spec.max_tokens, "")
        for sample in samples:
            conversation(sample_messages(sample), spec.system_prompt)
    except NotAskable as error:
        raise UnsupportedHere(f"{what} {error}: use another task.") from error
