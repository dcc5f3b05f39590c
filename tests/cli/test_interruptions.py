"""What interrupts a command: Ctrl-C, a full disk. Real processes, real signals."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from cycleqd import keys
from tests.cli.support import document, objects, started, write
from tests.runner.runs import children_of

CAN_MOUNT = (
    shutil.which("unshare") is not None
    and subprocess.run(["unshare", "-Urm", "true"], capture_output=True, check=False).returncode == 0
)


def test_ctrl_c_stops_the_workers_and_says_how_to_go_on(tmp_path: Path) -> None:
    manifest, _ = started(tmp_path)  # its workers need torch first: there is time to interrupt
    before = objects(tmp_path / "run")
    # A shell's background jobs ignore Ctrl-C, and so would what they start: hence env.
    command = [
        "env",
        "--default-signal=INT",
        sys.executable,
        "-m",
        "cycleqd_cli",
        "run",
        str(manifest),
        "--workers",
        "2",
    ]
    running = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    workers: list[int] = []
    while running.poll() is None and len(workers) < 2:
        workers = children_of(running.pid)
        time.sleep(0.05)
    running.send_signal(signal.SIGINT)
    printed, complaint = running.communicate(timeout=60)

    assert running.returncode == 130, printed + complaint
    assert f"Go on with: cycleqd run {manifest}" in printed
    assert "Traceback" not in complaint
    assert not any(Path(f"/proc/{worker}").exists() for worker in workers)
    after = objects(tmp_path / "run")
    assert {key: after[key] for key in before if key != keys.SPEC} == {
        k: v for k, v in before.items() if k != keys.SPEC
    }


@pytest.mark.skipif(not CAN_MOUNT, reason="needs user namespaces to mount a small disk")
@pytest.mark.parametrize("command", ["run {manifest} --no-plots", "init {disk}/a/b.yaml"])
def test_a_full_disk_is_one_sentence(tmp_path: Path, command: str) -> None:
    disk = tmp_path / "run"
    disk.mkdir()
    manifest = write(tmp_path / "tiny.yaml", document(tmp_path))
    line = f"{sys.executable} -m cycleqd_cli {command.format(manifest=manifest, disk=disk)}"
    script = (
        f"mount -t tmpfs -o size=8k,nr_inodes=50 none {disk} && head -c 8192 /dev/zero > {disk}/filler; exec {line}"
    )
    told = subprocess.run(
        ["unshare", "-Urm", "sh", "-c", script], capture_output=True, text=True, timeout=60, check=False
    )
    assert told.returncode == 2, told.stderr
    assert told.stderr.count("\n") == 1, told.stderr
    assert "full" in told.stderr or "space" in told.stderr
