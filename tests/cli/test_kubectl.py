"""The plugin of kubectl: our half of what kubectl and a shell ask for. The real kubectl is in tests/e2e."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from cycleqd import keys
from cycleqd_cli.kubectl import complete, main
from tests.cli.api_server import RUNS, ApiServer
from tests.cli.support import started

Complete = Callable[..., list[str]]


@pytest.fixture
def candidates(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Complete:
    """Returns the candidates for the last word, as ``kubectl_complete-cycleqd`` prints them."""

    def ask(*words: str) -> list[str]:
        for variable in ("_CYCLEQD_COMPLETE", "COMP_WORDS", "COMP_CWORD"):  # put back afterwards
            monkeypatch.setenv(variable, "")
        monkeypatch.setattr(sys, "argv", ["kubectl_complete-cycleqd", *words])
        with pytest.raises(SystemExit) as left:
            complete()
        told = capsys.readouterr()
        assert (left.value.code, told.err) == (0, "")
        *found, directive = [line for line in told.out.splitlines() if line]
        assert directive == ":0"
        return found

    return ask


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
    api_server: ApiServer, candidates: Complete, words: list[str], expected: list[str]
) -> None:
    api_server.add_run("tiny", {})
    api_server.add_run("tough", {})
    assert candidates(*words) == expected


def test_tab_is_silent_where_the_cluster_says_no(api_server: ApiServer, candidates: Complete) -> None:
    api_server.refusals[f"{RUNS}/namespaces/research/cycleqdruns"] = (403, "no")
    assert candidates("status", "") == []


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["--individual", ""], ["3", "4"]),
        (["--task", "s"], ["sql", "shell"]),
        (["--item", ""], ["a1", "a2", "b1"]),
        (["--task", "shell", "--item", ""], ["b1"]),
        (["--item", "a"], ["a1", "a2"]),
    ],
    ids=" ".join,
)
def test_tab_offers_individuals_tasks_and_items_of_a_run(
    tmp_path: Path, candidates: Complete, words: list[str], expected: list[str]
) -> None:
    manifest, store = started(tmp_path, ids=[3, 4])
    store.put(keys.SPLITS, b'{"sql": {"search": ["a1"], "test": ["a2"]}, "shell": {"search": ["b1"]}}')
    assert candidates("transcripts", str(manifest), *words) == expected


def test_tab_offers_the_individuals_that_can_be_exported(tmp_path: Path, candidates: Complete) -> None:
    manifest, _ = started(tmp_path, ids=[3, 4])
    assert candidates("export", str(manifest), "model", "--child", "") == ["3", "4"]


def test_tab_is_silent_where_there_are_no_items_yet(tmp_path: Path, candidates: Complete) -> None:
    manifest, _ = started(tmp_path)
    assert candidates("transcripts", str(manifest), "--item", "") == []


def test_help_speaks_of_kubectl(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "argv", ["kubectl-cycleqd", "status", "--help"])
    with pytest.raises(SystemExit):
        main()
    assert "Usage: kubectl cycleqd status" in capsys.readouterr().out
