"""Problems of our own in the formats of MBPP and EvalPlus."""

from __future__ import annotations

from typing import Any

MBPP: dict[str, Any] = {
    "text": "Write f.",
    "code": "def f(x):\r\n    return x + 1",
    "task_id": 7,
    "test_setup_code": "",
    "test_list": ["assert f(1) == 2"],
    "challenge_test_list": ["assert f(10) == 11"],
}
SANITIZED: dict[str, Any] = {
    "prompt": "Write f.",
    "code": "import math\ndef f(x):\n    return x * math.e",
    "task_id": "8",
    "test_imports": ["import math"],
    "test_list": ["assert f(1) == math.e"],
}
MBPP_PLUS: dict[str, Any] = {
    "task_id": "Mbpp/1000",
    "prompt": '"""\nWrite a function to halve numbers.\nassert halves([2, 4]) == [1.0, 2.0]\n"""\n',
    "entry_point": "halves",
    "canonical_solution": "\ndef halves(numbers):\n    return [n / 2 for n in numbers]\n",
    "base_input": [[[2, 4]], [[]]],
    "plus_input": [[[1, 3]], [[0.1]]],
    "contract": '\n    assert isinstance(numbers, list), "invalid inputs" # $_CONTRACT_$\n',
    "assertion": "assert halves([2, 4]) == [1.0, 2.0]",
    "atol": 0,
}
HUMANEVAL_PLUS: dict[str, Any] = {
    "task_id": "HumanEval/1000",
    "prompt": 'from typing import List\n\n\ndef total(numbers: List[int]) -> int:\n    """ Add them up.\n    """\n',
    "entry_point": "total",
    "canonical_solution": "    while len(numbers) > 1:\n        numbers.append(numbers.pop() + numbers.pop())\n"
    "    return numbers[0] if numbers else 0\n",
    "test": "def check(candidate):\n    assert candidate([1]) == 1\n",
    "base_input": [[[1, 2]], [[]]],
    "plus_input": [[[5, -5, 7]]],
    "contract": "",
    "atol": 0,
}
