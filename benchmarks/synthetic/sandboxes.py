"""The sandboxes that judging is measured in: both kinds that a worker can have without asking for more rights."""

from __future__ import annotations

import argparse
import os
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from cycleqd_runner.sandbox import HostSettings, Kind

KINDS: tuple[Kind, ...] = ("Namespaces", "Landlock")
"""A laptop's, and a restricted pod's, which refuses namespaces: Landlock without root, as in the sidecar."""

_NOBODY = 65534


def settings_of(kind: Kind, folder: Path | None = None) -> HostSettings:
    """Return how the host of a kind is started, with its temporary folder in ``folder``; Landlock's is never root."""
    return HostSettings(folder=folder, user=_NOBODY if kind == "Landlock" and os.geteuid() == 0 else None)


def add_kinds(parser: argparse.ArgumentParser) -> None:
    """Let a command say which kinds are measured."""
    parser.add_argument("--kind", choices=KINDS, action="append", help="the sandbox; may be repeated (default: both)")


def kinds_of(options: argparse.Namespace) -> Sequence[Kind]:
    """Return the kinds that a command asks for."""
    return options.kind or KINDS


@contextmanager
def temporary_folder() -> Iterator[Path]:
    """Have all temporary files of this process and those below it in one fresh folder."""
    former = os.environ.get("TMPDIR")
    with tempfile.TemporaryDirectory(prefix="cycleqd-judging-") as name:
        Path(name).chmod(0o711)  # the users of items pass through
        os.environ["TMPDIR"], tempfile.tempdir = name, name
        try:
            yield Path(name)
        finally:
            tempfile.tempdir = None
            os.environ.pop("TMPDIR")
            if former is not None:
                os.environ["TMPDIR"] = former
