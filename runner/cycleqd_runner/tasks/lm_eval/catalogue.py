"""Where tasks of lm-evaluation-harness come from: its own, by name, and the user's, by file."""

from __future__ import annotations

import contextlib
import difflib
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from urllib.parse import unquote, urlsplit

from lm_eval.tasks import TaskManager

from cycleqd.errors import BadData, BadManifest, CycleQDError, MissingInput, UnsupportedHere
from cycleqd.store import open_store
from cycleqd.store.transfer import download_folder
from cycleqd_runner.tasks.executable import one_line


@contextlib.contextmanager
def found(task: str) -> Iterator[tuple[TaskManager, str]]:
    """Yield who makes a task, and its name there. Relative paths in a task's own file start at its folder meanwhile."""
    with _local(task) as path:
        if path is None:
            manager = _registered()
            if task not in manager.task_index:
                close = difflib.get_close_matches(task, manager.all_tasks, n=3)
                hint = f" (did you mean {' or '.join(close)}?)" if close else ""
                raise BadManifest(f"lm-evaluation-harness has no task {task}{hint}: correct the evaluator's task.")
            yield manager, task
            return
        manager = TaskManager(include_path=path.parent, include_defaults=False)
        name = next((name for name, entry in manager.task_index.items() if entry.yaml_path == path), None)
        if name is None:
            raise BadData(
                f"{task} is not a task of lm-evaluation-harness: expected YAML with a task or group of its own in that "
                "folder, whose includes are all there."
            )
        with contextlib.chdir(path.parent):
            yield manager, name


@cache
def _registered() -> TaskManager:
    """Return who makes the harness's own tasks; it reads 14,000 files, which takes many seconds."""
    return TaskManager()


@contextlib.contextmanager
def _local(task: str) -> Iterator[Path | None]:
    """Yield where the file of a task is on this machine; None: ``task`` is a registered name."""
    if not task.endswith(".yaml"):
        yield None
        return
    parts = urlsplit(task)
    with TemporaryDirectory(prefix="cycleqd-lm-eval-") as copy:
        if parts.scheme == "s3":
            parent, _, name = task.rpartition("/")
            download_folder(open_store(parent), "", Path(copy))
            path = Path(copy, name).resolve()
        else:
            path = Path(unquote(parts.path) if parts.scheme else task).resolve()
        if not path.is_file():
            raise MissingInput(f"The task file {task} does not exist: correct the evaluator's task.")
        yield path


@contextlib.contextmanager
def in_the_harness(task: str) -> Iterator[None]:
    """Say with our errors what the harness, its data sets or a task's own code stumble over."""
    try:
        yield
    except CycleQDError:
        raise
    except (FileNotFoundError, ConnectionError) as error:
        raise MissingInput(
            f"The data of {task} cannot be had ({one_line(str(error))}): correct the task, or give this machine the "
            "data set in HF_HOME or the way to it."
        ) from error
    except ImportError as error:
        raise UnsupportedHere(f"{task} needs a package that is not installed ({error}): install it.") from error
    except Exception as error:
        what = one_line(f"{type(error).__name__}: {error}")
        raise BadData(f"lm-evaluation-harness cannot open {task} ({what}): correct the task or numFewshot.") from error
