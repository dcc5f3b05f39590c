"""Random histories: workers that die, pods and Jobs that are deleted, outages, restarts, users who change their minds.

Whatever happens, no child is bred by two Jobs or forgotten, and once the faults stop, the run comes to its end.
"""

from __future__ import annotations

import asyncio
import tempfile
from collections import Counter
from collections.abc import Coroutine
from contextlib import ExitStack
from itertools import chain, repeat
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from cycleqd import keys
from cycleqd.errors import CycleQDError
from cycleqd.orders import Outcome
from cycleqd_operator.job_view import JobView
from tests.operator.operator_process import Operator, condition, status_of
from tests.operator.world import AWAY, DIES, World, notes, put_result

EXPERTS = 3
ATTEMPTS = 2
PATIENCE = 200
"""Rounds of looking and working after which a run without faults has to be at its end; the longest takes about 60."""

FAULTS = st.lists(st.booleans(), max_size=12)
DISRUPTED = ({"type": "DisruptionTarget", "status": "True"},)


class Histories(RuleBasedStateMachine):
    """One run in one world, with one operator at a time."""

    def __init__(self) -> None:
        super().__init__()
        self.stack = ExitStack()
        folder = self.stack.enter_context(tempfile.TemporaryDirectory())
        self.loop = self.stack.enter_context(asyncio.Runner())
        self.world = World(Path(folder) / "store")
        self.stack.enter_context(self.world.entered())
        self.operator = Operator(self.world)
        self.is_up_to_date = False

    @initialize(
        children=st.integers(0, 8),
        parallelism=st.integers(1, 4),
        block=st.integers(1, 4),
        strict=st.booleans(),
        desired=st.sampled_from(["Running", "Running", "Paused"]),
        breeds=st.sampled_from([True, True, False]),
    )
    def apply(self, children: int, parallelism: int, block: int, strict: bool, desired: str, breeds: bool) -> None:
        """Begin at the beginning, or with experts that are ready, as most of a run's time is bred in."""
        self.world.apply(
            search={"children": children, "strict": strict, "lag": 2},
            workers={"parallelism": parallelism, "childrenPerJob": block},
            failurePolicy={"attempts": ATTEMPTS, "maxQuarantined": 1000, "maxFailures": 100_000},
            desiredState=desired,
        )
        for expert in ("sql", "shell", "python") if breeds else ():
            self.world.storage.put(keys.basis_manifest(expert), b"{}")
        for individual in range(EXPERTS) if breeds else ():
            put_result(self.world.storage, individual)
        self._run(self.operator.start())

    # The operator.

    @rule()
    def look(self) -> None:
        self.operator.hear()
        self.is_up_to_date = self._look()

    @rule(times=st.integers(1, 6))
    def look_and_work(self, times: int) -> None:
        for _ in range(times):
            self.look()
            self.after_a_look_all_is_as_wanted()
            self.world.work()

    @rule(api=FAULTS, store=FAULTS)
    def look_in_bad_weather(self, api: list[bool], store: list[bool]) -> None:
        self.operator.cluster.away = chain(api, repeat(False))
        self.world.store_hiccups = list(store)
        self._look()
        self.operator.cluster.away = repeat(False)
        self.world.store_hiccups = []

    @rule(lost=FAULTS)
    def look_and_miss_answers(self, lost: list[bool]) -> None:
        """What the API server did without telling is heard as an event before the next look."""
        self.operator.cluster.deaf = chain(lost, repeat(False))
        self._look()
        self.operator.cluster.deaf = repeat(False)
        self.operator.hear()

    @rule(events=st.integers(1, 4))
    def hear(self, events: int) -> None:
        self.operator.hear(events)

    @rule()
    def watches_begin_again(self) -> None:
        self.operator.reconnect()

    @rule()
    def resync(self) -> None:
        self._run(self.operator.resync())

    @rule()
    def restart(self) -> None:
        self.operator.stop()
        self.operator = Operator(self.world)
        self._run(self.operator.start())

    # Workers and nodes.

    @rule(times=st.integers(1, 4))
    def work(self, times: int) -> None:
        for _ in range(times):
            self.world.work()

    @rule(data=st.data(), fate=st.sampled_from(["dies", "temporary", "disrupted", "stopped", "deleted"]))
    @precondition(lambda self: self.world.live_pods)
    def end_a_pod(self, data: st.DataObject, fate: str) -> None:
        pod = data.draw(st.sampled_from(self.world.live_pods))
        breeds = pod["metadata"]["labels"]["cycleqd.dev/role"] == "breed"
        if fate == "deleted":
            pod["metadata"].setdefault("deletionTimestamp", "2027-01-15T08:00:00Z")
        elif fate == "disrupted":
            self.world.end_pod(pod, 137, conditions=DISRUPTED)
        elif fate == "stopped":
            self.world.end_pod(pod, 143)
        elif fate == "dies" and breeds:  # other work that dies twice fails the run: not here
            self.world.end_pod(pod, 137)
        else:
            self.world.end_pod(pod, 75, Outcome.of(AWAY))

    @rule(last_words=st.booleans())
    def stop_pods(self, last_words: bool) -> None:
        self.world.stop_pods(last_words=last_words)

    @rule(child=st.integers(EXPERTS, EXPERTS + 3), workers=st.integers(1, 2 * ATTEMPTS))
    def child_kills_its_next_workers(self, child: int, workers: int) -> None:
        self.world.fates.setdefault(f"breed-{child}", []).extend([DIES] * workers)

    @rule(child=st.integers(EXPERTS, EXPERTS + 7))
    def damage(self, child: int) -> None:
        self.world.storage.put_once(keys.result(child), b"half a res")

    @rule(seconds=st.sampled_from([1, 20, 700]))
    def time_passes(self, seconds: int) -> None:
        self.world.pass_time(seconds)

    @rule(away=st.booleans())
    def store_goes_or_comes(self, away: bool) -> None:
        self.world.store_trouble = AWAY if away else None

    # Users.

    @rule(data=st.data())
    @precondition(lambda self: self.world.jobs)
    def delete_a_job(self, data: st.DataObject) -> None:
        self.world.api.remove("jobs", data.draw(st.sampled_from(self.world.jobs)))

    @rule(desired=st.sampled_from(["Running", "Running", "Paused", "Suspended"]))
    def change_desired_state(self, desired: str) -> None:
        self.world.change(desiredState=desired)

    @rule(parallelism=st.integers(1, 4))
    def change_parallelism(self, parallelism: int) -> None:
        self.world.change(parallelism=parallelism)

    @rule(more=st.integers(1, 3))
    @precondition(lambda self: self._children < 12)
    def raise_children(self, more: int) -> None:
        self.world.change(children=self._children + more)

    # What must hold.

    @invariant()
    def after_a_look_all_is_as_wanted(self) -> None:
        if not self.is_up_to_date:
            return
        self.is_up_to_date = False
        active = self.world.active_jobs
        spec = self.world.run()["spec"]
        if spec["desiredState"] != "Paused" and not self.world.store_trouble:  # it takes a plan to know whom to stop
            assert len(active) <= spec["workers"]["parallelism"]
        claims = Counter(individual for job in active for individual in _work(job))
        assert not [individual for individual, jobs in claims.items() if jobs > 1]
        status = status_of(self.world)
        assert status.state != "Failed", condition(self.world, "Failed").message
        if status.state in ("Suspended", "Succeeded"):
            assert active == []
        if status.state == "Succeeded":  # such a run is not looked at again
            return
        if self.world.store_trouble:
            assert condition(self.world, "Degraded").reason == "StoreUnreachable"
        else:
            children = {child for child in self.world.readable_results if child >= EXPERTS}
            assert status.children == len(children - self.world.quarantined)

    def teardown(self) -> None:
        try:
            if self.world.api.all("cycleqdruns"):
                self._come_to_an_end()
        finally:
            self.stack.close()

    def _come_to_an_end(self) -> None:
        """Let the faults stop: every run that is wanted comes to its end, with each child settled once."""
        world, operator = self.world, self.operator
        world.store_trouble = None
        world.change(desiredState="Running")
        operator.reconnect()
        self._run(operator.resync())
        for _ in range(PATIENCE):
            self.look()
            self.after_a_look_all_is_as_wanted()
            if operator.tracked().is_over:
                break
            world.work()
            world.stop_pods()
            world.pass_time(20)
        status = status_of(world)
        assert status.state == "Succeeded", status
        assert world.active_jobs == []
        assert world.live_pods == []
        everybody = set(range(EXPERTS + self._children))
        assert world.readable_results | world.quarantined == everybody
        assert status.quarantined == len(world.quarantined)
        assert status.children == self._children - len(world.quarantined)

        deaths = Counter((note.individual, note.generation) for note in notes(world) if note.is_death)
        assert max(deaths.values(), default=0) <= ATTEMPTS  # then its child is given up

    @property
    def _children(self) -> int:
        return int(self.world.run()["spec"]["search"]["children"])

    def _look(self) -> bool:
        """Look; return whether nothing was in the way. The supervisor tries again what raised."""
        try:
            self._run(self.operator.look_at_all())
        except CycleQDError:
            return False
        return True

    def _run(self, task: Coroutine[Any, Any, Any]) -> Any:
        return self.loop.run(task)


def _work(job: dict[str, Any]) -> tuple[int, ...]:
    view = JobView.of(job)
    assert view
    return view.work.ids


QUICK = settings(max_examples=15, stateful_step_count=30, deadline=None)
THOROUGH = settings.get_current_profile_name() == "thorough"

TestHistories = Histories.TestCase
TestHistories.settings = settings(
    settings.default if THOROUGH else QUICK, suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much]
)
