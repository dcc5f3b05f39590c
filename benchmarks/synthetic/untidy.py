"""Items and answers that leave as much behind as they can: processes that hide, files, folders, tables, transactions.

What is right of it must still score 1, and nothing of it may be left when its item has been judged.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from benchmarks.judging_db import items as cities
from cycleqd.api.tasks import AgentBenchDbEvaluator, AgentBenchOsEvaluator, PythonTestsEvaluator
from cycleqd_runner.chat import Answer, Message, Sampling
from cycleqd_runner.tasks.agentbench_db.databases import Server
from cycleqd_runner.tasks.agentbench_db.evaluator import AgentBenchDb
from cycleqd_runner.tasks.agentbench_db.items import DbItem
from cycleqd_runner.tasks.agentbench_os import agentbench_os_evaluator
from cycleqd_runner.tasks.contract import Evaluator, Item
from cycleqd_runner.tasks.python_tests import python_tests_evaluator

MARK = "27182818"
"""Seconds that processes which are left sleep, by which they are found."""

DAEMON = f"""\
import os
open("left", "w").write("x" * 10_000)
os.makedirs("a/b")
os.chmod("a", 0)
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        os.execvp("sleep", ["sleep", "{MARK}"])
    os._exit(0)
"""
RIGHT, WRONG = "def f(a):\n    return a + 1\n", "def f(a):\n    return a - 1\n"
CODING = ((RIGHT, 1.0), (DAEMON + RIGHT, 1.0), (DAEMON + WRONG, 0.0), (DAEMON + "os._exit(0)\n", 0.0))
"""Answers and what they score."""

STATEMENTS = ("START TRANSACTION", "CREATE TABLE mine (a INT)", "INSERT INTO mine VALUES (1)")
"""Typed before what an item asks for; none of them ends well or badly for it."""

SHELL = f"""\
(setsid sleep {MARK} >/dev/null 2>&1 &)
nohup bash -c 'trap "" TERM HUP; sleep {MARK}' &
mkdir -p /srv/a/b; chmod 000 /srv/a; mkfifo /tmp/pipe; ln -s / /tmp/root; head -c 100000 /dev/zero >/var/tmp/zeros
cd /home; ls -A | wc -l
"""
OS_ITEM = {
    "description": "How many files are in /home?",
    "create": {"init": "touch /home/a /home/b /home/.c"},
    "start": f"sleep {MARK} &",
    "evaluation": {
        "check": [None, {"language": "python", "code": "from sys import argv\nexit(int(argv[1]) != int(argv[2]))"}],
        "example": "ls -A /home | wc -l",
    },
}


@dataclass(frozen=True)
class Play:
    """One item of an evaluator, what is said to it, and what that scores."""

    item: Item
    says: tuple[str, ...]
    score: float


class Says:
    """A model that says one thing after another, at once."""

    def __init__(self, says: Sequence[str]) -> None:
        self._says = iter(says)

    async def chat(self, messages: Sequence[Message], sampling: Sampling) -> Answer:
        """Say what comes next."""
        del messages, sampling  # it has made up its mind
        return Answer(next(self._says), 1, 1, "stop")


Plays = tuple[Evaluator, list[Play]]


def coding(count: int) -> Plays:
    """Return functions to write, in MBPP's format."""
    lines = [{"task_id": n, "text": "Add one.", "test_list": [f"assert f({n}) == {n + 1}"]} for n in range(count)]
    spec = PythonTestsEvaluator(type="PythonTests", data="made here")
    evaluator = python_tests_evaluator(spec, "\n".join(map(json.dumps, lines)).encode())
    pairs = zip(evaluator.items(), _in_turn(CODING), strict=False)
    return evaluator, [Play(item, (code,), score) for item, (code, score) in pairs]


def databases(server: Server) -> Callable[[int], Plays]:
    """Return what makes questions about a table and changes of it."""

    def plays(count: int) -> Plays:
        evaluator = AgentBenchDb(AgentBenchDbEvaluator(type="AgentBenchDB", data="made here"), cities()[:count], server)
        return evaluator, [_database_play(item) for item in evaluator.items()]

    return plays


def _database_play(item: Item) -> Play:
    question = DbItem.model_validate(item.payload)
    typed = (*STATEMENTS, *(question.label if question.category != "SELECT" else ()))
    operations = (f"Action: Operation\n```sql\n{statement}\n```" for statement in typed)
    return Play(item, (*operations, f"Action: Answer\nFinal Answer: {json.dumps(list(question.label))}"), 1.0)


def operating_system(count: int) -> Plays:
    """Return the same question again and again."""
    data = json.dumps([OS_ITEM] * count).encode()
    evaluator = agentbench_os_evaluator(AgentBenchOsEvaluator(type="AgentBenchOS", data="made here"), lambda _: data)
    says = (f"Act: bash\n\n```bash\n{SHELL}```", "Act: answer(3)")
    return evaluator, [Play(item, says, 1.0) for item in evaluator.items()]


def _in_turn(answers: Sequence[tuple[str, float]]) -> Iterator[tuple[str, float]]:
    while True:
        yield from answers
