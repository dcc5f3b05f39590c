"""What starts an image's program, and what the program finds where it runs."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Protocol

ITEMS = "items.jsonl"
RESULTS = "results.jsonl"
LOG = "log"
"""Files of a run: two that the program reads and writes, and what it prints."""


class Launched(Protocol):
    """A program that was started.

    Attributes:
        folder: its files, as we see them.
    """

    folder: Path

    async def ended(self) -> int:
        """Wait for the program's end and return its exit code; 137: it was killed."""
        ...


class Launcher(Protocol):
    """Starts the program of one evaluator; any number of times at the same time."""

    def launch(self, items: bytes, environment: Mapping[str, str]) -> AbstractAsyncContextManager[Launched]:
        """Start the program in a fresh folder; kill it and remove the folder afterwards.

        Entering raises Unscored if it does not start, OSError if the folder cannot be written.

        Args:
            items: content of its items file.
            environment: variables that it gets beside those of :func:`files_in`.
        """
        ...


def files_in(folder: str) -> dict[str, str]:
    """Return the variables that tell a program its files, where ``folder`` is what it sees."""
    return {"CYCLEQD_ITEMS": f"{folder}/{ITEMS}", "CYCLEQD_RESULTS": f"{folder}/{RESULTS}"}
