"""How a worker process ends: the note that it leaves for whoever started it, and obeying SIGTERM.

No torch in here: mistakes are noted and SIGTERM is obeyed before it is imported. Exit codes are those of
:mod:`cycleqd_cli.failures`, and :data:`EXIT_TERMINATED`.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import NoReturn

from cycleqd.errors import EXIT_TERMINATED, CycleQDError
from cycleqd.orders import Outcome

NOTE_VARIABLE = "CYCLEQD_TERMINATION_LOG"
"""Names the file for the note: in a pod, the container's ``terminationMessagePath``."""
NOTE_BYTES = 4096
"""Kubernetes cuts longer termination messages, and half a JSON object is none."""

GRACE_SECONDS = 1.0
"""How long a worker that has to stop may tidy up (end its sandbox, remove files); then it leaves as it is."""

WRITING = threading.Lock()
"""Held by whoever writes what must not be lost for a signal: the worker leaves after that."""


def outcome_of(error: Exception) -> Outcome:
    """Return the outcome of work that met ``error``: a mistake of cycleqd, or memory that ran out, has no kind."""
    if isinstance(error, CycleQDError):
        return Outcome.of(error)
    if isinstance(error, MemoryError):
        return Outcome(ok=False, message=memory_sentence(error))
    return Outcome(ok=False, message=" ".join(f"{type(error).__name__}: {error}".split()))


def memory_sentence(error: MemoryError) -> str:
    """Return what to tell people about memory that ran out."""
    detail = f" ({error})" if str(error) else ""
    return f"Memory ran out{detail}: give each worker more of it, or run fewer on one machine."


def leave_note(outcome: Outcome) -> None:
    """Write the outcome, as JSON, to the file that :data:`NOTE_VARIABLE` names, if it does."""
    file = os.environ.get(NOTE_VARIABLE)
    if not file:
        return
    while len(note := outcome.model_dump_json().encode()) > NOTE_BYTES:
        outcome = outcome.model_copy(update={"message": outcome.message[: len(outcome.message) * 9 // 10 - 1] + "…"})
    try:
        Path(file).write_bytes(note)
    except OSError as error:  # the exit code and the log still say what happened
        sys.stderr.write(f"The file {file} of {NOTE_VARIABLE} cannot be written ({error.strerror}): correct it.\n")


@contextlib.contextmanager
def stopping_when_told(ask: Callable[[], object] | None = None) -> Iterator[None]:
    """Obey SIGTERM and SIGINT: leave the process with :data:`EXIT_TERMINATED`. Only in the main thread.

    A thread does it, which the signal wakes through a pipe. Python's own handlers would wait for the main thread, and
    that may be importing, loading a model or waiting for an answer.

    Args:
        ask: asks the work to end, so that it can tidy up and :func:`leave`; after :data:`GRACE_SECONDS` it is not
            waited for. None: there is nothing to tidy up.
    """
    heard, woken = os.pipe()
    os.set_blocking(woken, False)
    threading.Thread(target=_stop_when_heard, args=(heard, ask), name="signals", daemon=True).start()
    handlers = {number: signal.signal(number, _nothing) for number in (signal.SIGTERM, signal.SIGINT)}
    fd = signal.set_wakeup_fd(woken)
    try:
        yield
    finally:
        signal.set_wakeup_fd(fd)
        for number, handler in handlers.items():
            signal.signal(number, handler)
        os.close(woken)


def _stop_when_heard(heard: int, ask: Callable[[], object] | None) -> None:
    told = os.read(heard, 1)
    os.close(heard)
    if not told:  # the other end was closed: the work is done
        return
    if ask is not None:
        with contextlib.suppress(RuntimeError):  # its event loop has ended
            ask()
        time.sleep(GRACE_SECONDS)
    leave()


def _nothing(_number: int, _frame: FrameType | None) -> None:
    """Keep the signal from killing the process: the thread that it wakes does that."""


def leave() -> NoReturn:
    """End the process without waiting for its threads, but not in the middle of a write (:data:`WRITING`)."""
    with WRITING:
        os._exit(EXIT_TERMINATED)
