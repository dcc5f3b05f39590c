"""What qualifies scores is said wherever they are shown: on terminals and in JSON, of runs here and in a cluster."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from cycleqd.identity import claim
from cycleqd.manifest import load_manifest
from cycleqd.store import open_store
from tests.cli.api_server import ApiServer
from tests.cli.support import cycleqd, document, write

EMBEDDED = {"type": "AgentBenchDB", "data": "/data/dbbench.jsonl", "server": "SQLite"}
SAID = "Task sql: AgentBenchDB ran on SQLite, which is not the paper's protocol"


def embedded(folder: Path) -> dict[str, Any]:
    """Return a manifest whose first task has its database in the worker."""
    manifest = document(folder)
    manifest["spec"]["tasks"][0]["evaluator"] = EMBEDDED
    return manifest


@pytest.mark.parametrize("form", ["table", "json", "yaml"])
@pytest.mark.parametrize("command", ["status", "compare"])
def test_of_a_run_here(tmp_path: Path, command: str, form: str) -> None:
    manifest = write(tmp_path / "tiny.yaml", embedded(tmp_path))
    run = load_manifest(manifest)
    claim(open_store(run.spec.storage.uri), run)
    told = cycleqd(command, *[manifest] * (1 if command == "status" else 2), "-o", form)
    assert told.exit_code == 0, told.stderr
    assert SAID in " ".join(told.stdout.replace("''", "'").split())


def test_of_a_run_in_a_cluster(tmp_path: Path, api_server: ApiServer) -> None:
    api_server.add_run("tiny", {"state": "Breeding"}, embedded(tmp_path)["spec"])
    assert SAID in cycleqd("status", "tiny").stdout
    assert json.loads(cycleqd("status", "tiny", "-o", "json").stdout)["notes"][0].startswith(SAID)


def test_of_a_run_of_another_version_nothing_is(api_server: ApiServer) -> None:
    api_server.add_run("tiny", {"state": "Breeding"}, {"fieldOfANewerVersion": 1})
    assert json.loads(cycleqd("status", "tiny", "-o", "json").stdout)["notes"] == []
