"""Compares what an answer returns with what EvalPlus' own solution returns, by EvalPlus' rules.

The ``reference`` of an item: it is run before the answer, in a namespace of its own, and knows what is right before the
answer can touch anything. Tests call ``base`` and ``extra``.
"""

from __future__ import annotations

import copy
import json
import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

RELATIVE = 1e-7
"""Relative tolerance wherever there is an absolute one."""
FLOATS = 1e-6
"""Absolute tolerance for floats of problems that name none."""

Value = Any
"""What functions take and return."""
Inputs = Sequence[Value]

_ANY_ORDER = {
    "similar_elements", "find_char_long", "common_in_nested_lists", "extract_singly",
    "larg_nnum", "intersection_array", "find_dissimilar", "Diff",
}  # fmt: skip
"""Functions of MBPP+ whose elements may come in any order, and twice."""
_FOUND_OR_NOT = {"check_str", "text_match_three", "text_starta_endb"}
"""Functions of MBPP+ that may return anything for yes, and None for no."""


def _surface_of_pyramid(base_edge: float, height: float) -> float:
    return round(base_edge**2 + 2 * base_edge * math.hypot(base_edge / 2, height))


def _distance_of_digits(one: int, other: int) -> int:
    width = max(len(str(one)), len(str(other)))
    pairs = zip(str(one).zfill(width), str(other).zfill(width), strict=True)
    return sum(abs(int(first) - int(second)) for first, second in pairs)


def _value_of_polynomial(coefficients: Sequence[float], at: float) -> float:
    return sum(coefficient * math.pow(at, power) for power, coefficient in enumerate(coefficients))


_ALSO_RIGHT: dict[str, Callable[[Inputs, Value, float], bool]] = {
    "are_equivalent": lambda inputs, found, atol: True,  # noqa: ARG005
    "sum_div": lambda inputs, found, atol: bool(found == 0),  # noqa: ARG005
    "surface_Area": lambda inputs, found, atol: abs(found - _surface_of_pyramid(*inputs)) <= atol,
    "digit_distance_nums": lambda inputs, found, atol: bool(found == _distance_of_digits(*inputs)),  # noqa: ARG005
}
"""Functions of MBPP+ whose text can be read in two ways: what is right by the other."""


def shaped(value: Value, shape: str) -> Value:
    """Return a value of JSON as the Python value that it stands for; letters as in ``tasks/evalplus.py``."""
    kind, inner = shape[0], shape[1:] or "."
    if kind == "t":
        return tuple(shaped(one, inner) for one in value)
    if kind == "l":
        return [shaped(one, inner) for one in value]
    if kind == "d":
        return {key: shaped(one, inner) for key, one in value.items()}
    if kind == "s":
        return set(value) if value else {}  # sic: EvalPlus has a dictionary there
    if kind == "T":
        return tuple(shaped(one, "T") for one in value) if isinstance(value, list) else value
    return {"f": float, "c": complex}[kind](value) if kind in "fc" else value


def is_close(found: Value, wanted: Value, atol: float) -> bool:
    """Return whether numbers, in lists or not, are as near as numpy's ``allclose`` has it."""
    if isinstance(wanted, (list, tuple)):
        same_length = isinstance(found, (list, tuple)) and len(found) == len(wanted)
        return same_length and all(is_close(*pair, atol) for pair in zip(found, wanted, strict=True))
    if not all(isinstance(value, (int, float, complex)) for value in (found, wanted)):
        return False
    return bool(found == wanted) or abs(found - wanted) <= atol + RELATIVE * abs(wanted)


def is_floats(value: Value) -> bool:
    """Return whether a value is a float, or a list or tuple of nothing else."""
    if isinstance(value, (list, tuple)) and value:
        return all(isinstance(one, float) for one in value)
    return isinstance(value, float)


class Problem:
    """A problem whose right values are known."""

    def __init__(self, task: str, entry_point: str, solution: str, shape: str, atol: float) -> None:
        self._copy = copy.deepcopy  # taken now: the answer may replace functions of the modules
        self._task, self._name, self._atol = task, entry_point, atol
        self._shapes = shape.split()
        space: dict[str, Any] = {"__name__": "solution"}
        exec(compile(solution, "solution", "exec", dont_inherit=True), space)  # noqa: S102 - in the sandbox
        self._solution = space[entry_point]
        self._cases: dict[str, list[tuple[Inputs, Value]]] = {}

    def solve(self, kind: str, inputs: Sequence[Inputs]) -> None:
        """Remember what is right for each of ``inputs``."""
        for arguments in inputs:
            shapes = [self._shapes[min(place, len(self._shapes) - 1)] for place in range(len(arguments))]
            case = tuple(shaped(*pair) for pair in zip(arguments, shapes, strict=True))
            self._cases.setdefault(kind, []).append((case, self._solution(*self._copy(case))))

    def agrees(self, kind: str, number: int, function: Callable[..., Value]) -> bool:
        """Return whether ``function`` returns what is right for one input."""
        inputs, wanted = self._cases[kind][number]
        return self._is_right(inputs, function(*self._copy(inputs)), wanted)

    def _is_right(self, inputs: Inputs, found: Value, wanted: Value) -> bool:
        if self._task == "HumanEval" and self._name == "find_zero":
            return abs(_value_of_polynomial(inputs[0], found)) <= self._atol
        is_exact = bool(found == wanted)
        if self._task == "Mbpp":
            if self._name in _ANY_ORDER:
                is_exact = set(found) == set(wanted)
            elif self._name in _FOUND_OR_NOT:
                is_exact = (found if isinstance(found, bool) else found is not None) == (wanted is not None)
            elif self._name in _ALSO_RIGHT:
                is_exact = is_exact or _ALSO_RIGHT[self._name](inputs, found, self._atol)
        atol = self._atol or (FLOATS if is_floats(wanted) else 0.0)
        if is_exact or not atol:
            return is_exact
        return type(found) is type(wanted) and is_close(found, wanted, atol)


def prepare(text: str) -> tuple[Callable[..., bool], Callable[..., bool]]:
    """Solve a problem (JSON); return what tells whether a function is right for a base and for an extra input."""
    problem = json.loads(text)
    inputs = problem.pop("inputs")
    solved = Problem(**problem)
    for kind, cases in inputs.items():
        solved.solve(kind, cases)
    return partial(solved.agrees, "base"), partial(solved.agrees, "extra")
