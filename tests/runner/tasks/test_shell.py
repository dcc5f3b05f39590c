from __future__ import annotations

import json

import pytest

from cycleqd.api.tasks import ShellEvaluator
from cycleqd_runner.tasks.contract import Evaluator
from cycleqd_runner.tasks.shell import shell_evaluator
from tests.runner.tasks.support import judge_answers

FILES = {"d/a.txt": "one\ntwo\n", "d/b.log": "x\n"}


def one(**fields: object) -> Evaluator:
    item = {"id": "one", "prompt": "do", "files": FILES, **fields}
    return shell_evaluator(ShellEvaluator(type="Shell", data="items.jsonl"), json.dumps(item).encode())


OUTPUTS = [
    pytest.param("wc -l < d/a.txt", 1, id="as-expected"),
    pytest.param("printf '  2'", 1, id="padding-and-missing-newline"),
    pytest.param("echo 2; exit 3", 1, id="exit-code-does-not-matter"),
    pytest.param("echo 2; echo three >&2", 1, id="standard-error-does-not-matter"),
    pytest.param("echo 3", 0, id="other-output"),
    pytest.param("echo 2; echo 2", 0, id="more-output"),
    pytest.param("echo 2; rm d/b.log", 0, id="right-output-but-a-file-is-gone"),
    pytest.param("echo 2 | tee new", 0, id="right-output-but-a-new-file"),
    pytest.param("echo 2; mkdir new", 0, id="right-output-but-a-new-folder"),
    pytest.param("echo '", 0, id="syntax-error"),
    pytest.param("no-such-program", 0, id="unknown-program"),
]


def test_outputs() -> None:
    answers = {str(case.id): str(case.values[0]) for case in OUTPUTS}
    found = judge_answers(one(stdout="2\n"), answers)
    assert {name: v.score for name, v in found.items()} == {str(case.id): case.values[1] for case in OUTPUTS}


STATES = {
    "cp d/a.txt e/c.txt": 0,  # the folder e is not there
    "mkdir e && cp d/a.txt e/c.txt": 1,
    "mkdir e; cat d/a.txt | tee e/c.txt": 1,
    "mkdir e; ln -s ../d/a.txt e/c.txt": 0,
    "mkdir e; mv d/a.txt e/c.txt": 0,
    "mkdir e e/more; cp d/a.txt e/c.txt": 0,
    "mkdir e; cp d/b.log e/c.txt": 0,
    ":": 0,
}


def test_final_states() -> None:
    found = judge_answers(one(files_after={**FILES, "e/c.txt": FILES["d/a.txt"]}), {a: a for a in STATES})
    assert {name: v.score for name, v in found.items()} == STATES


def test_folders_and_emptied_trees() -> None:
    made = judge_answers(one(directories_after=["p/q"]), {"deep": "mkdir -p p/q", "half": "mkdir p", "not": ":"})
    assert [v.score for v in made.values()] == [1, 0, 0]
    # A folder whose last file is deleted may stay or go.
    gone = judge_answers(one(files_after={}), {"files": "rm d/*", "folder": "rm -r d", "one": "rm d/a.txt"})
    assert [v.score for v in gone.values()] == [1, 1, 0]


def test_lines_in_any_order() -> None:
    lines = {"as-is": "echo a; echo b", "swapped": "echo b; echo a", "twice": "echo a; echo a"}
    assert [v.score for v in judge_answers(one(stdout="b\na\n", ordered=False), lines).values()] == [1, 1, 0]
    assert [v.score for v in judge_answers(one(stdout="b\na\n"), lines).values()] == [0, 1, 0]


HOSTILE = [
    "while true; do :; done",
    "sleep 100",
    ":(){ :|:& };:",
    "yes",
    "dd if=/dev/zero of=big bs=1M count=100000",
    "rm -rf --no-preserve-root / ~ .",
    "kill -9 -1",
    "cat /etc/shadow > /dev/null && echo 2",
    "exec 3<>/dev/tcp/127.0.0.1/22 && echo 2",
]


def test_hostile_commands_score_zero_and_the_next_item_is_judged() -> None:
    found = judge_answers(one(stdout="2\n"), {**{answer: answer for answer in HOSTILE}, "good": "echo 2"})
    assert found.pop("good").score == 1
    assert {name: v.score for name, v in found.items()} == dict.fromkeys(HOSTILE, 0.0)
    assert found["sleep 100"].reason == "ended by the limit on time"
