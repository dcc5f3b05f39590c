"""Where the tests' program runs: the operator's own loop on this machine, or a stand-in for Docker."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest

from cycleqd.sidecars import CONTAINERS, container_key
from cycleqd_operator.container_sidecars import ATTEND
from tests.runner.tasks.container import docker_stand_in, program

IMAGE = "registry.example/judge:1"
COMMAND = (sys.executable, "-I", "-S", str(program.__file__))


class Attendant:
    """The loop of a container beside the worker. It can die, as containers do, and be started again."""

    def __init__(self, folder: Path, command: Sequence[str]) -> None:
        self._folder, self._command = folder / container_key(IMAGE, command), command
        self._folder.mkdir(parents=True)
        self.start()

    def start(self) -> None:
        self._process = subprocess.Popen(
            ["/bin/sh", "-c", ATTEND, "attend", self._folder, *self._command], start_new_session=True
        )

    def die(self, program: int) -> None:
        """Lose everything that runs, as when a container meets its memory limit."""
        os.killpg(self._process.pid, signal.SIGKILL)
        os.kill(program, signal.SIGKILL)
        self._process.wait()

    def end(self) -> None:
        os.killpg(self._process.pid, signal.SIGTERM)
        self._process.wait(10)


@contextmanager
def beside(folder: Path, monkeypatch: pytest.MonkeyPatch, command: Sequence[str] = COMMAND) -> Iterator[Attendant]:
    attendant = Attendant(folder / "containers", command)
    monkeypatch.setenv(CONTAINERS, str(folder / "containers"))
    try:
        yield attendant
    finally:
        attendant.end()


@contextmanager
def docker(folder: Path, monkeypatch: pytest.MonkeyPatch, _command: Sequence[str] = COMMAND) -> Iterator[Path]:
    """Put the stand-in in the place of ``docker``; yield its folder."""
    script = stand_in(folder)
    home = script.parent
    monkeypatch.delenv(CONTAINERS, raising=False)
    monkeypatch.setenv("PATH", f"{home}:{os.environ['PATH']}")
    monkeypatch.setenv("TMPDIR", str(folder))
    monkeypatch.setattr("tempfile.tempdir", None)
    assert shutil.which("docker") == str(script)
    yield home


def stand_in(folder: Path) -> Path:
    """Put the stand-in for Docker into a new folder ``docker`` of this one; return its path."""
    script = folder / "docker" / "docker"
    script.parent.mkdir()
    source = Path(str(docker_stand_in.__file__)).read_text(encoding="utf-8")
    script.write_text(f"#!{sys.executable} -S\n{source}", encoding="utf-8")
    script.chmod(0o755)
    return script


Place = Callable[[Path, pytest.MonkeyPatch, Sequence[str]], AbstractContextManager[object]]
"""Puts a program's place there: for a folder of the test's, and the program's command."""
