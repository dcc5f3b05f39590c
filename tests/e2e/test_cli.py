"""The command against a real run: looked at, steered and taken home, by cycleqd and by kubectl cycleqd."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from cycleqd import keys
from tests.e2e.scene import PATIENCE_SECONDS, Scene

pytestmark = [pytest.mark.e2e, pytest.mark.together, pytest.mark.timeout(3000)]

SCRIPTS = Path(sys.executable).parent
"""Where cycleqd, kubectl-cycleqd and kubectl_complete-cycleqd are installed."""


def _do(folder: Path, *command: str) -> subprocess.CompletedProcess[str]:
    """Run a command in a folder, as somebody without S3 credentials."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
    environment |= {"PATH": f"{SCRIPTS}:{os.environ['PATH']}", "AWS_EC2_METADATA_DISABLED": "true"}
    return subprocess.run(
        command,
        env=environment,
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE_SECONDS,
    )


def told(folder: Path, *command: str) -> str:
    """Return what a command that has to work prints."""
    done = _do(folder, *command)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_a_run_is_watched_steered_and_taken_home(scene: Scene) -> None:
    run, home = scene.tiny_run("command", {"spec.search.children": 5}), scene.folder
    there = ("-n", run.world.namespace)
    run.apply()
    run.reach_children(1)
    assert "command" in told(home, "kubectl", "cycleqd", "list", *there)
    assert "command" in told(home, "kubectl_complete-cycleqd", "status", *there, "comm").splitlines()

    assert "Running → Paused" in told(home, "kubectl", "cycleqd", "pause", "command", *there)
    run.reach_state("Paused")
    run.reach_calm()
    now = json.loads(told(home, "cycleqd", "status", "command", *there, "-o", "json"))
    assert (now["desired_state"], now["workers"]) == ("Paused", [])
    told(home, "cycleqd", "plot", "command", *there)
    assert (home / "command-pictures" / "archives.png").exists()

    told(home, "kubectl", "cycleqd", "resume", "command", *there)
    *_, last = told(home, "cycleqd", "status", "command", *there, "--watch", "-o", "json").splitlines()
    assert json.loads(last)["status"]["state"] == "Succeeded"
    assert "5/5" in told(home, "kubectl", "cycleqd", "status", "command", *there)

    assert "merged" in told(home, "kubectl", "cycleqd", "report", "command", *there)
    assert (home / "command-report" / "report.html").stat().st_size > 10_000
    told(home, "cycleqd", "export", "command", "model", "--final", *there)
    assert (home / "model" / "config.json").read_bytes() == run.store.get(f"{keys.MODEL}/config.json")
    told(home, "cycleqd", "export", "command", "child", "--child", "3", *there)
    assert list((home / "child").glob("*.safetensors"))
    same = json.loads(told(home, "cycleqd", "compare", "command", "command", *there, "-o", "json"))
    assert same["differences"] == []
    done = _do(home, "kubectl", "cycleqd", "status", "comand", *there)
    assert (done.returncode != 0, "did you mean command" in done.stderr) == (True, True)


def test_logs_come_as_long_as_the_run_goes_on(scene: Scene) -> None:
    run, home = scene.tiny_run("talking", {"spec.search.children": 3}), scene.folder
    run.apply()
    lines = told(home, "cycleqd", "logs", "talking", "-n", run.world.namespace, "--follow").splitlines()
    assert any("Scored individual" in line for line in lines)
    assert all(line.startswith("[talking-") for line in lines)
    assert run.status()["state"] == "Succeeded", "it ended with the run"
