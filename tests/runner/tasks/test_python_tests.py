from __future__ import annotations

import json

import pytest

from cycleqd.api.tasks import PythonTestsEvaluator
from cycleqd.errors import BadData
from cycleqd_runner.tasks.contract import Evaluator
from cycleqd_runner.tasks.python_tests import python_tests_evaluator
from tests.runner.tasks.support import judge_answers


def one(**fields: object) -> Evaluator:
    item = {"id": "one", "prompt": "f", "tests": ["assert f(1) == 2", "assert f(2) == 3"], **fields}
    spec = PythonTestsEvaluator(type="PythonTests", data="items.jsonl")
    return python_tests_evaluator(spec, json.dumps(item).encode())


GOOD = "def f(x):\n    return x + 1"
ANSWERS = [
    pytest.param(GOOD, 1, "None", id="right"),
    pytest.param(f"Here it is:\n```python\n{GOOD}\n```\nEnjoy.", 1, "None", id="fenced"),
    pytest.param("def f(x):\n    return 2", 0, "failed: assert f(2) == 3", id="one-test-fails"),
    pytest.param("def g(x): return x + 1", 0, "NameError: name 'f' is not defined", id="other-name"),
    pytest.param("def f(x) return x", 0, "SyntaxError", id="no-python"),
    pytest.param("from __future__ import annotations\n" + GOOD, 1, "None", id="future-import"),
    pytest.param(GOOD + "\nprint(f(1))", 1, "None", id="prints"),
    pytest.param(GOOD + "\nprint('x' * 10**7)", 1, "None", id="prints-a-lot"),
    pytest.param(GOOD + "\nif __name__ == '__main__':\n    1 / 0", 1, "None", id="main-block-not-run"),
]


def test_answers() -> None:
    found = judge_answers(one(), {str(case.id): str(case.values[0]) for case in ANSWERS})
    for case in ANSWERS:
        verdict = found[str(case.id)]
        assert verdict.score == case.values[1], case.id
        assert str(case.values[2]) in str(verdict.reason), case.id


HOSTILE = {
    "exit-0": "import sys; sys.exit(0)",
    "exit-in-the-function": "def f(x):\n    raise SystemExit(0)",
    "os-exit": "import os; os._exit(0)",
    "claims-success": 'print(\'{"proof": "passed"}\')\nimport os; os._exit(0)',
    "claims-to-descriptors": "import os\nfor d in (1, 2):\n    os.write(d, b'{\"proof\": 1}')\nos._exit(0)",
    "repeats-standard-input": "import sys, os\ntext = sys.stdin.read()\nos.write(1, text.encode())\nos._exit(0)",
    "reads-input": "x = input()\nprint(x)",
    "no-list": "import os\nfor d in range(3, 9):\n    try: os.write(d, b'[]')\n    except OSError: pass\nos._exit(0)",
    "forges-a-proof": """
import os
for d in range(3, 20):
    try: os.write(d, b'{"proof": "guessed"}')
    except OSError: pass
os._exit(0)""",
    "endless": "while True: pass",
    "endless-in-the-function": "def f(x):\n    while True: pass",
    "swallows-everything": "def f(x):\n    try:\n        return f(x)\n    except BaseException:\n        return f(x)",
    "memory": "x = [0] * 10**10",
    "kills-its-parents": "import os, signal\nos.kill(os.getppid(), signal.SIGKILL)\nos.kill(-1, signal.SIGKILL)",
    "forks": "import os\nwhile True: os.fork()",
    "replaces-assertions": "class AssertionError(BaseException): pass\ndef f(x): raise AssertionError",
    "unprintable-error": "class E(Exception):\n    def __str__(self): raise SystemExit\ndef f(x): raise E",
    "replaces-json-and-hash": "import json, hashlib\njson.dumps = hashlib.sha256 = lambda *a: 'x'",
}


def test_hostile_answers_score_zero_and_the_next_item_is_judged() -> None:
    found = judge_answers(one(), {**HOSTILE, "good": GOOD})
    assert found.pop("good").score == 1
    assert {name: v.score for name, v in found.items()} == dict.fromkeys(HOSTILE, 0.0)
    assert all(v.reason for v in found.values())
    assert found["endless"].reason == "ended by the limit on time"


def test_setup_code_may_use_what_the_answer_defines() -> None:
    evaluator = one(setup="import math\nvalue = f(1)", tests=["assert math.isclose(value, 2)"])
    assert judge_answers(evaluator, {"good": GOOD})["good"].score == 1


def test_tests_may_ask_a_reference_that_the_answer_cannot_reach() -> None:
    evaluator = one(
        reference="import random\n\ndef f(x):\n    return x + 1",
        tests=["assert all(f(x) == reference.f(x) for x in range(100))"],
    )
    answers = {
        "right": GOOD,
        "wrong": "def f(x):\n    return x + (x < 99)",
        "asks it": "def f(x):\n    return reference.f(x)",
        "asks it at once": "f = reference.f",
        "replaces it": "class reference:\n    f = staticmethod(lambda x: 0)\ndef f(x):\n    return 0",
    }
    scores = {name: verdict.score for name, verdict in judge_answers(evaluator, answers).items()}
    # What tests may see, the answer's functions see too; only before the tests it is not there.
    assert scores == {"right": 1, "wrong": 0, "asks it": 1, "asks it at once": 0, "replaces it": 0}


def test_a_reference_that_fails_is_not_the_models_fault() -> None:
    with pytest.raises(BadData, match=r"^PythonTests item one: its own reference fails \(SystemExit: 3\): correct it"):
        judge_answers(one(reference="raise SystemExit(3)"), {"any": GOOD})
