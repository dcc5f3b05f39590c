"""Who is in the conformance suite. An evaluator joins with a row: how to make it, who plays it right, who attacks."""

from __future__ import annotations

import functools
import json
import shutil
from collections.abc import Callable, Sequence

import pytest

from cycleqd.api.tasks import (
    AgentBenchDbEvaluator,
    AgentBenchOsEvaluator,
    EvaluatorBase,
    PythonTestsEvaluator,
    ShellEvaluator,
    SqlEvaluator,
)
from cycleqd_runner.tasks.agentbench_db import AgentBenchDb
from cycleqd_runner.tasks.agentbench_db.items import parse_line
from cycleqd_runner.tasks.agentbench_db.mysql import MySql
from cycleqd_runner.tasks.agentbench_db.private_server import PROGRAMS, PrivateServer
from cycleqd_runner.tasks.contract import Evaluator, Item
from cycleqd_runner.tasks.items import read_lines
from cycleqd_runner.tasks.registry import make_evaluator
from tests.docs.pages import ROOT, samples
from tests.runner.tasks import conformance_benchmarks as benchmarks
from tests.runner.tasks import db_plays, lm_eval_tasks, os_problems, python_problems
from tests.runner.tasks.conformance import Decoy, Subject
from tests.runner.tasks.support import Scripted

OS_ITEMS = [
    {"description": "Say yes.", "evaluation": {"match": "yes"}},
    {
        "description": "How many files are in /srv?",
        "create": {"init": "touch /srv/a /srv/b"},
        "start": "sleep 76542 &",
        "evaluation": {"check": [None, '[ "$1" = "$(printf %s "$2")" ]'], "example": "ls /srv | wc -l"},
    },
    {
        "description": "Which is the system's name?",
        "evaluation": {
            "check": {"language": "python", "code": "import os, sys\nexit(sys.argv[1] != os.uname().sysname)"},
            "example": "uname -s",
        },
    },
]


def made(spec: EvaluatorBase, *lines: object) -> Callable[[], Evaluator]:
    """Return what makes an evaluator of a manifest's block and of the items in its file."""
    data = "\n".join(json.dumps(line) for line in lines).encode()
    return lambda: make_evaluator(spec, lambda _: data)


def payload_gold(item: Item) -> Scripted:
    """Answer with the gold answer that the item itself has."""
    return Scripted(str(item.payload["gold"]))


def on_mariadb() -> Evaluator:
    """Make the evaluator with the server that all tests here share."""
    if not all(shutil.which(program, path="/usr/sbin:/usr/bin:/bin") for program in PROGRAMS):
        pytest.skip("no MariaDB here (mariadb-server)")
    spec = AgentBenchDbEvaluator(type="AgentBenchDB", data="db.jsonl")
    return AgentBenchDb(spec, read_lines(db_plays.FILE, spec.data, parse_line), _mariadb())


@functools.cache
def _mariadb() -> MySql:
    return MySql(PrivateServer())


def lesson_text() -> str:
    """Return the source of the evaluator that docs/evaluators.md teaches to write."""
    page = samples(ROOT / "docs" / "evaluators.md", "python")
    (text,) = (sample.text for sample in page if sample.section == "Writing one")
    return text


def lesson() -> Evaluator:
    """Make the evaluator that docs/evaluators.md teaches to write."""
    written: dict[str, Callable[[], Evaluator]] = {}
    exec(compile(lesson_text(), "docs/evaluators.md", "exec"), written)
    return written["Expressions"]()


def sql_attacks(decoy: Decoy) -> Sequence[str]:
    return [
        f"ATTACH DATABASE '{decoy.new}' AS new; CREATE TABLE new.t (a)",
        f"ATTACH DATABASE '{decoy.path}' AS old; SELECT * FROM old.t",
        f"VACUUM INTO '{decoy.new}'",
        f"SELECT readfile('{decoy.path}'), writefile('{decoy.new}', 'theirs')",
        f"SELECT load_extension('{decoy.path}')",
        "PRAGMA temp_store_directory = '/tmp'",
        "WITH RECURSIVE r(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM r) SELECT n FROM r",
    ]


def bash_attacks(decoy: Decoy) -> Sequence[str]:
    return [
        f"echo theirs > {decoy.path}",
        f"rm -f {decoy.path}; touch {decoy.new}",
        f"cat {decoy.path} /proc/{decoy.worker}/environ; env",
        f"mkdir -p d; ln -s {decoy.path} d/link; echo theirs > d/link; cat d/link",
        f"setsid nohup sleep {decoy.seconds} >/dev/null 2>&1 & sleep {decoy.seconds} & exit 0",
        f"kill -9 {decoy.worker}",
        "echo " + "A" * 100_000,
    ]


def python_attacks(decoy: Decoy) -> Sequence[str]:
    return [
        f"open({str(decoy.path)!r}, 'w').write('theirs')",
        f"import os\nos.remove({str(decoy.path)!r})",
        f"import os\nos.mkdir({str(decoy.new)!r})",
        f"raise Exception(open({str(decoy.path)!r}).read())",
        f"raise Exception(open('/proc/{decoy.worker}/environ').read())",
        "import os\nraise Exception(str(dict(os.environ)))",
        f"import subprocess\nsubprocess.Popen(['sleep', {decoy.seconds!r}], start_new_session=True)",
        f"import os, signal\nos.kill({decoy.worker}, signal.SIGKILL)",
        'import os\nfor d in range(9):\n    try: os.write(d, b\'{"proof": 1, "broken": 1}\')\n    except OSError: pass',
    ]


def db_attacks(decoy: Decoy) -> Sequence[str]:
    return [
        db_plays.operation(statement)
        for statement in (
            f"SELECT LOAD_FILE('{decoy.path}')",
            f"SELECT 'theirs' INTO OUTFILE '{decoy.new}'",
            f"LOAD DATA INFILE '{decoy.path}' INTO TABLE {db_plays.TABLE}",
            f"LOAD DATA LOCAL INFILE '{decoy.path}' INTO TABLE {db_plays.TABLE}",
            f"ATTACH DATABASE '{decoy.new}' AS new",
            f"SELECT readfile('{decoy.path}')",
            "DROP DATABASE mysql",
            f"DROP TABLE {db_plays.TABLE}",
        )
    ]


def expression_attacks(decoy: Decoy) -> Sequence[str]:
    return [
        f"open({str(decoy.path)!r}, 'w').write('theirs')",
        f"__import__('os').mkdir({str(decoy.new)!r})",
        "__import__('os')._exit(0)",
        f"__import__('subprocess').Popen(['sleep', {decoy.seconds!r}], start_new_session=True)",
    ]


def os_attacks(decoy: Decoy) -> Sequence[str]:
    return [os_problems.type_(attack) for attack in bash_attacks(decoy)]


SUBJECTS = {
    "Sql": Subject("Sql", made(SqlEvaluator(type="Sql")), payload_gold, sql_attacks),
    "Shell": Subject("Shell", made(ShellEvaluator(type="Shell")), payload_gold, bash_attacks),
    "PythonTests": Subject("PythonTests", made(PythonTestsEvaluator(type="PythonTests")), payload_gold, python_attacks),
    "PythonTests-MBPP": Subject(
        "PythonTests",
        made(
            PythonTestsEvaluator(type="PythonTests", data="mbpp.jsonl"),
            python_problems.MBPP,
            python_problems.SANITIZED,
            {**python_problems.MBPP, "task_id": 9},
        ),
        payload_gold,
        python_attacks,
    ),
    "PythonTests-EvalPlus": Subject(
        "PythonTests",
        made(
            PythonTestsEvaluator(type="PythonTests", data="plus.jsonl"),
            python_problems.MBPP_PLUS,
            python_problems.HUMANEVAL_PLUS,
            {**python_problems.MBPP_PLUS, "task_id": "Mbpp/1001"},
        ),
        payload_gold,
        python_attacks,
    ),
    "AgentBenchDB-MySQL": Subject("AgentBenchDB", on_mariadb, db_plays.gold, db_attacks, sandbox=False),
    "AgentBenchDB-SQLite": Subject(
        "AgentBenchDB",
        lambda: make_evaluator(
            AgentBenchDbEvaluator(type="AgentBenchDB", data="db.jsonl", server="SQLite"), lambda _: db_plays.FILE
        ),
        db_plays.gold,
        db_attacks,
    ),
    "AgentBenchOS": Subject(
        "AgentBenchOS",
        lambda: make_evaluator(
            AgentBenchOsEvaluator(type="AgentBenchOS", data="os.json"), lambda _: json.dumps(OS_ITEMS).encode()
        ),
        os_problems.gold,
        os_attacks,
        machines=True,
    ),
    "LmEval-generated": Subject(
        "LmEval",
        benchmarks.lm_eval(lm_eval_tasks.GENERATION, lm_eval_tasks.SUMS),
        benchmarks.adds,
        benchmarks.text_attacks,
        benchmarks.goes_on,
        sandbox=False,
    ),
    "LmEval-choices": Subject(
        "LmEval",
        benchmarks.lm_eval(lm_eval_tasks.CHOICES, lm_eval_tasks.CAPITALS),
        benchmarks.knows_capitals,
        None,
        benchmarks.knows_none,
        sandbox=False,
    ),
    "Inspect-dialogue": Subject(
        "Inspect", benchmarks.inspect("dialogue"), benchmarks.counts, benchmarks.text_attacks, sandbox=False
    ),
    "Inspect-choices": Subject(
        "Inspect", benchmarks.inspect("options"), benchmarks.chooses, benchmarks.text_attacks, sandbox=False
    ),
    "Container": Subject(
        "Container", benchmarks.container, payload_gold, benchmarks.text_attacks, sandbox=False, in_turn=False
    ),
    "docs-evaluators.md": Subject("", lesson, lambda item: Scripted(str(item.payload["value"])), expression_attacks),
}
"""By the name that the tests have. A type may have several rows: formats, servers."""
