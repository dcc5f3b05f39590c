"""Long answers: on a terminal through the user's pager, piece by piece as they are made; elsewhere straight out."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterable
from contextlib import suppress

import typer

PAGER = "less"
"""Where PAGER is not set."""
LESS = "FRX"
"""Where LESS is not set, as with git: end if all fits on the screen, show colours, leave the text there."""


def show(pieces: Iterable[str]) -> None:
    """Print text; on a terminal through ``$PAGER``, and no more of it than the user looks at."""
    pager = shlex.split(os.environ.get("PAGER", PAGER))
    if not (sys.stdout.isatty() and pager and shutil.which(pager[0])):
        for piece in pieces:
            typer.echo(piece, nl=False)
        return
    environment = {"LESS": LESS, **os.environ}
    with subprocess.Popen(pager, stdin=subprocess.PIPE, env=environment, text=True, encoding="utf-8") as process:
        assert process.stdin is not None  # noqa: S101 - it is a pipe
        try:
            with suppress(BrokenPipeError):  # the user has seen enough
                for piece in pieces:
                    process.stdin.write(piece)
        finally:
            with suppress(BrokenPipeError):
                process.stdin.close()
            _wait(process)


def _wait(process: subprocess.Popen[str]) -> None:
    """Wait for the pager, which takes Ctrl-C for itself."""
    while True:
        try:
            process.wait()
        except KeyboardInterrupt:
            continue
        return
