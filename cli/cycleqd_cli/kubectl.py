"""The command as a plugin of kubectl: ``kubectl cycleqd`` and what its completion asks for.

kubectl finds ``kubectl-cycleqd`` on PATH and hands its arguments on. For the Tab key it calls
``kubectl_complete-cycleqd`` and reads one candidate a line, then a line with a colon and what the shell may add.
"""

from __future__ import annotations

import os
import shlex
import sys

from cycleqd_cli import app

SHELL_MAY_ADD_FILES = ":0"
"""Cobra's ShellCompDirectiveDefault: files are offered if there is no candidate."""


def main() -> None:
    """Run the command line; the entry point ``kubectl-cycleqd``."""
    app(prog_name="kubectl cycleqd")
    sys.exit(0)


def complete() -> None:
    """Print what may follow; the entry point ``kubectl_complete-cycleqd``. The last argument is being typed."""
    words = ["cycleqd", *sys.argv[1:]]
    # The protocol of typer's script for bash, which has words and nothing else in its answer, too.
    os.environ |= {
        "_CYCLEQD_COMPLETE": "complete_bash",
        "COMP_WORDS": shlex.join(words),
        "COMP_CWORD": str(len(words) - 1),
    }
    try:
        app(args=[], prog_name="cycleqd")
    finally:
        sys.stdout.write(f"\n{SHELL_MAY_ADD_FILES}\n")
