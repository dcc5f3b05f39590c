"""The plugin of kubectl: our half of what kubectl and a shell ask for. The real kubectl is in tests/e2e."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.cli.api_server import RUNS, ApiServer


def _complete(*words: str) -> list[str]:
    """Return the candidates for the last word, as ``kubectl_complete-cycleqd`` prints them."""
    command = [sys.executable, "-c", "from cycleqd_cli.kubectl import complete; complete()", *words]
    told = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (told.returncode, told.stderr) == (0, "")
    *candidates, directive = [line for line in told.stdout.splitlines() if line]
    assert directive == ":0"
    return candidates


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["stat"], ["status"]),
        (["status", ""], ["tiny", "tough"]),
        (["status", "ti"], ["tiny"]),
        (["pause", "cqd/to"], ["cqd/tough"]),
        (["compare", "tiny", "t"], ["tiny", "tough"]),
        (["status", "-n", "re"], ["research"]),
        (["status", "--context", ""], ["lab", "plain"]),
        (["status", "-n", "default", ""], []),
        (["status", "./"], []),
    ],
    ids=" ".join,
)
def test_tab_offers_commands_runs_namespaces_and_contexts(
    api_server: ApiServer, words: list[str], expected: list[str]
) -> None:
    api_server.add_run("tiny", {})
    api_server.add_run("tough", {})
    assert _complete(*words) == expected


def test_tab_is_silent_where_the_cluster_says_no(api_server: ApiServer) -> None:
    api_server.refusals[f"{RUNS}/namespaces/research/cycleqdruns"] = (403, "no")
    assert _complete("status", "") == []


def test_help_speaks_of_kubectl() -> None:
    command = [sys.executable, "-c", "from cycleqd_cli.kubectl import main; main()", "status", "--help"]
    told = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert "Usage: kubectl cycleqd status" in told.stdout
