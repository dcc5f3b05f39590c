"""How workers end: SIGTERM at every moment of their lives, and the note that they leave. Real processes and signals."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from cycleqd import keys
from cycleqd.errors import Unscored
from cycleqd.orders import Outcome
from cycleqd_cli import worker as command
from cycleqd_runner.ending import NOTE_BYTES, leave_note
from tests.cli.support import cycleqd, process, started
from tests.runner.runs import COMMAND, wait_until
from tests.runner.stuck_worker import STUCK_SECONDS

ROOT = Path(__file__).parents[2]
FAR_AWAY = {"AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b", "AWS_REGION": "us-east-1", "AWS_MAX_ATTEMPTS": "1"}


@contextmanager
def running(*arguments: str, **environment: str) -> Iterator[subprocess.Popen[str]]:
    """Start a process for a test, and leave none behind."""
    path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    started_process = subprocess.Popen(
        arguments,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": path, **environment},
    )
    try:
        yield started_process
    finally:
        started_process.kill()
        started_process.communicate()


def terminate(worker: subprocess.Popen[str]) -> tuple[int, str]:
    """Send SIGTERM; return the exit code and what was printed. A worker that is stuck fails the test."""
    worker.send_signal(signal.SIGTERM)
    printed, complaint = worker.communicate(timeout=STUCK_SECONDS / 3)
    return worker.returncode, printed + complaint


def test_a_worker_that_has_not_reached_its_store_yet_ends_at_once() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"http://127.0.0.1:{silent.getsockname()[1]}"
        order = ["worker", "finalize", "--run", "s3://bucket/run"]
        with running(*COMMAND, *order, AWS_ENDPOINT_URL_S3=address, **FAR_AWAY) as worker:
            connection, _ = silent.accept()
            with connection:
                assert terminate(worker) == (143, "")


def test_a_worker_that_imports_torch_ends_at_once(tmp_path: Path) -> None:
    _, store = started(tmp_path)
    with running(*COMMAND, "worker", "finalize", "--run", store.uri) as worker:
        wait_until(lambda: "libtorch" in Path(f"/proc/{worker.pid}/maps").read_text(encoding="utf-8"))
        assert terminate(worker) == (143, "")


@pytest.mark.parametrize("role", ["prepare", "evaluate", "finalize"])
def test_a_worker_that_is_busy_does_not_finish_first(tmp_path: Path, role: str) -> None:
    _, store = started(tmp_path)
    with running(sys.executable, "-m", "tests.runner.stuck_worker", role, str(tmp_path / "run")) as worker:
        wait_until(lambda: store.exists("stuck"))
        assert terminate(worker) == (143, "")


def test_a_worker_finishes_the_write_of_a_result(tmp_path: Path) -> None:
    _, store = started(tmp_path)
    with running(sys.executable, "-m", "tests.runner.stuck_worker", "breed", str(tmp_path / "run")) as worker:
        wait_until(lambda: store.exists("stuck"))
        assert not store.exists(keys.result(7))
        code, said = terminate(worker)
    assert code == 143
    assert said.startswith("Scored individual 7")
    assert store.exists(keys.result(7))


def note_of(invoke: Callable[..., object], file: Path, *arguments: str, **environment: str) -> Outcome:
    invoke("worker", *arguments, CYCLEQD_TERMINATION_LOG=str(file), **environment)
    return Outcome.model_validate_json(file.read_bytes())


@pytest.mark.parametrize(
    ("arguments", "kind", "message"),
    [
        pytest.param(["breed", "--ids", "3-x"], "BadManifest", "expected numbers and ranges", id="bad ids"),
        pytest.param(["evaluate"], "BadManifest", "needs individuals", id="no ids"),
        pytest.param(["finalize", "--run", "nowhere"], "BadData", "holds no run", id="no run"),
        pytest.param(["finalize", "--run", "ftp://x"], "BadManifest", "scheme ftp://", id="no store"),
    ],
)
def test_mistakes_are_noted(tmp_path: Path, arguments: list[str], kind: str, message: str) -> None:
    _, store = started(tmp_path)
    note = note_of(cycleqd, tmp_path / "note", "--run", store.uri, *arguments)
    assert (note.ok, note.permanent, note.kind) == (False, True, kind)
    assert message in note.message


def test_a_store_that_does_not_answer_is_noted(tmp_path: Path) -> None:
    order = ["finalize", "--run", "s3://bucket/run"]
    note = note_of(process, tmp_path / "note", *order, AWS_ENDPOINT_URL_S3="http://127.0.0.1:9", **FAR_AWAY)
    assert (note.ok, note.permanent, note.kind) == (False, False, "StoreUnreachable")


@pytest.mark.parametrize(
    ("error", "code", "note"),
    [
        pytest.param(ValueError("two\nlines"), 1, Outcome(ok=False, message="ValueError: two lines"), id="a bug"),
        pytest.param(
            MemoryError("24 GiB"),
            75,
            Outcome(
                ok=False,
                message="Memory ran out (24 GiB): give each worker more of it, or run fewer on one machine.",
            ),
            id="memory",
        ),
        pytest.param(
            ModuleNotFoundError("No module named 'torch'", name="torch"),
            2,
            Outcome(
                ok=False,
                permanent=True,
                kind="UnsupportedHere",
                message="This command needs torch, which is missing: install cycleqd[runner].",
            ),
            id="a package",
        ),
        pytest.param(
            Unscored("It rains."), 75, Outcome(ok=False, kind="Unscored", message="It rains."), id="temporary"
        ),
    ],
)
def test_what_a_worker_meets_is_noted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception, code: int, note: Outcome
) -> None:
    def meet(*_: str) -> Outcome:
        raise error

    monkeypatch.setattr(command, "_work", meet)
    told = cycleqd("worker", "finalize", "--run", "x", CYCLEQD_TERMINATION_LOG=str(tmp_path / "note"))
    assert told.exit_code == code
    assert told.stderr.count("\n") == 1
    assert Outcome.model_validate_json((tmp_path / "note").read_bytes()) == note


@pytest.mark.parametrize(("letter", "copies"), [("x", 3000), ("x", 50_000), ("ß", 50_000), ('"', 5000), ("\x01", 5000)])
def test_a_long_message_is_cut_and_the_note_stays_json(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, letter: str, copies: int
) -> None:
    monkeypatch.setenv("CYCLEQD_TERMINATION_LOG", str(tmp_path / "note"))
    leave_note(Outcome(ok=False, kind="Unscored", message=letter * copies))
    note = (tmp_path / "note").read_bytes()
    assert NOTE_BYTES // 2 < len(note) <= NOTE_BYTES
    kept = json.loads(note)
    assert kept["kind"] == "Unscored"
    assert kept["message"].rstrip("…") == letter * len(kept["message"].rstrip("…"))


def test_a_note_that_cannot_be_written_hides_nothing(tmp_path: Path) -> None:
    told = cycleqd("worker", "evaluate", "--run", "x", CYCLEQD_TERMINATION_LOG=str(tmp_path / "no" / "folder"))
    assert told.exit_code == 2
    assert "cannot be written (No such file or directory)" in told.stderr
    assert "holds no run" in told.stderr


def test_there_is_no_note_if_nobody_asks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert cycleqd("worker", "evaluate", "--run", "x").exit_code == 2
    assert not list(tmp_path.iterdir())


def test_the_command_gives_signals_back(tmp_path: Path) -> None:
    before = signal.getsignal(signal.SIGTERM)
    cycleqd("worker", "evaluate", "--run", str(tmp_path))
    assert signal.getsignal(signal.SIGTERM) is before
