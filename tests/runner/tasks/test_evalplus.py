"""EvalPlus' format, with problems of our own in it: what is read, and that its rules of comparison hold."""

from __future__ import annotations

import json
from typing import Any

import pytest

from cycleqd.api.tasks import PythonTestsEvaluator
from cycleqd.errors import BadData
from cycleqd_runner.tasks.contract import Evaluator
from cycleqd_runner.tasks.evalplus import SHAPES
from cycleqd_runner.tasks.inside.evalplus import Problem, is_close, shaped
from cycleqd_runner.tasks.python_tests import python_tests_evaluator
from tests.runner.tasks.python_problems import HUMANEVAL_PLUS, MBPP_PLUS
from tests.runner.tasks.support import judge_answers


def built(*problems: dict[str, Any], extra_tests: bool = True) -> Evaluator:
    spec = PythonTestsEvaluator(type="PythonTests", data="plus.jsonl", extra_tests=extra_tests)
    return python_tests_evaluator(spec, "\n".join(map(json.dumps, problems)).encode())


def scores(evaluator: Evaluator, answers: dict[str, str]) -> dict[str, tuple[float | None, str | None]]:
    return {name: (v.score, v.reason) for name, v in judge_answers(evaluator, answers).items()}


def test_problems_are_put_as_the_papers_authors_put_them_and_hide_their_inputs() -> None:
    mbpp, human = built(MBPP_PLUS, HUMANEVAL_PLUS).items()
    assert (mbpp.id, human.id) == ("Mbpp/1000", "HumanEval/1000")
    assert mbpp.payload["prompt"] == (
        "Write a function to halve numbers. Your code should satisfy the following assertion:\n"
        "```python\nassert halves([2, 4]) == [1.0, 2.0]\n```"
    )
    assert human.payload["prompt"] == (
        f"Write a solution to the following problem:\n```python\n{HUMANEVAL_PLUS['prompt'].strip()}\n```"
    )


def test_answers_are_compared_with_the_problems_own_solution() -> None:
    found = scores(
        built(MBPP_PLUS),
        {
            "the solution": MBPP_PLUS["canonical_solution"],
            "another way": "halves = lambda numbers: list(map(lambda n: n * 0.5, numbers))",
            "nearly, as floats are": "def halves(numbers):\n    return [n / 2 + 5e-7 for n in numbers]",
            "not nearly enough": "def halves(numbers):\n    return [n / 2 + 5e-6 for n in numbers]",
            "base inputs only": "def halves(numbers):\n    return [n // 2 / 1 for n in numbers]",
            "another type": "def halves(numbers):\n    return tuple(n / 2 for n in numbers)",
            "one too few": "def halves(numbers):\n    return [n / 2 for n in numbers[1:]]",
            "another name": "def half(numbers):\n    return [n / 2 for n in numbers]",
            "nothing": "def halves(numbers): ...",
        },
    )
    assert {name for name, (score, _) in found.items() if score} == {
        "the solution",
        "another way",
        "nearly, as floats are",
    }
    assert found["not nearly enough"] == (0.0, "failed: assert reference.base(0, halves)")
    assert found["base inputs only"] == (0.0, "failed: assert reference.extra(0, halves)")
    assert "name 'halves' is not defined" in str(found["another name"][1])


def test_extra_inputs_can_be_switched_off() -> None:
    narrow = {"narrow": "def halves(numbers):\n    return [n // 2 / 1 for n in numbers]"}
    assert scores(built(MBPP_PLUS, extra_tests=False), narrow)["narrow"] == (1.0, None)


def test_neither_solution_nor_answer_spoils_the_inputs_of_the_other() -> None:
    whole = HUMANEVAL_PLUS["prompt"] + HUMANEVAL_PLUS["canonical_solution"]
    answers = {
        "the solution, which empties its argument": whole,
        "another": "def total(numbers):\n    return sum(numbers)",
        "wrong on the extra input": "def total(numbers):\n    return sum(map(abs, numbers))",
    }
    assert [score for score, _ in scores(built(HUMANEVAL_PLUS), answers).values()] == [1, 1, 0]


def test_an_answer_cannot_change_what_is_right() -> None:
    lazy = "def halves(numbers):\n    return None\n"
    answers = {
        "replaces deepcopy": f"import copy\ncopy.deepcopy = lambda x, memo=None: ([],)\n{lazy}",
        "replaces builtins": f"import builtins\nbuiltins.len = builtins.type = builtins.all = lambda *x: 0\n{lazy}",
        "replaces the reference": f"reference = type('R', (), dict(base=print, extra=print))\n{lazy}",
        "claims that the item is broken": "import os\nfor d in range(3, 20):\n"
        '    try: os.write(d, b\'{"proof": "guessed", "broken": "me"}\')\n    except OSError: pass\nos._exit(0)',
    }
    assert [score for score, _ in scores(built(MBPP_PLUS), answers).values()] == [0] * len(answers)


def test_a_problem_whose_own_solution_fails_is_not_the_models_fault() -> None:
    broken = {**MBPP_PLUS, "canonical_solution": "\ndef halves(numbers):\n    return numbers[99]\n"}
    with pytest.raises(
        BadData, match=r"PythonTests item Mbpp/1000: its own reference fails \(IndexError: .*\): correct"
    ):
        scores(built(broken), {"any": "def halves(numbers): ..."})


def test_large_inputs_are_judged() -> None:
    large = {**HUMANEVAL_PLUS, "plus_input": [[list(range(200_000))]]}
    assert scores(built(large), {"right": "def total(numbers):\n    return sum(numbers)"})["right"] == (1.0, None)


def test_a_file_without_extra_inputs_is_read() -> None:
    assert len(built({**HUMANEVAL_PLUS, "plus_input": {}}).items()[0].payload["tests"]) == 2  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"entry_point": "f(); import os"}, "line 1: entry_point: string should match pattern"),
        ({"task_id": "Other/1"}, "line 1: task_id: string should match pattern"),
        ({"base_input": []}, "line 1: base_input: value should have at least 1 item"),
        ({"base_input": [3]}, r"line 1: base_input\.0: input should be a valid list"),
    ],
)
def test_broken_problems_are_refused(change: dict[str, Any], said: str) -> None:
    with pytest.raises(BadData, match=said):
        built({**MBPP_PLUS, **change})


def test_a_number_of_too_many_digits_is_refused_in_one_sentence() -> None:
    line = json.dumps(MBPP_PLUS).replace("0.1", "9" * 5000).encode()
    with pytest.raises(BadData, match=r"^plus\.jsonl, line 1: not JSON \(Exceeds the limit .*\); expected one object"):
        python_tests_evaluator(PythonTestsEvaluator(type="PythonTests", data="plus.jsonl"), line)


# The rules of comparison, beside the sandbox


@pytest.mark.parametrize(
    ("shape", "arguments", "wanted"),
    [
        (".", [[1, [2]]], ([1, [2]],)),
        ("t", [[1, 2], [3]], ((1, 2), (3,))),
        ("lt", [[[1, 2], [3]]], ([(1, 2), (3,)],)),
        ("tt", [[[1, 2], [3]]], (((1, 2), (3,)),)),
        ("T", [[1, [2, [3]]], 4], ((1, (2, (3,))), 4)),
        ("t .", [[1], [2], 3], ((1,), [2], 3)),
        (". t", [[1], [2]], ([1], (2,))),
        ("dt .", [{"a": [1]}, 2], ({"a": (1,)}, 2)),
        ("ls", [[[1, 1], []]], ([{1}, {}],)),
        ("f c", ["1", "2j"], (1.0, 2j)),
    ],
)
def test_arguments_become_what_they_stand_for(shape: str, arguments: list[Any], wanted: tuple[Any, ...]) -> None:
    seen: list[object] = []
    problem = Problem("Mbpp", "f", "def f(*values): pass", shape, 0)
    problem.solve("base", [arguments])
    problem.agrees("base", 0, lambda *values: seen.append(values))
    assert seen == [wanted]
    assert [type(one) for one in seen[0]] == [type(one) for one in wanted]  # type: ignore[attr-defined]


def test_every_shape_has_letters_that_are_known() -> None:
    assert {letter for shape in SHAPES.values() for letter in shape} <= set(". tldsTfc")
    assert len(SHAPES) == 22 + 15 + 3 + 4 + 8 + 2 + 4 + 1 + 1 + 1 + 1
    assert shaped([[1]], "lt") == [(1,)]


@pytest.mark.parametrize(
    ("found", "wanted", "right"),
    [
        (1.0000001, 1.0, True),
        (1.1, 1.0, False),
        (float("inf"), float("inf"), True),
        (float("nan"), float("nan"), False),
        ([1, (2.0, 3.0)], [1, [2.0, 3.0]], True),
        ([1.0], [1.0, 1.0], False),
        ("1.0", 1.0, False),
        ([None], [1.0], False),
        (1 + 1e-8j, 1 + 0j, True),
    ],
)
def test_numbers_are_near_or_not(found: object, wanted: object, right: bool) -> None:
    assert is_close(found, wanted, 1e-6) is right


@pytest.mark.parametrize(
    ("task", "name", "solution", "arguments", "atol", "found", "right"),
    [
        ("Mbpp", "similar_elements", "(1, 2)", [], 0, [2, 1, 1], True),
        ("Mbpp", "similar_elements", "(1, 2)", [], 0, [1], False),
        ("Other", "similar_elements", "(1, 2)", [], 0, [2, 1], False),
        ("Mbpp", "check_str", "object()", [], 0, "a match", True),
        ("Mbpp", "check_str", "None", [], 0, "a match", False),
        ("Mbpp", "check_str", "None", [], 0, None, True),
        ("Mbpp", "check_str", "None", [], 0, False, True),
        ("Mbpp", "are_equivalent", "True", [1, 2], 0, False, True),
        ("Mbpp", "sum_div", "7", [8], 0, 0, True),
        ("Mbpp", "sum_div", "7", [8], 0, 1, False),
        ("Mbpp", "surface_Area", "33", [3, 4], 0, 35, True),
        ("Mbpp", "surface_Area", "33", [3, 4], 0, 34, False),
        ("Mbpp", "digit_distance_nums", "1", [1, 256], 0, 12, True),
        ("Mbpp", "digit_distance_nums", "1", [1, 256], 0, 11, False),
        ("HumanEval", "find_zero", "5", [[-4, 0, 1]], 1e-4, 2.00001, True),
        ("HumanEval", "find_zero", "5", [[-4, 0, 1]], 1e-4, 5, False),
        ("HumanEval", "f", "2.0", [], 0.01, 2.005, True),
        ("HumanEval", "f", "2.0", [], 0.01, 2, True),
        ("HumanEval", "f", "2.5", [], 0.6, 2, False),  # near, and of another type
        ("HumanEval", "f", "2", [], 0, 2.0000001, False),  # only floats are given room
    ],
)
def test_right_is_what_evalplus_calls_right(
    task: str, name: str, solution: str, arguments: list[Any], atol: float, found: object, right: bool
) -> None:
    problem = Problem(task, name, f"def {name}(*values): return {solution}", ".", atol)
    problem.solve("base", [arguments])
    assert problem.agrees("base", 0, lambda *_: found) is right
