"""When runs are looked at, and what becomes of errors. The looks themselves are made up; time is virtual."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from itertools import pairwise
from types import SimpleNamespace
from typing import Any

import pytest

import cycleqd_operator.supervisor as supervisor_module
from cycleqd.errors import StoreUnreachable
from cycleqd_operator.cluster import ClusterUnreachable, Gone, Refused
from cycleqd_operator.job_view import JobView
from cycleqd_operator.metrics import Metrics
from cycleqd_operator.supervisor import CALM_SECONDS, HEARTBEAT_SECONDS, Supervisor
from cycleqd_operator.tracked import Fleet, TrackedRun
from tests.core.support import spec_dict
from tests.operator.api_server import ApiServer, Body, LocalCluster, run_body
from tests.operator.manifests import RUN, job
from tests.operator.operator_process import AT_ONCE
from tests.operator.standings import NOON
from tests.operator.virtual_time import in_virtual_time, now

Answer = float | Exception | None


class Looks:
    """Answers looks one after another, the last answer for ever, and writes down when they happened."""

    def __init__(self, *answers: Answer, seconds: float = 0.0) -> None:
        self.times: list[float] = []
        self.names: list[str] = []
        self.busy = self.most_busy = 0
        self._answers = list(answers) or [None]
        self._seconds = seconds

    async def look(self, run: TrackedRun) -> float | None:
        self.times.append(now())
        self.names.append(run.ref.name)
        self.busy += 1
        self.most_busy = max(self.busy, self.most_busy)
        try:
            await asyncio.sleep(self._seconds)
        finally:
            self.busy -= 1
        answer = self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]
        if isinstance(answer, Exception):
            raise answer
        return answer


@asynccontextmanager
async def supervised(looks: Looks, **settings: Any) -> AsyncIterator[tuple[Supervisor, Fleet, LocalCluster]]:
    fleet, cluster = Fleet(), LocalCluster(ApiServer(lambda: NOON))
    supervisor = Supervisor(fleet, looks, cluster, AT_ONCE.model_copy(update=settings), Metrics())
    try:
        yield supervisor, fleet, cluster
    finally:
        await supervisor.stop()


def body(name: str = RUN.name, uid: str = RUN.uid) -> Body:
    made = run_body(name, spec_dict(), uid=uid)
    made["metadata"] |= {"generation": 1, "resourceVersion": "1", "creationTimestamp": "2027-01-15T08:00:00Z"}
    return made


def view(**fields: Any) -> JobView:
    """Return a Job of the run that :func:`body` makes."""
    metadata = {"uid": "job-1", "creationTimestamp": "2027-01-15T08:00:00Z"}
    made = job()
    seen = JobView.of({**made, "metadata": {**made["metadata"], **metadata}})
    assert seen
    return replace(seen, **fields)


def test_a_run_is_looked_at_when_it_appears_and_when_it_changes() -> None:
    async def story() -> None:
        looks = Looks()
        async with supervised(looks) as (supervisor, _, _):
            supervisor.see_run(body())
            await asyncio.sleep(10)
            supervisor.see_run(body())
            await asyncio.sleep(10)
            assert looks.times == [0, 10]

    in_virtual_time(story())


def test_news_of_its_jobs_wake_a_run_and_nothing_else_does() -> None:
    async def story() -> None:
        looks = Looks()
        async with supervised(looks) as (supervisor, _, _):
            supervisor.see_run(body())
            await asyncio.sleep(10)
            supervisor.see_job(view())
            await asyncio.sleep(10)
            supervisor.see_job(view())  # again the same
            supervisor.see_job(view(run_uid="another"))
            await asyncio.sleep(10)
            supervisor.see_job(view(state="Complete"))
            await asyncio.sleep(10)
            supervisor.see_job(view(state="Complete"), deleted=True)
            await asyncio.sleep(10)
            assert looks.times == [0, 10, 30, 40]

    in_virtual_time(story())


def test_events_that_come_together_cost_one_look() -> None:
    async def story() -> None:
        looks = Looks()
        async with supervised(looks) as (supervisor, _, _):
            supervisor.see_run(body())
            await asyncio.sleep(CALM_SECONDS / 2)
            for number in range(50):
                supervisor.see_job(view(uid=f"job-{number}"))
            await asyncio.sleep(10)
            assert looks.times == [0, CALM_SECONDS]

    in_virtual_time(story())


def test_what_happens_during_a_look_leads_to_another_one() -> None:
    async def story() -> None:
        looks = Looks(seconds=5)
        async with supervised(looks) as (supervisor, _, _):
            supervisor.see_run(body())
            await asyncio.sleep(3)
            supervisor.see_job(view())
            await asyncio.sleep(10)
            assert looks.times == [0, 5 + CALM_SECONDS]

    in_virtual_time(story())


@pytest.mark.parametrize(
    ("answer", "pause"), [(20.0, 20.0), (0.0, 0.0), (None, HEARTBEAT_SECONDS)], ids=["so long", "at once", "heartbeat"]
)
def test_a_look_says_when_the_next_one_is_due(answer: float | None, pause: float) -> None:
    async def story() -> None:
        looks = Looks(answer)
        async with supervised(looks) as (supervisor, _, _):
            supervisor.see_run(body())
            await asyncio.sleep(2.5 * (CALM_SECONDS + pause))
            assert looks.times == pytest.approx([0, CALM_SECONDS + pause, 2 * (CALM_SECONDS + pause)])

    in_virtual_time(story())


@pytest.mark.parametrize(
    "error",
    [ClusterUnreachable("away"), StoreUnreachable("away"), Refused("no"), KeyError("a bug")],
    ids=lambda error: type(error).__name__,
)
def test_errors_are_followed_by_longer_and_longer_pauses_until_a_look_succeeds(error: Exception) -> None:
    async def story() -> None:
        looks = Looks(*[error] * 7, None, error, None)
        async with supervised(looks) as (supervisor, _, _):
            supervisor.see_run(body())
            await asyncio.sleep(200)
            supervisor.see_run(body())
            await asyncio.sleep(2)
            pauses = [later - earlier - CALM_SECONDS for earlier, later in pairwise(looks.times)]
            assert pauses[:7] == pytest.approx([1, 2, 4, 8, 16, 30, 30])
            assert pauses[8:] == pytest.approx([1])

    in_virtual_time(story())


def test_a_run_that_is_gone_is_forgotten_and_one_that_comes_back_is_looked_at() -> None:
    async def story() -> None:
        looks = Looks(Gone("404"), None)
        async with supervised(looks) as (supervisor, fleet, _):
            supervisor.see_run(body())
            await asyncio.sleep(1000)
            assert fleet.runs == {}
            assert looks.times == [0]
            supervisor.see_run(body())
            await asyncio.sleep(10)
            assert looks.times == [0, 1000]

    in_virtual_time(story())


def test_a_run_that_is_deleted_is_not_looked_at_any_more_and_its_look_ends() -> None:
    async def story() -> None:
        looks = Looks(1.0, seconds=5)
        async with supervised(looks) as (supervisor, fleet, _):
            supervisor.see_run(body())
            supervisor.see_run(body("other", "other"))
            await asyncio.sleep(1)
            supervisor.forget_run(RUN.uid)
            await asyncio.sleep(1)
            assert looks.busy == 1
            await asyncio.sleep(20)
            assert looks.names.count(RUN.name) == 1
            assert looks.names.count("other") > 2
            assert list(fleet.runs) == ["other"]

    in_virtual_time(story())


def test_only_so_many_runs_are_looked_at_at_the_same_time() -> None:
    async def story() -> None:
        looks = Looks(seconds=1)
        async with supervised(looks, concurrency=3) as (supervisor, _, _):
            for number in range(7):
                supervisor.see_run(body(f"run-{number}", f"uid-{number}"))
            await asyncio.sleep(10)
            assert (looks.most_busy, len(set(looks.names))) == (3, 7)

    in_virtual_time(story())


def test_stopping_ends_all_looks() -> None:
    async def story() -> None:
        looks = Looks(0.0, seconds=1)
        async with supervised(looks) as (supervisor, _, _):
            supervisor.see_run(body())
            await asyncio.sleep(10)
            await supervisor.stop()
            seen = len(looks.times)
            await asyncio.sleep(10)
            assert (looks.busy, len(looks.times)) == (0, seen)

    in_virtual_time(story())


def test_stopping_ends_a_run_that_is_woken_at_the_same_moment() -> None:
    async def story() -> None:
        async with supervised(Looks()) as (supervisor, _, _):
            supervisor.see_run(body())
            await asyncio.sleep(10)
            supervisor.see_job(view())
            async with asyncio.timeout(10 * HEARTBEAT_SECONDS):
                await supervisor.stop()

    in_virtual_time(story())


class TestResync:
    @staticmethod
    def _add(cluster: LocalCluster, name: str) -> Body:
        made = job()
        return cluster.server.add("jobs", {**made, "metadata": {**made["metadata"], "name": name}})

    @staticmethod
    def _run(story: Callable[[Supervisor, Fleet, LocalCluster, Looks], Any]) -> None:
        async def whole() -> None:
            looks = Looks()
            async with supervised(looks) as (supervisor, fleet, cluster):
                supervisor.see_run(body())
                await asyncio.sleep(10)
                await story(supervisor, fleet, cluster, looks)

        in_virtual_time(whole())

    def test_jobs_that_no_event_told_of_are_found_and_wake_their_runs(self) -> None:
        async def story(supervisor: Supervisor, fleet: Fleet, cluster: LocalCluster, looks: Looks) -> None:
            self._add(cluster, "missed")
            await supervisor.resync()
            await asyncio.sleep(10)
            assert [found.name for found in fleet.runs[RUN.uid].active] == ["missed"]
            assert looks.times == [0, 10]
            await supervisor.resync()
            await asyncio.sleep(10)
            assert looks.times == [0, 10]  # nothing new

        self._run(story)

    def test_jobs_that_vanished_without_an_event_are_dropped_and_wake_their_runs(self) -> None:
        async def story(supervisor: Supervisor, fleet: Fleet, cluster: LocalCluster, looks: Looks) -> None:
            supervisor.see_job(view())
            await asyncio.sleep(10)
            await supervisor.resync()
            await asyncio.sleep(10)
            assert fleet.runs[RUN.uid].active == []
            assert looks.times == [0, 10, 20]

        self._run(story)

    def test_jobs_that_are_created_during_the_listing_stay(self) -> None:
        async def story(supervisor: Supervisor, fleet: Fleet, cluster: LocalCluster, looks: Looks) -> None:
            listed = cluster.jobs

            async def slowly(namespaces: tuple[str, ...]) -> AsyncIterator[Body]:
                async for each in listed(namespaces):
                    yield each
                supervisor.see_job(view(name="new", uid="new"))

            cluster.jobs = slowly  # type: ignore[method-assign, assignment]
            await supervisor.resync()
            assert [found.name for found in fleet.jobs()] == ["new"]

        self._run(story)

    def test_a_listing_that_breaks_off_drops_nothing(self) -> None:
        async def story(supervisor: Supervisor, fleet: Fleet, cluster: LocalCluster, looks: Looks) -> None:
            supervisor.see_job(view())
            for number in range(150):
                self._add(cluster, f"job-{number}")
            cluster.away = iter([False, True])  # the second page
            with pytest.raises(ClusterUnreachable):
                await supervisor.resync()
            assert len(fleet.jobs()) == 101

        self._run(story)

    def test_jobs_that_only_look_like_ours_are_not_taken_in(self) -> None:
        async def story(supervisor: Supervisor, fleet: Fleet, cluster: LocalCluster, looks: Looks) -> None:
            foreign = self._add(cluster, "foreign")
            foreign["metadata"]["annotations"] = {}
            await supervisor.resync()
            assert fleet.jobs() == []

        self._run(story)

    @pytest.mark.parametrize("answer", ["away", "refused"])
    def test_it_is_repeated_whatever_the_api_server_says(self, answer: str) -> None:
        async def story(supervisor: Supervisor, fleet: Fleet, cluster: LocalCluster, looks: Looks) -> None:
            loop = asyncio.create_task(supervisor.keep_in_step())
            self._add(cluster, "missed")
            if answer == "away":
                cluster.away = iter([True, True, *[False] * 100])
            else:
                cluster.forbidden = 2
            await asyncio.sleep(2.5 * AT_ONCE.resync_seconds)
            assert fleet.jobs() == []
            await asyncio.sleep(AT_ONCE.resync_seconds)
            assert [found.name for found in fleet.jobs()] == ["missed"]
            loop.cancel()

        self._run(story)


def test_the_last_pass_is_renewed_by_looks_and_by_comparisons(monkeypatch: pytest.MonkeyPatch) -> None:
    async def story() -> None:
        monkeypatch.setattr(supervisor_module, "time", SimpleNamespace(monotonic=now))
        async with supervised(Looks()) as (supervisor, _, _):
            await asyncio.sleep(10)
            supervisor.see_run(body())
            await asyncio.sleep(1)
            assert supervisor.last_pass == 10
            loop = asyncio.create_task(supervisor.keep_in_step())
            await asyncio.sleep(AT_ONCE.resync_seconds + 1)
            assert supervisor.last_pass == 11 + AT_ONCE.resync_seconds
            loop.cancel()

    in_virtual_time(story())


def test_a_look_that_fails_does_not_renew_it(monkeypatch: pytest.MonkeyPatch) -> None:
    async def story() -> None:
        monkeypatch.setattr(supervisor_module, "time", SimpleNamespace(monotonic=now))
        async with supervised(Looks(ClusterUnreachable("away"))) as (supervisor, _, _):
            await asyncio.sleep(10)
            supervisor.see_run(body())
            await asyncio.sleep(10)
            assert supervisor.last_pass == 0

    in_virtual_time(story())
