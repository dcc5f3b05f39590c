"""What evaluators see of the sandbox: what to run, what came of it, and the interface that runs it.

Nothing here starts a process; :mod:`cycleqd_runner.sandbox.client` does.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Literal, Protocol

from cycleqd.api.tasks import SandboxLimits
from cycleqd.errors import BadData

Kind = Literal["Auto", "Sidecar", "Namespaces", "Landlock", "Unsafe"]
"""How to keep code in; ``Auto`` is the pod's sidecar, or else Namespaces, or else Landlock, never Unsafe."""

_NOTHING: Mapping[str, bytes] = MappingProxyType({})


@dataclass(frozen=True)
class Execution:
    """One piece of code to run, in a fresh directory that is its working directory. Exactly one of argv and python.

    Raises BadData for both or neither, and for paths that are not relative paths inside the directory.
    """

    argv: tuple[str, ...] | None = None
    """Program (searched in /usr/bin and /bin) and arguments."""
    python: str | None = None
    """Source to run as a program of its own; only the standard library can be imported."""
    files: Mapping[str, bytes] = field(default_factory=lambda: _NOTHING)
    """Relative path to content, written before the code starts."""
    directories: tuple[str, ...] = ()
    """Relative paths of folders to make, besides those that files need."""
    executable: tuple[str, ...] = ()
    """Paths among ``files`` that get mode 755 instead of 644."""
    stdin: bytes = b""
    """Standard input."""
    collect: bool = False
    """Whether to return the final state of the directory."""

    def __post_init__(self) -> None:
        if (self.argv is None) == (self.python is None):
            raise BadData("an execution needs either argv or python, not both and not none; give exactly one")
        for path in (*self.files, *self.directories, *self.executable):
            if not path or path.startswith("/") or "\0" in path or {"", ".", ".."} & set(path.split("/")):
                raise BadData(f"paths of an execution are relative and plain, got {path!r}; remove '/', '.' and '..'")
        for path in self.executable:
            if path not in self.files:
                raise BadData(f"executable names {path!r}, which is not among the execution's files; add it there")


@dataclass(frozen=True)
class MachineSpec:
    """What a machine begins with, besides Debian's folders.

    Raises BadData for paths that are not plain absolute ones.
    """

    files: Mapping[str, bytes] = field(default_factory=lambda: _NOTHING)
    """Absolute path to content, written before the first command; folders are made as needed."""
    executable: tuple[str, ...] = ()
    """Paths among ``files`` that get mode 755 instead of 644."""

    def __post_init__(self) -> None:
        for path in (*self.files, *self.executable):
            parts = path.split("/")
            if parts[0] or len(parts) < 2 or "\0" in path or {"", ".", ".."} & set(parts[1:]):  # noqa: PLR2004
                raise BadData(f"paths of a machine are absolute and plain, got {path!r}; remove '.', '..' and '//'")
        for path in self.executable:
            if path not in self.files:
                raise BadData(f"executable names {path!r}, which is not among the machine's files; add it there")


@dataclass(frozen=True)
class Entry:
    """One entry of the directory's final state."""

    kind: Literal["file", "directory", "symlink", "other"]
    """``other`` is a FIFO or socket."""
    mode: int
    """Permission bits."""
    content: bytes = b""
    """Content of a file; empty if it did not fit into what ``files_mebibytes`` left."""
    target: str = ""
    """Target of a symbolic link, as written."""


@dataclass(frozen=True)
class Completed:
    """What came of an execution. A limit that was hit is the code's doing, so this is an answer, not an error."""

    exit_code: int | None
    """0-255; negative: killed by that signal (a machine says 128 + signal, as shells do); None: ended by a limit."""
    stdout: bytes
    """Standard output, at most ``output_kibibytes``."""
    stderr: bytes
    """Standard error, at most ``output_kibibytes``."""
    timed_out: bool
    """Whether ``timeout_seconds`` passed."""
    limit: str | None
    """``time``, ``output``, ``files`` or ``processes``, where known: Python code can survive some and go on."""
    tree: Mapping[str, Entry] | None
    """Relative path to entry, if asked for."""
    seconds: float
    """Wall-clock time of the code."""


class Machine(Protocol):
    """A small Linux machine that code is root of, for several commands. What is written or left running stays."""

    async def run(self, argv: Sequence[str], *, stdin: bytes = b"", timeout_seconds: float | None = None) -> Completed:
        """Run a command (program and arguments) in /root and return what came of it.

        It ends when its first process ends; others that it started live on. A limit ends the command with all that it
        started, the machine goes on. A machine that code has broken answers exit code -9. ``timeout_seconds`` takes
        the place of the limits' own. Raises Unscored if the machine is lost by no fault of the code.
        """


class Sandbox(Protocol):
    """Runs code that nobody has checked. One for the whole worker; executions and machines run concurrently."""

    @property
    def name(self) -> str:
        """``Sidecar``, ``Namespaces``, ``Landlock`` or ``Unsafe``, for the report."""

    async def run(self, execution: Execution, limits: SandboxLimits) -> Completed:
        """Run code and return what came of it.

        Raises Unscored if the sandbox itself fails repeatedly; never because of what the code does.
        """

    def machine(self, spec: MachineSpec, limits: SandboxLimits) -> AbstractAsyncContextManager[Machine]:
        """Return a fresh machine, as a context at whose end nothing of it is left: processes, mounts, files.

        Its limits: time and output of each command, memory of each process, processes and files of all together.
        Entering raises Unscored if the sandbox itself fails repeatedly, UnsupportedHere as ``require_machines``.
        """

    def require_machines(self) -> None:
        """Raise UnsupportedHere, with what is missing, if there can be no machines here."""

    async def close(self) -> None:
        """End the sandbox and all that runs in it."""
