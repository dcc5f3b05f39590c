"""What the roles write, and in which order of trust: records of the store that outlive their workers."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from cycleqd import keys
from cycleqd.records import Stop, Timings, read_result
from cycleqd.store import FolderStore
from cycleqd_runner.roles.writing import write_result
from tests.core.support import make_result


def test_the_first_result_of_an_individual_stays(tmp_path: Path) -> None:
    store = FolderStore(tmp_path)
    assert write_result(store, make_result(4, [0.5, 0.5]), [])
    assert not write_result(store, make_result(4, [1.0, 1.0]), [])
    assert read_result(store.get(keys.result(4)), "").scores == (0.5, 0.5)


@pytest.mark.parametrize("damage", [b"", b'{"id": 4', b"[]"], ids=["empty", "cut off", "of another form"])
def test_what_is_no_result_does_not_keep_a_child_from_being_done(tmp_path: Path, damage: bytes) -> None:
    store = FolderStore(tmp_path)
    store.put(keys.result(4), damage)
    assert write_result(store, make_result(4, [0.5, 0.5]), [])
    assert read_result(store.get(keys.result(4)), "").scores == (0.5, 0.5)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        pytest.param({}, "Scored individual 4 (Expert) in 2 s: task-0 0.500, task-1 1.000", id="an expert"),
        pytest.param(
            {"emitter": "Paper", "parents": (1, 3), "evaluation": 1},
            "Scored individual 4 (Paper from 1 and 3, evaluation 1) in 2 s: task-0 0.500, task-1 1.000",
            id="a child, again",
        ),
        pytest.param(
            {"stop": Stop(asked=(1, 1), items=(4, 4), probability=0.01, threshold=0.05)},
            "Scored individual 4 (Expert) in 2 s: stopped by racing after 2 of 8 items",
            id="stopped",
        ),
    ],
)
def test_workers_tell_about_every_result(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, change: dict[str, object], told: str
) -> None:
    result = make_result(4, [0.5, 1.0], timings=Timings(evaluate_seconds=2.0)).model_copy(update=change)
    with caplog.at_level(logging.INFO, "cycleqd_runner"):
        write_result(FolderStore(tmp_path), result, [])
    assert caplog.messages == [told]


def test_what_has_no_score_says_why(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "cycleqd_runner"):
        write_result(FolderStore(tmp_path), make_result(4, [0.5, None]), [])
    assert "task-1 not scored (sandbox down)" in caplog.text
