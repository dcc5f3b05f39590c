"""Whose right answers are learned from: the task's own expert first, then the best elite that gave one."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from cycleqd.api.search import Grid
from cycleqd.fold import Population
from cycleqd.records import Transcript
from cycleqd.store import FolderStore
from cycleqd_runner.guide.emitter import shares
from cycleqd_runner.guide.lessons import Lessons
from cycleqd_runner.roles.writing import write_result
from tests.core.support import make_result, run_spec

SOLVED = {
    0: [("sql-task", "i0"), ("shell-task", "j1")],
    1: [("shell-task", "j0")],
    2: [("sql-task", "i0"), ("sql-task", "i1"), ("shell-task", "j1")],
    3: [("sql-task", "i1"), ("shell-task", "j1")],
}
"""Items that individuals solved; 0 and 1 are the experts of the two tasks."""
WRONG = {0: [("sql-task", "i1")], 1: [("shell-task", "j1")], 2: [("sql-task", "i2")], 3: [("shell-task", "j0")]}
"""Items that they did not solve, of which there is a conversation all the same."""
SCORES = np.array([[0.6, 0.2], [0.1, 0.5], [0.4, 0.3], [0.5, 0.4]])


def _transcript(individual: int, score: float | None, task: str, item: str) -> Transcript:
    asked = ({"role": "user", "content": item},)
    return Transcript(task=task, item=item, messages=asked, answer=f"{individual}", score=score)


def test_each_item_is_taught_once_by_who_knows_it_best(tmp_path: Path) -> None:
    store = FolderStore(tmp_path)
    for individual, items in SOLVED.items():
        told = [_transcript(individual, score, *item) for item in WRONG[individual] for score in (0.0, None)]
        told += [_transcript(individual, 1.0, *item) for item in items]
        write_result(store, make_result(individual, list(SCORES[individual])), told)
    population = Population(np.arange(4), SCORES, n_experts=2, settings=Grid())
    found = Lessons(store, run_spec(2)).of(population)
    taught = {(lesson.transcript.task, lesson.transcript.item): lesson.teacher for lesson in found}
    assert {lesson.transcript.score for lesson in found} == {1.0}
    assert taught == {("sql-task", "i0"): 0, ("sql-task", "i1"): 3, ("shell-task", "j0"): 1, ("shell-task", "j1"): 3}


@pytest.mark.parametrize(
    ("scores", "task", "lean", "expected"),
    [
        pytest.param([0.0, 0.0, 0.0], 0, 0.5, [0.5, 0.25, 0.25], id="nothing to lose yet"),
        pytest.param([0.9, 0.6, 0.2], 0, 0.5, [0.5, 0.375, 0.125], id="by what there is to lose"),
        pytest.param([0.5, 0.5, 0.5], 2, 0.2, [0.4, 0.4, 0.2], id="another task, less lean"),
        pytest.param([0.5, 0.5, 0.5], 1, 1.0, [0.0, 1.0, 0.0], id="only the active task"),
    ],
)
def test_the_active_task_leads_and_the_others_keep_what_they_have(
    scores: list[float], task: int, lean: float, expected: list[float]
) -> None:
    assert shares(np.array(scores), task, lean) == pytest.approx(expected)
