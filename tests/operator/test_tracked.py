"""What is remembered of runs and Jobs, and what is not believed."""

from __future__ import annotations

from typing import Any

import pytest

from cycleqd.api.status import RunStatus
from cycleqd_operator.job_view import JobView
from cycleqd_operator.tracked import Fleet, TrackedRun
from tests.core.support import spec_dict
from tests.operator.test_supervisor import body, view

ENDED = {"state": "Succeeded", "finishedAt": "2027-01-15T08:00:00Z", "observedGeneration": 1}


def run_of(
    fleet: Fleet, name: str = "demo", *, uri: str = "s3://runs/demo", at: str = "08", **fields: Any
) -> TrackedRun:
    made = body(name, f"uid-{name}")
    made["spec"] = spec_dict(storage={"uri": uri})
    made["metadata"]["creationTimestamp"] = f"2027-01-15T{at}:00:00Z"
    return fleet.see_run({**made, **fields})


class TestJobs:
    def test_a_job_may_be_seen_before_its_run(self) -> None:
        fleet = Fleet()
        fleet.see_job(view())
        assert [job.uid for job in fleet.see_run(body()).active] == ["job-1"]

    @pytest.mark.parametrize(
        ("known", "seen", "is_news"),
        [
            ({}, {}, False),
            ({}, {"ready": 1}, True),
            ({}, {"state": "Failed"}, True),
            ({"state": "Failed"}, {}, False),
            ({"state": "Complete"}, {"ready": 1}, False),
        ],
        ids=["the same", "its pod runs", "it ended", "late word of a Job that ended", "late word with other figures"],
    )
    def test_only_what_is_new_and_can_be_is_news(
        self, known: dict[str, Any], seen: dict[str, Any], is_news: bool
    ) -> None:
        fleet = Fleet()
        assert fleet.see_job(view(**known))
        assert fleet.see_job(view(**seen)) is is_news
        expected = view(**(seen if is_news else known))
        assert fleet.jobs() == [expected]

    def test_active_are_those_that_neither_ended_nor_are_deleted_the_oldest_first(self) -> None:
        fleet = Fleet()
        run = fleet.see_run(body())
        jobs: list[JobView] = [
            view(uid="3", name="b", created_at=2.0),
            view(uid="2", name="a", created_at=2.0),
            view(uid="1", name="c", created_at=1.0),
            view(uid="4", state="Complete"),
            view(uid="5", state="Failed"),
            view(uid="6", deleting=True),
        ]
        for job in jobs:
            fleet.see_job(job)
        assert [job.uid for job in run.active] == ["1", "2", "3"]

    def test_a_forgotten_job_is_settled_no_longer(self) -> None:
        fleet = Fleet()
        run = fleet.see_run(body())
        fleet.see_job(view(state="Failed"))
        run.settled.add("job-1")
        fleet.forget_job(view())
        assert (run.jobs, run.settled) == ({}, set())

    def test_vanished_are_those_that_were_known_before_the_listing(self) -> None:
        fleet = Fleet()
        run = fleet.see_run(body())
        for uid in ("listed", "vanished"):
            fleet.see_job(view(uid=uid))
        known = fleet.jobs()
        fleet.see_job(view(uid="new"))
        assert fleet.forget_vanished(known, {"listed"}) == [run.ref.uid]
        assert set(run.jobs) == {"listed", "new"}


class TestRuns:
    def test_a_change_keeps_what_is_known_of_a_run(self) -> None:
        fleet = Fleet()
        run = fleet.see_run(body())
        run.settled.add("job-1")
        changed = body()
        changed["metadata"]["generation"] = 2
        assert fleet.see_run(changed) is run
        assert (run.generation, run.settled) == (2, {"job-1"})

    def test_a_forgotten_run_takes_its_jobs_along(self) -> None:
        fleet = Fleet()
        fleet.see_run(body())
        fleet.see_job(view())
        fleet.forget_run(body()["metadata"]["uid"])
        assert (fleet.runs, fleet.jobs()) == ({}, [])

    @pytest.mark.parametrize(
        ("status", "expected"),
        [
            ({}, None),
            ({"status": {"state": "Exploded"}}, None),
            ({"status": ENDED}, RunStatus.model_validate(ENDED)),
        ],
        ids=["none", "of another version", "ours"],
    )
    def test_the_status_is_found_in_the_run(self, status: dict[str, Any], expected: RunStatus | None) -> None:
        assert run_of(Fleet(), **status).status == expected

    @pytest.mark.parametrize(
        ("change", "is_over"),
        [({}, True), ({"finishedAt": None}, False), ({"observedGeneration": 0}, False)],
        ids=["ended", "still at it", "the spec changed since"],
    )
    def test_a_run_is_over_when_it_ended_under_this_spec(self, change: dict[str, Any], is_over: bool) -> None:
        assert run_of(Fleet(), status={**ENDED, **change}).is_over is is_over

    def test_a_spec_without_a_number_of_children_asks_for_none(self) -> None:
        assert run_of(Fleet()).children == 0


class TestRivals:
    def test_the_older_run_of_the_same_storage_is_one(self) -> None:
        fleet = Fleet()
        young, old = run_of(fleet, "young", at="09", uri="s3://runs/demo/"), run_of(fleet, "old")
        assert fleet.rival(young) is old
        assert fleet.rival(old) is None

    def test_of_several_the_oldest(self) -> None:
        fleet = Fleet()
        run_of(fleet, "middle", at="09")
        oldest, young = run_of(fleet, "oldest", at="08"), run_of(fleet, "young", at="10")
        assert fleet.rival(young) is oldest

    def test_of_the_same_second_exactly_one_waits(self) -> None:
        fleet = Fleet()
        runs = [run_of(fleet, name) for name in "abc"]
        assert [fleet.rival(run) is None for run in runs] == [True, False, False]

    @pytest.mark.parametrize(
        "fields", [{"uri": "s3://runs/other"}, {"status": ENDED}], ids=["another storage", "it is over"]
    )
    def test_others_are_none(self, fields: dict[str, Any]) -> None:
        fleet = Fleet()
        run_of(fleet, "old", **fields)
        assert fleet.rival(run_of(fleet, "young", at="09")) is None
