"""How a command fails: one sentence on standard error and an exit code that scripts and Jobs can rely on.

====  =========================================================================================
code  meaning
====  =========================================================================================
0     done
1     a mistake of cycleqd itself
2     a person has to change something: the input, the credentials, the disk, the network
75    trying the same command again may help
130   interrupted by Ctrl-C; the same command goes on
143   a worker was told to stop (SIGTERM)
====  =========================================================================================
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from contextvars import ContextVar
from typing import NoReturn, ParamSpec, TypeVar

import typer

from cycleqd.errors import (
    EXIT_BAD_INPUT,
    EXIT_TRY_AGAIN,
    CycleQDError,
    NoSpace,
    PermanentError,
    StoreUnreachable,
    UnsupportedHere,
)
from cycleqd_runner.ending import memory_sentence

EXIT_BUG = 1
EXIT_INTERRUPTED = 130
"""128 + SIGINT, as shells report it."""

NEED_A_PERSON = (PermanentError, NoSpace, StoreUnreachable)
"""A full disk and a wrong endpoint do not mend themselves while somebody sits in front of the command."""

OPTIONAL = {
    **dict.fromkeys(("huggingface_hub", "peft", "tokenizers", "torch", "transformers"), "runner"),
    "kubernetes": "cluster",
}
"""Packages that the command does without until they are needed, and the extra that brings each."""

debugging: ContextVar[bool] = ContextVar("debugging", default=False)
"""Whether ``--debug`` was given: errors keep their tracebacks."""

_Parameters = ParamSpec("_Parameters")
_Result = TypeVar("_Result")


def exit_code(error: CycleQDError) -> int:
    """Return the exit code of an interactive command that met ``error``."""
    return EXIT_BAD_INPUT if isinstance(error, NEED_A_PERSON) else EXIT_TRY_AGAIN


def worker_exit_code(error: CycleQDError) -> int:
    """Return the exit code of a worker that met ``error``: whoever started it repeats all that is temporary."""
    return EXIT_BAD_INPUT if isinstance(error, PermanentError) else EXIT_TRY_AGAIN


def missing_package(error: Exception) -> UnsupportedHere | None:
    """Return what to say if ``error`` is that a package of an extra is not installed."""
    package = (error.name or "").partition(".")[0] if isinstance(error, ModuleNotFoundError) else ""
    if extra := OPTIONAL.get(package):
        return UnsupportedHere(f"This command needs {package}, which is missing: install cycleqd[{extra}].")
    return None


def complain(message: str) -> None:
    """Write one sentence to standard error, on one line."""
    typer.echo(" ".join(message.split()), err=True)


def guarded(
    command: Callable[_Parameters, _Result], code_of: Callable[[CycleQDError], int] = exit_code
) -> Callable[_Parameters, _Result]:
    """Return ``command`` with its errors turned into a sentence and an exit code."""

    @functools.wraps(command)
    def run(*arguments: _Parameters.args, **options: _Parameters.kwargs) -> _Result:
        try:
            return command(*arguments, **options)
        except CycleQDError as error:
            _leave(error, str(error), code_of(error))
        except KeyboardInterrupt as error:
            _leave(error, "Interrupted; what was finished is kept, and the same command goes on.", EXIT_INTERRUPTED)
        except (typer.Exit, typer.Abort, typer.BadParameter, BrokenPipeError):
            raise  # typer knows them; the last one is `| head`
        except MemoryError as error:
            _leave(error, memory_sentence(error), EXIT_TRY_AGAIN)
        except Exception as error:  # noqa: BLE001 - nobody retries: what is left becomes a readable sentence
            if missing := missing_package(error):
                _leave(error, str(missing), EXIT_BAD_INPUT)
            text = f"cycleqd made a mistake ({type(error).__name__}: {error}): run `cycleqd --debug` and report it."
            _leave(error, text, EXIT_BUG)

    return run


def _leave(error: BaseException, message: str, code: int) -> NoReturn:
    if debugging.get():
        raise error
    complain(message)
    raise typer.Exit(code) from error
