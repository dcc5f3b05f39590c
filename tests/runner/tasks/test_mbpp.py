"""MBPP: how its lines are read and put, and that the real problems tell their own code from a changed one."""

from __future__ import annotations

import ast
import asyncio
import json
import os
from pathlib import Path

import pytest

from cycleqd.api.tasks import PythonTestsEvaluator
from cycleqd_runner.tasks.contract import Evaluator, Item, Setting
from cycleqd_runner.tasks.python_tests import python_tests_evaluator
from tests.runner.tasks.python_problems import MBPP, MBPP_PLUS, SANITIZED
from tests.runner.tasks.support import LIMITS, NoSandbox, Scripted, judge_all, judge_answers

NARROW = {"narrow": "def f(x):\n    return 2"}


PAPER = (
    "You are an exceptionally intelligent coding assistant that consistently delivers accurate and reliable responses "
    "to user instructions."
)
OWN = {"id": "one", "prompt": "Write f.", "tests": ["assert f(1) == 2"]}


def built(item: dict[str, object], *, extra_tests: bool = True, system_prompt: str | None = None) -> Evaluator:
    spec = PythonTestsEvaluator(
        type="PythonTests", data="items.jsonl", extra_tests=extra_tests, system_prompt=system_prompt
    )
    return python_tests_evaluator(spec, json.dumps(item).encode())


def test_items_show_their_tests_as_the_papers_authors_do_and_hide_the_extra_ones() -> None:
    (item,) = built(MBPP).items()
    assert item.id == "mbpp-7"
    assert item.pool == "any"
    asked = "Write f. Your code should satisfy the following assertion:\n```python\nassert f(1) == 2\n```"
    assert item.payload["prompt"] == asked
    assert item.payload["gold"] == "def f(x):\n    return x + 1"


def test_items_are_asked_once_and_greedily() -> None:
    evaluator = built(MBPP)
    model = Scripted("")
    asyncio.run(evaluator.judge(evaluator.items()[0], model, Setting(NoSandbox(), LIMITS)))
    ((_, sampling),) = model.asked
    assert (sampling.temperature, sampling.stop) == (0.0, ())


@pytest.mark.parametrize(
    ("item", "chosen", "told"),
    [
        pytest.param(MBPP, None, [PAPER], id="MBPP"),
        pytest.param(SANITIZED, None, [PAPER], id="sanitized MBPP"),
        pytest.param(MBPP_PLUS, None, [PAPER], id="EvalPlus"),
        pytest.param(OWN, None, ["Answer with Python."], id="this product's form"),
        pytest.param({**OWN, "system_prompt": "Be brief."}, None, ["Be brief."], id="with a prompt of its own"),
        pytest.param(MBPP, "Be brief.", ["Be brief."], id="the manifest's word"),
        pytest.param(MBPP, "", [], id="none"),
    ],
)
def test_each_form_is_asked_with_its_own_system_prompt(
    item: dict[str, object], chosen: str | None, told: list[str]
) -> None:
    evaluator = built(item, system_prompt=chosen)
    model = Scripted("")
    asyncio.run(evaluator.judge(evaluator.items()[0], model, Setting(NoSandbox(), LIMITS)))
    ((messages, _),) = model.asked
    assert [message.content for message in messages if message.role == "system"] == told
    assert messages[-1].role == "user"


def test_extra_tests_are_run_unless_switched_off() -> None:
    assert judge_answers(built(MBPP), NARROW)["narrow"].score == 0
    assert judge_answers(built(MBPP, extra_tests=False), NARROW)["narrow"].score == 1
    plus: dict[str, object] = {**MBPP, "challenge_test_list": [], "plus_test_list": ["assert f(3) == 4"]}
    assert judge_answers(built(plus), NARROW)["narrow"].score == 0


def test_the_sanitized_form_is_read_too() -> None:
    (item,) = built(SANITIZED).items()
    assert (item.id, item.payload["setup"]) == ("mbpp-8", "import math")


# The real problems


def data() -> Path:
    if "CYCLEQD_DATA" not in os.environ:
        pytest.skip("CYCLEQD_DATA (folder with mbpp/mbpp-train.jsonl) is unset")
    return Path(os.environ["CYCLEQD_DATA"], "mbpp", "mbpp-train.jsonl")


@pytest.fixture(scope="module")
def mbpp() -> Evaluator:
    evaluator = python_tests_evaluator(PythonTestsEvaluator(type="PythonTests", data="mbpp"), data().read_bytes())
    assert len(evaluator.items()) == 384
    return evaluator


def changed(item: Item) -> str:
    """Return the problem's own code where all that its tests call returns something else: unequal, untrue if true."""
    code = str(item.payload["gold"])
    defined = {node.name for node in ast.parse(code).body if isinstance(node, ast.FunctionDef | ast.ClassDef)}
    tests = ast.walk(ast.parse("\n".join(item.payload["tests"])))  # type: ignore[arg-type]
    called = sorted(defined & {node.id for node in tests if isinstance(node, ast.Name)})
    assert called, item.id
    wrapped = "".join(f"{name} = _changed({name})\n" for name in called)
    return f"""{code}

def _changed(function):
    def other(*arguments):
        value = function(*arguments)
        return None if value else [value]
    return other

{wrapped}"""


def test_the_code_of_each_problem_passes_its_tests(mbpp: Evaluator) -> None:
    verdicts = judge_all(mbpp, mbpp.items(), lambda item: str(item.payload["gold"]))
    assert {item.id: v.reason for item, v in zip(mbpp.items(), verdicts, strict=True) if v.score != 1} == {}


@pytest.mark.filterwarnings("ignore:invalid escape sequence")  # in the problems' own code
def test_the_code_of_each_problem_fails_when_it_is_changed(mbpp: Evaluator) -> None:
    verdicts = judge_all(mbpp, mbpp.items(), changed)
    assert [item.id for item, verdict in zip(mbpp.items(), verdicts, strict=True) if verdict.score != 0] == []
    # It is the tests that object, not Python.
    assert not [verdict.reason for verdict in verdicts if str(verdict.reason).startswith(("SyntaxError", "NameError"))]
