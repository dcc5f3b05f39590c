"""Right answers as tokens, and who sees which of them when."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from cycleqd.api.engine import EngineArgs
from cycleqd.records import Transcript
from cycleqd_runner.chat import Message
from cycleqd_runner.engines.transformers import TransformersEngine
from cycleqd_runner.guide.targets import Target, batches, targets_of
from tests.runner.engines.support import save_chat_model

ASKED = ({"role": "system", "content": "Answer."}, {"role": "user", "content": "1+1?"})


def test_a_target_is_the_conversation_the_answer_and_its_end(tmp_path: Path) -> None:
    engine = TransformersEngine(save_chat_model(tmp_path), EngineArgs(dtype="Float32", max_model_len=60))
    told = [
        Transcript(task="b", item="1", messages=ASKED, answer="2", score=1.0),
        Transcript(task="a", item="2", messages=ASKED, answer="too long " * 9, score=1.0),
    ]
    found = engine.lend(lambda lent: targets_of(told, ["a", "b"], lent))
    assert len(found) == 1, "what does not fit into the context is left out"
    end, two = 257, engine.lend(lambda lent: lent.complete([Message("user", "1+1?")], "2")[1][0])
    assert found[0].task == 1
    assert found[0].tokens[found[0].start :] == (two, end)


def pool(counts: list[int]) -> list[Target]:
    return [Target(task, (task, number), 1) for task, count in enumerate(counts) for number in range(count)]


@pytest.mark.parametrize(
    ("counts", "shares", "size", "expected"),
    [
        pytest.param([5, 5, 5], [1, 1, 1], 6, {0: 2, 1: 2, 2: 2}, id="equal"),
        pytest.param([5, 5, 5], [0.5, 0.25, 0.25], 8, {0: 4, 1: 2, 2: 2}, id="one leads"),
        pytest.param([5, 0, 5], [1, 1, 1], 6, {0: 3, 2: 3}, id="a task without targets"),
        pytest.param([5, 5, 5], [1, 0, 1], 6, {0: 3, 2: 3}, id="a task without a share"),
        pytest.param([5, 5, 5], [1, 1, 0.01], 4, {0: 2, 1: 2, 2: 1}, id="a small share"),
    ],
)
def test_tasks_have_their_shares(counts: list[int], shares: list[float], size: int, expected: dict[int, int]) -> None:
    batch = batches(pool(counts), shares, size, np.random.default_rng(0))(0)
    assert Counter(target.task for target in batch.targets) == expected
    assert sum(batch.weights) == pytest.approx(1.0)
    own = {
        task: sum(w for t, w in zip(batch.targets, batch.weights, strict=True) if t.task == task) for task in expected
    }
    total = sum(shares[task] for task in expected)
    assert own == pytest.approx({task: shares[task] / total for task in expected})


def test_shares_of_tasks_without_targets_alone_leave_all_to_the_others() -> None:
    batch = batches(pool([0, 5, 5]), [1.0, 0.0, 0.0], 4, np.random.default_rng(0))(0)
    assert Counter(target.task for target in batch.targets) == {1: 2, 2: 2}
    assert sum(batch.weights) == pytest.approx(1.0)


def test_every_target_is_seen_before_any_is_seen_again() -> None:
    draw = batches(pool([6]), [1.0], 4, np.random.default_rng(0))
    seen = Counter(target.tokens for step in range(3) for target in draw(step).targets)
    assert set(seen.values()) == {2}
