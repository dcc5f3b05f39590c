"""What is there of processes, mounts and files now, to see later what has come beside it."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Census:
    """Everything that judging could leave behind, at one moment.

    Attributes:
        processes: command lines by number: all below this process, zombies too, and all of the computer that bear a
            mark.
        mounts: those of a folder, and all in namespaces of their own.
        files: below a folder.
    """

    processes: dict[int, str]
    mounts: frozenset[str]
    files: frozenset[Path]

    def since(self, before: Census) -> dict[str, list[str]]:
        """Return what has come since an earlier census, by its kind."""
        return {
            "processes": [line for pid, line in self.processes.items() if before.processes.get(pid) != line],
            "mounts": sorted(self.mounts - before.mounts),
            "files": sorted(map(str, self.files - before.files)),
        }


def census(folder: Path, mark: str, seeing: Iterable[int] = ()) -> Census:
    """Look around.

    Args:
        folder: where files may be left.
        mark: part of the command line of all processes that items start.
        seeing: further processes whose mounts count; those of this process do.
    """
    marked = {int(path.name): _command_line(path) for path in Path("/proc").glob("[0-9]*")}
    found = {pid: line for pid, line in marked.items() if mark in line and pid != os.getpid()}
    mounts = [line for line in _text(Path("/proc/self/mounts")).splitlines() if str(folder) in line]  # not others' own
    for pid in seeing:
        private = _namespace(pid) != _namespace(os.getpid())
        mounts += [line for line in _text(Path(f"/proc/{pid}/mounts")).splitlines() if private or str(folder) in line]
    return Census({**found, **below(os.getpid())}, frozenset(mounts), frozenset(folder.rglob("*")))


def staying(look: Callable[[], Census], before: Census, patience_seconds: float = 10.0) -> dict[str, list[str]]:
    """Return what has come since an earlier census, by its kind, without processes that soon end by themselves.

    A supervisor of the sandbox removes everything, answers, and only then ends: right after the last answer some may
    still be on their way.
    """
    deadline = time.monotonic() + patience_seconds
    while (found := look().since(before))["processes"] and time.monotonic() < deadline:
        time.sleep(0.05)
    return found


def below(ancestor: int) -> dict[int, str]:
    """Return the processes that descend from one, by number, with their command lines.

    They are found by their parents' numbers, so it does not matter which of a parent's threads started them. Zombies,
    which have no command line any more, are told by their name and parent.
    """
    table = dict(filter(None, map(_process, Path("/proc").glob("[0-9]*"))))
    found, newest = dict[int, str](), {ancestor}
    while newest := {pid for pid, (parent, _) in table.items() if parent in newest} - found.keys():
        found |= {pid: table[pid][1] for pid in newest}
    return found


def _process(path: Path) -> tuple[int, tuple[int, str]] | None:
    """Return number, parent and command line; None if it has ended meanwhile."""
    name, _, rest = _text(path / "stat").partition("(")[2].rpartition(")")
    if not rest:
        return None
    state, parent = rest.split()[:2]
    line = f"{name}, a zombie of {parent}" if state == "Z" else _command_line(path) or name
    return int(path.name), (int(parent), line)


def _namespace(pid: int) -> str:
    """Return the name of the namespace of a process' mounts; empty if it has ended."""
    with contextlib.suppress(OSError):
        return str(Path(f"/proc/{pid}/ns/mnt").readlink())
    return ""


def _command_line(process: Path) -> str:
    """Return the words of a command line; empty for a process that has none any more, as zombies."""
    return " ".join(_text(process / "cmdline").split("\0")).strip()


def _text(path: Path) -> str:
    with contextlib.suppress(OSError):  # it has ended meanwhile
        return path.read_text(encoding="utf-8", errors="replace")
    return ""
