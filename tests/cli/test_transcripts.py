"""``cycleqd transcripts``: which conversations are shown, how, and what is said where there are none."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest

from cycleqd import keys
from cycleqd.identity import claim
from cycleqd.manifest import load_manifest
from cycleqd.store import FolderStore
from cycleqd_runner.contest.training_data import read_examples
from cycleqd_runner.transcripts import packed
from tests.cli.support import cycleqd, document, lines_of, process, said, started, write
from tests.cli.test_bad_input import is_one_sentence

KEPT = {
    (0, 0): [said("sql", "a", group="SELECT"), said("sql", "b", "no", 0.0, repeat=1, reason="the rows differ")],
    (3, 0): [said("sql", "a", "hm", 0.25, seconds=1.25, prompt_tokens=70, answer_tokens=9), said("shell", "a")],
    (3, 1): [said("shell", "c", "", None, reason="not scored after 3 tries: the sandbox is down")],
}
"""By individual and evaluation."""


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """The manifest of a run that keeps all conversations, and has these."""
    content = document(tmp_path)
    content["spec"]["transcripts"] = "All"
    manifest = write(tmp_path / "tiny.yaml", content)
    store = FolderStore(tmp_path / "run")
    claim(store, load_manifest(manifest))
    for pair, transcripts in KEPT.items():
        store.put(keys.transcripts(*pair), packed(transcripts))
    store.put("transcripts/notes.txt", b"somebody else's")
    return manifest


def test_a_conversation_is_shown_with_all_that_is_known_of_it(run: Path) -> None:
    told = cycleqd("transcripts", run)
    assert told.exit_code == 0, told.stderr
    heads = [line for line in told.stdout.splitlines() if "tokens read" in line]
    assert heads == [
        "sql-expert · sql · a · SELECT · repeat 0   score 1   0 tokens read, 0 written, 0.0 s",
        "sql-expert · sql · b · repeat 1   score 0   0 tokens read, 0 written, 0.0 s",
        "child 3 · sql · a · repeat 0   score 0.25   70 tokens read, 9 written, 1.2 s",
        "child 3 · shell · a · repeat 0   score 1   0 tokens read, 0 written, 0.0 s",
        "child 3, evaluation 1 · shell · c · repeat 0   no score   0 tokens read, 0 written, 0.0 s",
    ]
    _, second, *_, last = told.stdout.split("─\n")[1:]
    assert second.splitlines()[1:-1] == [
        "the rows differ",
        "",
        "system",
        "You know sql.",
        "",
        "user",
        "Solve b.",
        "",
        "assistant",
        "no",
        "",
    ]
    assert "the sandbox is down" in last
    assert last.endswith("assistant\n(nothing)\n\n")


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ([], ["0 sql a", "0 sql b", "3 sql a", "3 shell a", "3 shell c"]),
        (["--individual", "3"], ["3 sql a", "3 shell a", "3 shell c"]),
        (["-i", "0", "--item", "b"], ["0 sql b"]),
        (["--task", "sql"], ["0 sql a", "0 sql b", "3 sql a"]),
        (["--task", "sql", "--item", "a"], ["0 sql a", "3 sql a"]),
        (["--successes"], ["0 sql a", "3 shell a"]),
        (["--failed"], ["0 sql b", "3 sql a", "3 shell c"]),
        (["--failed", "--individual", "3", "--task", "shell"], ["3 shell c"]),
    ],
    ids=" ".join,
)
def test_what_is_asked_for_is_shown(run: Path, options: list[str], expected: list[str]) -> None:
    told = cycleqd("transcripts", run, "--json", *options)
    assert told.exit_code == 0, told.stderr
    assert [f"{line['individual']} {line['task']} {line['item']}" for line in lines_of(told)] == expected


def test_lines_of_json_have_everything_and_can_be_learned_from(run: Path) -> None:
    told = cycleqd("transcripts", run, "--json", "--individual", "3")
    first, _, third = lines_of(told)
    assert first == {**KEPT[3, 0][0].model_dump(mode="json"), "individual": 3, "evaluation": 0}
    assert (third["evaluation"], third["score"]) == (1, None)
    right = cycleqd("transcripts", run, "--json", "--successes").stdout
    examples = read_examples(right.encode(), "right.jsonl", "sql")
    assert [example.messages for example in examples] == [KEPT[0, 0][0].messages, KEPT[3, 0][1].messages]


def test_a_run_keeps_what_scored_1_unless_told_otherwise(tmp_path: Path) -> None:
    manifest, _ = started(tmp_path)
    told = cycleqd("transcripts", manifest, "--individual", "4", "--json")
    assert {line["score"] for line in lines_of(told)} == {1.0}


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        pytest.param(["--individual", "7"], "no conversations of individual 7: it has those of 2", id="individual"),
        pytest.param(["--task", "sqk"], "no task sqk (did you mean sql", id="task"),
        pytest.param(["--item", "z"], "has kept fits all options: leave out some", id="item"),
        pytest.param(["-i", "0", "--task", "shell"], "has kept fits all options", id="nothing of that task"),
    ],
)
def test_what_is_not_there_is_said_in_a_sentence(run: Path, options: list[str], expected: str) -> None:
    told = cycleqd("transcripts", run, *options)
    assert (told.exit_code, is_one_sentence(told.stderr), told.stdout) == (2, True, ""), told.stderr
    assert expected in told.stderr


def test_a_run_that_keeps_successes_says_how_to_keep_the_rest(tmp_path: Path) -> None:
    manifest, _ = started(tmp_path)
    told = cycleqd("transcripts", manifest, "--failed")
    assert (told.exit_code, is_one_sentence(told.stderr)) == (2, True), told.stderr
    assert "it keeps only what scored 1; with spec.transcripts All" in told.stderr


def test_a_run_without_results_has_no_conversations_yet(tmp_path: Path) -> None:
    manifest, _ = started(tmp_path, ids=[])
    told = cycleqd("transcripts", manifest)
    assert (told.exit_code, is_one_sentence(told.stderr)) == (2, True), told.stderr
    assert "The run tiny has no conversations yet" in told.stderr


def test_damaged_conversations_are_named(run: Path) -> None:
    FolderStore(run.parent / "run").put(keys.transcripts(3), b"{")
    told = cycleqd("transcripts", run)
    assert (told.exit_code, is_one_sentence(told.stderr)) == (2, True), told.stderr
    assert "transcripts/0000003.jsonl.zst" in told.stderr


def test_an_answer_cannot_steer_the_terminal(run: Path) -> None:
    hostile = said("sql", "a", "\x1b]0;owned\x07\x1b[2J\r\x9b31m[bold]\x7f", 0.0, reason="\x1b[1A")
    FolderStore(run.parent / "run").put(keys.transcripts(3), packed([hostile]))
    told = cycleqd("transcripts", run, "--individual", "3")
    assert "␛]0;owned␇␛[2J␍\ufffd31m[bold]␡" in told.stdout
    assert "␛[1A" in told.stdout
    assert not set(told.stdout) & {"\x1b", "\x07", "\r", "\x9b", "\x7f"}


def on_a_terminal(arguments: list[str], **environment: str) -> tuple[int, str]:
    """Call the command on a terminal; return its exit code and what the terminal got."""
    command = [sys.executable, "-m", "cycleqd_cli", *arguments]
    ours, its = pty.openpty()
    with subprocess.Popen(
        command, stdin=its, stdout=its, stderr=its, env={**os.environ, "TERM": "xterm", **environment}
    ) as child:
        os.close(its)
        got = b""
        while True:
            try:
                piece = os.read(ours, 1 << 16)
            except OSError:  # Linux' way to say that nobody is at the other end any more
                break
            got += piece
        os.close(ours)
        return child.wait(60), got.decode()


def test_a_terminal_gets_the_pager_and_colours_and_a_file_neither(run: Path, tmp_path: Path) -> None:
    seen = tmp_path / "seen"
    pager = f"tee {seen}"
    code, got = on_a_terminal(["transcripts", str(run), "--individual", "0"], PAGER=pager)
    assert code == 0, got
    assert "\x1b[" in seen.read_text(encoding="utf-8")
    assert got.replace("\r\n", "\n") == seen.read_text(encoding="utf-8")
    seen.unlink()
    told = process("transcripts", run, "--individual", "0", PAGER=pager)
    assert told.returncode == 0, told.stderr
    assert "\x1b[" not in told.stdout
    code, got = on_a_terminal(["transcripts", str(run), "--json"], PAGER=pager)
    assert [json.loads(line)["item"] for line in got.splitlines()] == ["a", "b", "a", "a", "c"]
    assert not seen.exists(), "what programs read is not paged"


@pytest.mark.parametrize("pager", ["", "no-such-pager --colour", "head -n 2"])
def test_a_pager_that_is_missing_or_ends_early_is_no_mistake(run: Path, pager: str) -> None:
    FolderStore(run.parent / "run").put(keys.transcripts(3), packed([said("sql", "a", "long " * 100_000)]))
    code, got = on_a_terminal(["transcripts", str(run)], PAGER=pager)
    assert code == 0, got[-1000:]
    assert ("long" in got) == (not pager.startswith("head"))


def test_a_reader_that_has_seen_enough_is_no_mistake(run: Path) -> None:
    FolderStore(run.parent / "run").put(keys.transcripts(3), packed([said("sql", "a", "long " * 100_000)]))
    command = f"{sys.executable} -m cycleqd_cli transcripts {run} --json | head -c 10"
    told = subprocess.run(["bash", "-c", command], capture_output=True, text=True, timeout=60, check=False)
    assert (len(told.stdout), told.stderr) == (10, "")
