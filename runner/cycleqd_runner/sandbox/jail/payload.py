"""What happens in the process of the code between its fork and its first instruction, and how Python source is run."""

from __future__ import annotations

import atexit
import builtins
import contextlib
import io
import linecache
import os
import resource
import signal
import sys
import threading
import traceback
import types
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NoReturn

from . import linux, tree
from .providers import Unsafe

_MEBIBYTE = 1 << 20
_OPEN_FILES = 256
_FILE_NAME = "main.py"
_LONGEST_REPORT = 4000
"""Bytes that a pipe takes in one piece, with room to spare."""


@dataclass(frozen=True)
class Limits:
    """What one execution may use; fields and units as in the manifest."""

    timeout_seconds: float
    memory_mebibytes: int
    processes: int
    output_kibibytes: int
    files_mebibytes: int


@dataclass(frozen=True)
class Code:
    """What to run: a program with arguments, or Python source."""

    argv: Sequence[str] | None = None
    python: str | None = None
    mapped_bytes: int = 0
    """Address space of the zygote."""


@dataclass(frozen=True)
class Job:
    """One execution as its own process needs to know it."""

    provider: Unsafe
    slot: int
    directory: str
    """The fresh directory, filled."""
    meter: tree.Meter
    """Of that directory."""
    code: Code
    limits: Limits
    entries: int = tree.MAX_ENTRIES
    """Files, folders and links that the directory may hold."""
    machine: bool = False
    """Whether it is a machine, which starts its code later."""


def start(job: Job, setup: int) -> NoReturn:
    """Run code in this (forked) process. Descriptors 0-2 are the code's already; ``setup`` reports failures."""
    try:
        prepare(job)
    except BaseException as error:  # noqa: BLE001 - whatever it is: the supervisor reports it, the worker tries again
        os.write(setup, b"E" + repr(error).encode(errors="replace")[:_LONGEST_REPORT])
        os._exit(1)
    linux.close_from(3)
    if job.code.argv is not None:
        execute(job.code.argv, _environment(job.directory))
    _interpret(job.code.python or "", job.directory, job.provider.setup.library)


def prepare(job: Job) -> None:
    """Take limits and give up what the code must not have. The limit on memory comes last, it could stop the rest."""
    limits = job.limits
    os.setsid()
    os.umask(0o022)
    os.chdir(job.directory)
    for name in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(name, signal.SIG_DFL)
    set_limit(resource.RLIMIT_CORE, 0)
    set_limit(resource.RLIMIT_NOFILE, _OPEN_FILES)
    set_limit(resource.RLIMIT_FSIZE, limits.files_mebibytes * _MEBIBYTE)
    set_limit(resource.RLIMIT_CPU, int(limits.timeout_seconds) + 1)
    set_limit(resource.RLIMIT_NPROC, job.provider.processes_limit(limits.processes))
    job.provider.confine(job.slot, job.directory, machine=job.machine)
    # A Python item starts inside the zygote, as a machine's keeper does; its own mappings are not their use of memory.
    own = 0 if job.code.argv is not None else job.code.mapped_bytes
    set_limit(resource.RLIMIT_AS, limits.memory_mebibytes * _MEBIBYTE + own)


def set_limit(kind: int, value: int) -> None:
    """Set soft and hard limit, the hard one never above what it is."""
    _, hard = resource.getrlimit(kind)
    if hard != resource.RLIM_INFINITY:
        value = min(value, hard)
    resource.setrlimit(kind, (value, value))


def mapped_bytes() -> int:
    """Return the size of this process' address space."""
    with open("/proc/self/statm") as file:
        return int(file.read().split()[0]) * os.sysconf("SC_PAGESIZE")


def _environment(directory: str) -> dict[str, str]:
    """Return the whole environment of the code. The fixed hash seed makes sets print alike in every process."""
    return {
        "PATH": "/usr/bin:/bin",
        "HOME": directory,
        "TMPDIR": directory,
        "PWD": directory,
        "LANG": "C.UTF-8",
        "PYTHONHASHSEED": "0",
    }


def execute(argv: Sequence[str], environment: dict[str, str]) -> NoReturn:
    """Become a program, or say on standard error why not, as a shell does."""
    for name in (signal.SIGPIPE, signal.SIGXFSZ):  # Python ignores them, programs expect the default
        signal.signal(name, signal.SIG_DFL)
    code = 126
    try:
        os.execvpe(argv[0], list(argv), environment)  # noqa: S606 - no shell but the one that was asked for
    except FileNotFoundError as error:
        code, message = 127, str(error)
    except (OSError, ValueError) as error:  # not executable, too long, a NUL or half a character in an argument
        message = str(error)
    with contextlib.suppress(OSError):
        os.write(2, f"{argv[0]}: {message}\n".encode(errors="backslashreplace"))
    os._exit(code)


def _interpret(source: str, directory: str, library: str) -> NoReturn:
    """Run source as ``python main.py`` would, in a fresh ``__main__``, without starting an interpreter."""
    os.environ.clear()
    os.environ.update(_environment(directory))
    sys.stdin = sys.__stdin__ = _text(0, "rb", "strict")  # type: ignore[misc]
    sys.stdout = sys.__stdout__ = _text(1, "wb", "strict")  # type: ignore[misc]
    sys.stderr = sys.__stderr__ = _text(2, "wb", "backslashreplace")  # type: ignore[misc]
    sys.argv = [_FILE_NAME]
    sys.path = [directory, library, os.path.join(library, "lib-dynload")]
    sys.dont_write_bytecode = True
    package = __name__.partition(".")[0]
    for name in [name for name in sys.modules if name.partition(".")[0] == package]:
        del sys.modules[name]
    main = types.ModuleType("__main__")
    main.__dict__.update(__builtins__=builtins, __file__=_FILE_NAME)
    sys.modules["__main__"] = main
    linecache.cache[_FILE_NAME] = (len(source), None, source.splitlines(keepends=True), _FILE_NAME)
    code = _guarded(lambda: exec(compile(source, _FILE_NAME, "exec", dont_inherit=True), main.__dict__))  # noqa: S102
    # What an interpreter does at its end, for which there is no public name: wait for threads, run atexit functions.
    code = _guarded(threading._shutdown) or code  # type: ignore[attr-defined]  # noqa: SLF001
    code = _guarded(atexit._run_exitfuncs) or code  # noqa: SLF001
    code = _guarded(sys.stdout.flush) or code
    os._exit(code & 0xFF)


def _text(descriptor: int, mode: str, errors: str) -> io.TextIOWrapper:
    """Return a standard stream; standard error is written through, as no flush may follow."""
    raw = os.fdopen(descriptor, mode)
    return io.TextIOWrapper(raw, encoding="utf-8", errors=errors, write_through=errors != "strict")


def _guarded(run: object) -> int:
    """Call ``run`` and return the exit code that its exception, if any, stands for."""
    try:
        run()  # type: ignore[operator]
    except SystemExit as error:
        if error.code is None or isinstance(error.code, int):
            return error.code or 0
        sys.stderr.write(f"{error.code}\n")
        return 1
    except BaseException as error:  # noqa: BLE001 - as the interpreter does: print it and end with 1
        trace = error.__traceback__
        for _ in range(2):  # our own frames are none of the code's business
            trace = trace.tb_next if trace else None
        if sys.excepthook is sys.__excepthook__:
            traceback.print_exception(error.with_traceback(trace))  # unlike the hook, it finds the source in linecache
        else:
            sys.excepthook(type(error), error, trace)
        return 1
    return 0
