"""Runs an answer and its tests in this process and says whether all tests passed, with a proof.

Standard input: a line with the length of the work in bytes, the work as JSON ``{"reference", "setup", "answer",
"tests"}``, then a secret. The answer runs before the secret is read, with standard input and output closed to it, so
neither printing nor leaving the process early can pass for success, nor for a mistake of the item's own reference. An
answer written to defeat this very program could search its descriptors; no answer that a model gives to a question
about functions does.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

RECURSION = 5000
"""Depth of calls; answers recurse deeper than Python's default allows."""


def read_work() -> dict[str, Any]:
    """Read length and work and not a byte more: what follows is the secret."""
    line = bytearray()
    while not line.endswith(b"\n"):
        line += os.read(0, 1)
    work = bytearray()
    while missing := int(line) - len(work):
        work += os.read(0, missing)
    return dict(json.loads(work))


def prepare(reference: str) -> dict[str, object]:
    """Run the item's own code and return what tests see of it."""
    space: dict[str, object] = {"__name__": "reference"}
    exec(compile(reference, "reference", "exec", dont_inherit=True), space)  # noqa: S102 - in the sandbox
    return {"reference": SimpleNamespace(**space)} if reference else {}


def failure(known: dict[str, object], setup: str, answer: str, tests: Sequence[str]) -> str | None:
    """Return what went wrong, or None."""
    space: dict[str, object] = {"__name__": "answer"}
    running = answer
    try:
        # MBPP's setup code uses classes that the answer defines, so the answer comes first.
        for running in (answer, setup, *tests):
            exec(compile(running, "answer", "exec", dont_inherit=True), space)  # noqa: S102 - in the sandbox
            space.update(known)
    except AssertionError:
        return f"failed: {running}"
    except BaseException as error:  # noqa: BLE001 - SystemExit and KeyboardInterrupt are answers too
        return describe(error)
    return None


def describe(error: BaseException) -> str:
    """Return an exception as text, also if its own ``__str__`` fails."""
    try:
        return f"{type(error).__name__}: {str(error)[:300]}"
    except BaseException:  # noqa: BLE001 - the answer's exception may do anything
        return "an error"


def main() -> None:
    """Read one answer from standard input, run it, and write the report."""
    # Taken now: the answer may replace functions of the modules.
    read, write, digest, dump, leave = os.read, os.write, hashlib.sha256, json.dumps, os._exit
    work = read_work()
    secret_from, report_to = os.dup(0), os.dup(1)
    nothing = os.open(os.devnull, os.O_RDWR)
    for descriptor in (0, 1, 2):
        os.dup2(nothing, descriptor)
    broken = reason = None
    try:
        known = prepare(work.pop("reference"))
    except BaseException as error:  # noqa: BLE001 - whatever the item's own code does, it is not the answer's
        broken = describe(error)
    else:
        reason = failure(known, **work)
    report = {"failed": reason}
    if reason is None:
        secret = b""
        while chunk := read(secret_from, 1024):
            secret += chunk
        proof = digest((b"passed:" if broken is None else b"broken:") + secret).hexdigest()
        report = {"proof": proof, "broken": broken}
    write(report_to, dump(report).encode() + b"\n")
    leave(0)


if __name__ == "__main__":
    sys.setrecursionlimit(RECURSION)
    main()
