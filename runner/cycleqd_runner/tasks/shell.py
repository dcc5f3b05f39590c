"""The Shell evaluator: instruction to bash in a fresh tree. Items are made by ``generate.shell``."""

from __future__ import annotations

from collections.abc import Mapping

from cycleqd.api.tasks import SandboxLimits, ShellEvaluator
from cycleqd_runner.sandbox import Completed, Entry, Execution, Sandbox
from cycleqd_runner.tasks.answers import command_in
from cycleqd_runner.tasks.executable import ExecutableEvaluator, Judgement, build_evaluator
from cycleqd_runner.tasks.generate.shell import generate_shell
from cycleqd_runner.tasks.items import ShellItem
from cycleqd_runner.tasks.prompts import SHELL_PROMPT

STOP = ("\n\n",)


def shell_evaluator(spec: ShellEvaluator, data: bytes | None) -> ExecutableEvaluator[ShellItem]:
    """Build the evaluator; see :func:`~cycleqd_runner.tasks.executable.build_evaluator`."""
    return build_evaluator(
        spec,
        data,
        kind=ShellItem,
        generate=generate_shell,
        parse=ShellItem.model_validate,
        prompt=SHELL_PROMPT,
        stop=STOP,
        check=check_shell,
    )


async def check_shell(item: ShellItem, text: str, sandbox: Sandbox, limits: SandboxLimits) -> Judgement:
    """Run an answer: the output must be the expected one, where it matters, and so must the tree.

    Blanks at the ends of lines, leading blanks (``wc`` pads) and empty lines at the end do not matter; the exit code
    does not either, for ``grep`` fails where it finds nothing.
    """
    command = command_in(text)
    if not command:
        return 0.0, "no command in the answer"
    if "\0" in command:
        return 0.0, "the command has a NUL character"
    execution = Execution(
        argv=("bash", "--noprofile", "--norc", "-c", command),
        files={path: content.encode() for path, content in item.files.items()},
        directories=item.directories,
        collect=True,
    )
    completed = await sandbox.run(execution, limits)
    if completed.limit is not None:
        return 0.0, f"ended by the limit on {completed.limit}"
    if item.stdout is not None and not _same_output(completed.stdout.decode(errors="replace"), item):
        return 0.0, "the output differs"
    return _compare_tree(item, completed)


def _same_output(got: str, item: ShellItem) -> bool:
    found, wanted = _lines(got), _lines(item.stdout or "")
    return found == wanted if item.ordered else sorted(found) == sorted(wanted)


def _lines(text: str) -> list[str]:
    lines = [line.strip() for line in text.split("\n")]
    while lines and not lines[-1]:
        lines.pop()
    return lines


def _compare_tree(item: ShellItem, completed: Completed) -> Judgement:
    after = item.files if item.files_after is None else item.files_after
    wanted = {path: text.encode() for path, text in after.items()}
    tree = completed.tree or {}
    found = {path: _content(entry) for path, entry in tree.items() if entry.kind != "directory"}
    if not _same_files(found, wanted):
        path = next(path for path in sorted({*found, *wanted}) if not _same_files(*_only(path, found, wanted)))
        return 0.0, f"the file {path} differs, is missing or should not be there"
    folders = {path for path, entry in tree.items() if entry.kind == "directory"}
    needed = {parent for path in (*wanted, *item.directories_after) for parent in _parents(path)}
    needed.update(item.directories_after)
    # Folders of the start may stay or go with their last file; new ones must have been asked for.
    allowed = (
        needed
        | {*item.directories}
        | {parent for path in (*item.files, *item.directories) for parent in _parents(path)}
    )
    if not needed <= folders <= allowed:
        return 0.0, f"the folder {min((needed - folders) | (folders - allowed))} is missing or should not be there"
    return 1.0, None


def _same_files(found: Mapping[str, bytes], wanted: Mapping[str, bytes]) -> bool:
    return {path: data.rstrip() for path, data in found.items()} == {
        path: data.rstrip() for path, data in wanted.items()
    }


def _only(path: str, *trees: Mapping[str, bytes]) -> list[dict[str, bytes]]:
    return [{path: tree[path]} if path in tree else {} for tree in trees]


def _parents(path: str) -> list[str]:
    parts = path.split("/")[:-1]
    return ["/".join(parts[: n + 1]) for n in range(len(parts))]


def _content(entry: Entry) -> bytes:
    return entry.content if entry.kind == "file" else f"a {entry.kind}".encode()
