from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from cycleqd.api.tasks import PythonTestsEvaluator
from cycleqd_runner.tasks.contract import Evaluator
from cycleqd_runner.tasks.python_tests import python_tests_evaluator
from tests.runner.tasks.support import judge_all, judge_answers


def built(item: dict[str, object], *, extra_tests: bool = True) -> Evaluator:
    spec = PythonTestsEvaluator(type="PythonTests", data="items.jsonl", extra_tests=extra_tests)
    return python_tests_evaluator(spec, json.dumps(item).encode())


def one(**fields: object) -> Evaluator:
    return built({"id": "one", "prompt": "f", "tests": ["assert f(1) == 2", "assert f(2) == 3"], **fields})


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


MBPP: dict[str, object] = {
    "text": "Write f.",
    "code": "def f(x):\r\n    return x + 1",
    "task_id": 7,
    "test_setup_code": "",
    "test_list": ["assert f(1) == 2"],
    "challenge_test_list": ["assert f(10) == 11"],
}


def test_mbpp_items_show_their_tests_and_hide_the_extra_ones() -> None:
    (item,) = built(MBPP).items()
    assert item.id == "mbpp-7"
    assert item.pool == "any"
    assert item.payload["prompt"] == "Write f.\nThe code must pass these tests:\nassert f(1) == 2"
    assert item.payload["gold"] == GOOD


def test_extra_tests_are_run_unless_switched_off() -> None:
    answer = {"narrow": "def f(x):\n    return 2"}
    assert judge_answers(built(MBPP), answer)["narrow"].score == 0
    assert judge_answers(built(MBPP, extra_tests=False), answer)["narrow"].score == 1
    plus: dict[str, object] = {**MBPP, "challenge_test_list": [], "plus_test_list": ["assert f(3) == 4"]}
    assert judge_answers(built(plus), answer)["narrow"].score == 0


def test_the_sanitized_form_of_mbpp_is_read_too() -> None:
    line: dict[str, object] = {
        "prompt": "Write f.",
        "task_id": "8",
        "test_imports": ["import math"],
        "test_list": ["assert f(1) == math.e"],
    }
    (item,) = built(line).items()
    assert (item.id, item.payload["setup"]) == ("mbpp-8", "import math")


@pytest.mark.skipif(
    "CYCLEQD_DATA" not in os.environ, reason="CYCLEQD_DATA (folder with mbpp/mbpp-train.jsonl) is unset"
)
def test_mbpp_itself_is_read_and_its_own_code_passes() -> None:
    path = Path(os.environ["CYCLEQD_DATA"], "mbpp", "mbpp-train.jsonl")
    spec = PythonTestsEvaluator(type="PythonTests", data=str(path))
    evaluator = python_tests_evaluator(spec, path.read_bytes())
    assert len(evaluator.items()) == 384
    items = evaluator.items()[::6]
    verdicts = judge_all(evaluator, items, lambda item: str(item.payload["gold"]))
    wrong = {item.id: v.reason for item, v in zip(items, verdicts, strict=True) if v.score != 1}
    assert not wrong
