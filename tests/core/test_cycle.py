"""t mod K: which archive each child's parents come from."""

from __future__ import annotations

import pytest

from cycleqd.api.search import Search
from cycleqd.cycle import active_task, child_id, child_number


@pytest.mark.parametrize(
    ("number", "n_tasks", "task"),
    [
        pytest.param(1, 3, 1, id="the first child, t = 1"),
        pytest.param(2, 3, 2, id="t = 2"),
        pytest.param(3, 3, 0, id="t = K wraps"),
        pytest.param(4, 3, 1, id="second round"),
        pytest.param(1200, 3, 0, id="the last child of the paper"),
        pytest.param(5, 2, 1, id="two tasks"),
    ],
)
def test_the_active_task_is_t_mod_k(number: int, n_tasks: int, task: int) -> None:
    assert active_task(number, n_tasks, Search()) == task


def test_every_task_is_active_equally_often() -> None:
    active = [active_task(number, 3, Search()) for number in range(1, 1201)]
    assert [active.count(task) for task in range(3)] == [400, 400, 400]


def test_fixed_quality_is_one_task() -> None:
    search = Search(cycle="Fixed", fixed_task=2)
    assert {active_task(number, 3, search) for number in range(1, 20)} == {2}


@pytest.mark.parametrize(("individual", "number"), [(3, 1), (4, 2), (1202, 1200)])
def test_children_follow_the_experts(individual: int, number: int) -> None:
    assert child_number(individual, 3) == number
    assert child_id(number, 3) == individual
