"""Items and answers that leave as much behind as they can: processes that hide, files, folders, tables, transactions.

What is right of it must still score 1, and nothing of it may be left when its item has been judged.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.judging_db import items as cities
from cycleqd.api.tasks import (
    AgentBenchDbEvaluator,
    AgentBenchOsEvaluator,
    ContainerEvaluator,
    PythonTestsEvaluator,
)
from cycleqd_runner.chat import Answer, Message, Sampling
from cycleqd_runner.tasks.agentbench_db.databases import Server
from cycleqd_runner.tasks.agentbench_db.evaluator import AgentBenchDb
from cycleqd_runner.tasks.agentbench_db.items import DbItem
from cycleqd_runner.tasks.agentbench_os import agentbench_os_evaluator
from cycleqd_runner.tasks.container.docker import Docker
from cycleqd_runner.tasks.container.evaluator import Container, ContainerItem
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

PROGRAM = """\
import json, os
os.makedirs("a/b")
open("a/b/left", "w").write("x" * 10_000)
os.symlink("/", "root")
os.chmod("a", 0)
with open(os.environ["CYCLEQD_ITEMS"]) as items, open(os.environ["CYCLEQD_RESULTS"], "w") as results:
    for item in map(json.loads, items):
        if item["fails"]:
            raise SystemExit(3)
        results.write(json.dumps({"id": item["id"], "score": 1}) + "\\n")
"""
"""What a container runs: it leaves files and a closed folder, and fails for some items."""


@dataclass(frozen=True)
class Play:
    """One item of an evaluator, what is said to it, and what that scores; None: it cannot be scored."""

    item: Item
    says: tuple[str, ...]
    score: float | None


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


def containers(docker: Path) -> Callable[[int], Plays]:
    """Return what makes items whose program is started by ``docker``, one run an item."""

    def plays(count: int) -> Plays:
        lines = [ContainerItem.model_validate({"id": n, "fails": n % 4 == 3}) for n in range(count)]
        command = (sys.executable, "-I", "-S", "-c", PROGRAM)
        spec = ContainerEvaluator(type="Container", image="untidy", command=command, data="made here")
        evaluator = Container(spec, lines, Docker(str(docker), spec.image, spec.command))
        return evaluator, [Play(item, (), None if item.payload["fails"] else 1.0) for item in evaluator.items()]

    return plays


def _in_turn(answers: Sequence[tuple[str, float]]) -> Iterator[tuple[str, float]]:
    while True:
        yield from answers
