"""Figures and times of the status; whatever is found, it stays small, survives a round trip and settles."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cycleqd.api import RunSpec
from cycleqd.api.status import RunStatus
from cycleqd.fold import Population
from cycleqd_operator.conditions import timestamp
from cycleqd_operator.settings import Settings
from cycleqd_operator.standing import Standing
from cycleqd_operator.status import MOST_FAILED, next_status, refused
from tests.core.support import spec_dict
from tests.operator.standings import NOON, STORE, blind, condition, population, spec, standing

LIMIT = 32 * 1024
"""Bytes that a status may take."""
FATAL = ("BadModel", "The expert sql does not fit.")
LATER = NOON + 60


def as_written(status: RunStatus) -> str:
    """Return what is sent to the API server."""
    return json.dumps(status.model_dump(mode="json", by_alias=True, exclude_none=True))


def test_figures() -> None:
    found = standing(
        active_jobs=3, ready_jobs=2, failures=4, seconds_per_child=12.345678, evaluation_share=0.987654, now=NOON + 0.5
    )
    status = next_status(None, found)
    assert found.population is not None
    assert status.model_dump(exclude={"conditions", "tasks"}) == {
        "observed_generation": 1,
        "state": "Breeding",
        "children": 2,
        "progress": "2/6",
        "running": 2,
        "failures": 4,
        "quarantined": 0,
        "failed_children": (),
        "broken": 0,
        "coverage": float(f"{found.population.coverage:.4g}"),
        "best": 0.1967,  # the last expert's: 3 x 0.03 and 0.5, over three tasks
        "timings": {"seconds_per_child": 12.3457, "evaluation_share": 0.9877},
        "storage_uri": STORE,
        "storage_secret_name": "",
        "storage_root": "",
        "model_uri": "",
        "started_at": "2027-01-15T08:00:00Z",
        "finished_at": None,
    }


def test_figures_of_tasks() -> None:
    found = standing()
    archives = found.population.archives if found.population else ()
    tasks = next_status(None, found).tasks
    assert [task.task for task in tasks] == ["sql-task", "shell-task", "python-task"]
    assert [task.best for task in tasks] == [0.51, 0.52, 0.53]
    assert [task.qd_score for task in tasks] == [pytest.approx(archive.qd_score, abs=1e-4) for archive in archives]
    assert [task.coverage for task in tasks] == [pytest.approx(archive.coverage, rel=1e-3) for archive in archives]


@pytest.mark.parametrize(
    ("done", "best", "coverage"),
    [
        pytest.param((), [None, None, None], None, id="nobody"),
        pytest.param((0, 1), [0.51, 0.52, 0.02], None, id="some experts: scores, but no archives"),
    ],
)
def test_figures_before_there_are_archives(done: tuple[int, ...], best: list[float], coverage: None) -> None:
    status = next_status(None, standing(phase="Evaluating", done=done))
    assert [task.best for task in status.tasks] == best
    assert [task.coverage for task in status.tasks] == [coverage] * 3
    assert status.coverage is None


def test_nobody_with_scores() -> None:
    nobody = Population(np.empty(0, np.int64), np.empty((0, 0)), 3, spec().search.archive)
    status = next_status(None, standing(done=3, population=nobody))
    assert (status.best, status.children) == (None, 0)


def test_quarantined_children_are_counted_and_the_first_listed() -> None:
    status = next_status(None, standing(done=500, children=900, quarantined=tuple(range(100, 350))))
    assert (status.quarantined, status.children, status.progress) == (250, 247, "247/900")
    assert status.failed_children == tuple(range(100, 100 + MOST_FAILED))


def test_a_look_without_the_store_keeps_the_figures() -> None:
    known = next_status(None, standing(done=9, quarantined=(7,), n_broken=2, failures=3, seconds_per_child=2.0))
    assert known.broken == 2
    unread = next_status(known, blind(now=LATER, active_jobs=2, ready_jobs=1))
    kept = {"children", "quarantined", "broken", "failed_children", "failures", "coverage", "best", "tasks", "timings"}
    assert unread.model_dump(include=kept) == known.model_dump(include=kept)
    assert (unread.running, unread.storage_uri) == (1, STORE)


def test_a_look_without_the_store_knows_what_is_wanted() -> None:
    raised = blind(spec=spec(children=60), generation=2)
    assert next_status(next_status(None, standing()), raised).progress == "2/60"


def test_noise_is_no_news() -> None:
    quiet, noisy = (standing(seconds_per_child=seconds) for seconds in (1.5, 1.5 + 1e-9))
    assert next_status(None, quiet) == next_status(next_status(None, quiet), noisy)


def test_a_child_is_news() -> None:
    before = next_status(None, standing(done=4))
    assert before != next_status(before, standing(done=5))


def test_a_small_coverage_is_not_rounded_away() -> None:
    wide = RunSpec.model_validate(spec_dict(6, storage={"uri": STORE}, search={"children": 6}))
    found = standing(spec=wide, population=population(wide, range(8)), done=8)
    assert 0 < (next_status(None, found).coverage or 0) < 1e-4


STEPS: tuple[tuple[str, list[Standing], str | None], ...] = (
    ("running", [standing()], None),
    ("success", [standing(), standing(now=LATER, phase="Succeeded")], timestamp(LATER)),
    ("still", [standing(phase="Succeeded"), standing(now=LATER, phase="Succeeded")], timestamp(NOON)),
    ("failure", [standing(), standing(now=LATER, fatal=FATAL)], timestamp(LATER)),
    ("cancelled", [standing(), standing("Cancelled", now=LATER, phase="Cancelled")], timestamp(LATER)),
    ("children were raised", [standing(phase="Succeeded"), standing(now=LATER, generation=2)], None),
    ("paused is not finished", [standing(), standing("Paused", now=LATER)], None),
)


@pytest.mark.parametrize(("looks", "finished"), [pytest.param(*step[1:], id=step[0]) for step in STEPS])
def test_times(looks: list[Standing], finished: str | None) -> None:
    status = None
    for look in looks:
        status = next_status(status, look)
    assert status is not None
    assert (status.started_at, status.finished_at) == (timestamp(NOON), finished)


def test_a_refused_manifest_fails_the_run_and_keeps_its_figures() -> None:
    known = next_status(None, standing(ready_jobs=2))
    status = refused(known, 2, "spec.experts is empty.", LATER)
    assert (status.state, status.observed_generation, status.running) == ("Failed", 2, 0)
    assert (status.children, status.finished_at) == (2, timestamp(LATER))
    assert condition(status, "Failed").message == "spec.experts is empty."
    assert condition(status, "Prepared") == condition(known, "Prepared")
    assert next_status(status, standing(generation=3)).finished_at is None


texts = st.text(max_size=40) | st.sampled_from(['"' * 3000, "\\" * 3000, "ä" * 3000, "\x00" * 3000, "\U0001f600" * 900])
looks = st.fixed_dictionaries(
    {
        "desired": st.sampled_from(["Running", "Paused", "Suspended", "Finished", "Cancelled"]),
        "phase": st.sampled_from([None, "Preparing", "Evaluating", "Breeding", "Finalizing", "Succeeded", "Cancelled"]),
        "readable": st.booleans(),
        "done": st.integers(0, 9),
        "quarantined": st.integers(0, 300),
        "damaged": st.integers(0, 300),
        "fatal": st.none() | st.tuples(texts, texts),
        "troubles": st.lists(st.tuples(texts, texts), max_size=4).map(tuple),
        "generation": st.integers(1, 3),
        "jobs": st.integers(0, 3),
        "text": texts,
    }
)


def look_at(found: dict[str, Any]) -> Standing:
    fields = {name: found[name] for name in ("phase", "fatal", "troubles", "generation")}
    fields |= {"active_jobs": found["jobs"], "model_uri": "s3://" + found["text"][:1019]}
    if not found["readable"]:
        return blind(found["desired"], **fields)
    return standing(
        found["desired"],
        found["done"],
        quarantined=tuple(range(3, 3 + found["quarantined"])),
        damaged={f"results/{n}.json": found["text"] for n in range(found["damaged"])},
        **fields,
    )


@settings(max_examples=60)
@given(found=st.lists(looks, min_size=1, max_size=4))
def test_whatever_is_found(found: list[dict[str, Any]]) -> None:
    status = None
    for look in found:
        status = next_status(status, look_at(look))
        written = as_written(status)
        assert len(written) <= LIMIT
        assert RunStatus.model_validate_json(written) == status, "it can be read back"
        later = Standing(**{**vars(look_at(look)), "now": LATER})
        assert next_status(status, later) == status, "a second look at the same brings no news"


def test_the_largest_run_fits() -> None:
    names = [f"{k:02}" + "x" * 38 for k in range(64)]
    wide = RunSpec.model_validate(
        {
            **spec_dict(64),
            "experts": [{"name": name, "uri": "models/x"} for name in names],
            "tasks": [{"name": name, "expert": name, "evaluator": {"type": "Sql"}} for name in names],
            "search": {"children": 1_000_000, "archive": {"bins": 1}},
        }
    )
    scores = np.random.default_rng(0).uniform(size=(2000, 64))
    ids = np.arange(2000)
    root = Settings(worker_image="x", storage_root="s3://".ljust(256, "x")).storage_root
    found = Standing(
        spec=wide,
        generation=2**53,
        now=NOON,
        phase="Succeeded",
        n_prepared=64,
        population=Population(ids, scores, 64, wide.search.archive),
        done=frozenset(range(1_000_000)),
        quarantined=tuple(range(500_000, 505_000, 2)),
        damaged={f"results/{n}.json": "ä" * 2000 for n in range(5000)},
        fatal=("X" * 999, "ä" * 9999),
        troubles=(("X" * 999, "ä" * 9999),) * 3000,
        failures=10**6,
        active_jobs=10_000,
        ready_jobs=10_000,
        seconds_per_child=1 / 3,
        evaluation_share=1 / 3,
        storage_uri=f"{root}/" + "ä" * 1024,
        storage_root=root,
        model_uri=f"{root}/" + "ä" * 1024,
    )
    status = next_status(None, found)
    assert len(status.tasks) == 64
    assert len(as_written(status)) <= LIMIT
