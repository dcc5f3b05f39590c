"""What should run next: phases as a table, blocks as properties, and whole runs simulated with lagging workers."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import count
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cycleqd.api import RunSpec
from cycleqd.plan import SMALLEST_BLOCK, Observed, Plan, Work, child_key, plan
from tests.core.support import SKILLS, run_spec

PREPARED = frozenset(SKILLS)
EXPERTS = frozenset(range(3))
ALL = frozenset(range(3 + 12))


def _spec(
    parallelism: int = 2, children: int = 12, state: str = "Running", per_job: int = 30, **search: Any
) -> RunSpec:
    return run_spec(
        search={"children": children, **search},
        workers={"parallelism": parallelism, "childrenPerJob": per_job},
        desiredState=state,
    )


def _breed(*ids: int) -> Work:
    return Work("breed", ids=ids)


def _evaluate(individual: int) -> Work:
    return Work("evaluate", ids=(individual,))


@pytest.mark.parametrize(
    ("state", "observed", "expected"),
    [
        pytest.param(
            "Running",
            Observed(),
            Plan("Preparing", (Work("prepare", "sql"), Work("prepare", "shell"))),
            id="at first experts are prepared, no more than there are workers",
        ),
        pytest.param(
            "Running",
            Observed(running=(Work("prepare", "sql"),)),
            Plan("Preparing", (Work("prepare", "shell"),)),
            id="what runs is not started again",
        ),
        pytest.param(
            "Running",
            Observed(prepared=frozenset({"sql"}), running=(Work("prepare", "shell"), Work("prepare", "python"))),
            Plan("Preparing"),
            id="all workers busy: nothing to start",
        ),
        pytest.param(
            "Running",
            Observed(prepared=frozenset({"shell", "python"})),
            Plan("Preparing", (Work("prepare", "sql"),)),
            id="a dead worker's expert is prepared again",
        ),
        pytest.param(
            "Running",
            Observed(PREPARED),
            Plan("Evaluating", (_evaluate(0), _evaluate(1))),
            id="then experts are evaluated",
        ),
        pytest.param(
            "Running",
            Observed(PREPARED, frozenset({0, 2})),
            Plan("Evaluating", (_evaluate(1),)),
            id="children wait until the last expert has its scores",
        ),
        pytest.param(
            "Running",
            Observed(PREPARED, EXPERTS),
            Plan("Breeding", (_breed(3, 5, 7), _breed(4, 6, 8))),
            id="then children are bred",
        ),
        pytest.param(
            "Running",
            Observed(PREPARED, ALL - {9}),
            Plan("Breeding", (_breed(9),)),
            id="one missing child, one block",
        ),
        pytest.param(
            "Running",
            Observed(PREPARED, ALL, running=(_breed(14),)),
            Plan("Breeding"),
            id="finalize waits for workers that still run",
        ),
        pytest.param("Running", Observed(PREPARED, ALL), Plan("Finalizing", (Work("finalize"),)), id="then finalize"),
        pytest.param(
            "Running",
            Observed(PREPARED, ALL, running=(Work("finalize"),)),
            Plan("Finalizing"),
            id="finalize runs once",
        ),
        pytest.param("Running", Observed(PREPARED, ALL, finalized=True), Plan("Succeeded"), id="the end"),
        pytest.param(
            "Running",
            Observed(PREPARED, ALL - {14}, finalized=False),
            Plan("Breeding", (_breed(14),)),
            id="children raised after the end: the run goes on",
        ),
        pytest.param(
            "Running",
            Observed(PREPARED, EXPERTS, running=(_breed(3), _breed(4), _breed(5))),
            Plan("Breeding", stop=(_breed(5),)),
            id="parallelism lowered below what runs: the latest stops",
        ),
        pytest.param("Paused", Observed(PREPARED, EXPERTS), Plan("Breeding"), id="paused: nothing starts"),
        pytest.param(
            "Paused",
            Observed(PREPARED, EXPERTS, running=(_breed(3),)),
            Plan("Breeding"),
            id="paused: what runs may finish",
        ),
        pytest.param(
            "Suspended",
            Observed(PREPARED, EXPERTS, running=(_breed(3),)),
            Plan("Breeding", stop=(_breed(3),)),
            id="suspended: stop now",
        ),
        pytest.param("Suspended", Observed(), Plan("Preparing"), id="suspended: nothing to stop"),
        pytest.param(
            "Finished",
            Observed(PREPARED, EXPERTS | {3}, running=(_breed(4),)),
            Plan("Breeding"),
            id="finished: running blocks drain",
        ),
        pytest.param(
            "Finished",
            Observed(PREPARED, EXPERTS | {3}),
            Plan("Finalizing", (Work("finalize"),)),
            id="finished: finalize with what there is",
        ),
        pytest.param(
            "Finished",
            Observed(PREPARED, frozenset({0, 1})),
            Plan("Evaluating", (_evaluate(2),)),
            id="finished: experts are needed all the same",
        ),
        pytest.param(
            "Cancelled", Observed(running=(_breed(3),)), Plan("Cancelled", stop=(_breed(3),)), id="cancelled: stop now"
        ),
        pytest.param("Cancelled", Observed(), Plan("Cancelled"), id="cancelled: nothing left to stop"),
        pytest.param(
            "Running",
            Observed(held=frozenset({"prepare-sql"})),
            Plan("Preparing", (Work("prepare", "shell"), Work("prepare", "python"))),
            id="an expert that has to wait lets the others pass",
        ),
        pytest.param(
            "Running",
            Observed(PREPARED, frozenset({1, 2}), held=frozenset({"evaluate-0"})),
            Plan("Evaluating"),
            id="children wait for an expert that has to wait",
        ),
        pytest.param(
            "Running",
            Observed(PREPARED, EXPERTS, held=frozenset({"breed-4"})),
            Plan("Breeding", (_breed(3, 6, 8), _breed(5, 7, 9))),
            id="a block leaves out the child that has to wait",
        ),
        pytest.param(
            "Running",
            Observed(PREPARED, ALL - {9}, held=frozenset({"breed-9"})),
            Plan("Breeding"),
            id="finalize waits for a child that has to wait",
        ),
        pytest.param(
            "Running",
            Observed(PREPARED, ALL, held=frozenset({"finalize"})),
            Plan("Finalizing"),
            id="finalize has to wait, too",
        ),
    ],
)
def test_what_runs_next(state: str, observed: Observed, expected: Plan) -> None:
    assert plan(_spec(state=state), observed) == expected


def test_no_children_wanted_goes_straight_to_finalize() -> None:
    assert plan(_spec(children=0), Observed(PREPARED, EXPERTS)) == Plan("Finalizing", (Work("finalize"),))


@pytest.mark.parametrize(
    ("parallelism", "children", "per_job", "longest"),
    [
        pytest.param(8, 1200, 30, 30, id="childrenPerJob bounds a block"),
        pytest.param(8, 1200, 1000, 75, id="half of a worker's share of what is left"),
        pytest.param(8, 64, 30, 4, id="shorter towards the end"),
        pytest.param(8, 10, 30, SMALLEST_BLOCK, id="not shorter than loading an engine is worth"),
        pytest.param(1, 45, 100, 45, id="one worker takes everything"),
        pytest.param(8, 1200, 1, 1, id="the user's bound wins over the smallest block"),
    ],
)
def test_length_of_blocks(parallelism: int, children: int, per_job: int, longest: int) -> None:
    start = plan(_spec(parallelism, children, per_job=per_job), Observed(PREPARED, EXPERTS)).start
    assert max(len(work.ids) for work in start) == longest


def test_warm_workers_take_single_children_at_the_end() -> None:
    spec, busy = _spec(parallelism=2, children=12), _breed(11, 12, 13)
    observed = Observed(PREPARED, ALL - {*busy.ids, 14}, running=(busy,))
    assert plan(spec, observed, smallest_block=1).start == (_breed(14),)
    left = Observed(PREPARED, ALL - {12, 13, 14})
    assert plan(spec, left).start == (_breed(12, 13, 14),)
    assert plan(spec, left, smallest_block=1).start == (_breed(12), _breed(13))


def test_a_dead_block_is_planned_again_at_its_missing_children() -> None:
    spec = _spec(parallelism=1, children=12, per_job=6)
    (block,) = plan(spec, Observed(PREPARED, EXPERTS)).start
    assert block == _breed(3, 4, 5, 6, 7, 8)
    (again,) = plan(spec, Observed(PREPARED, EXPERTS | {3, 5})).start
    assert again == _breed(4, 6, 7, 8, 9, 10)


def test_a_strict_worker_that_is_early_waits_for_the_others() -> None:
    spec = _spec(parallelism=2, children=40, per_job=4, strict=True, lag=2)
    first = plan(spec, Observed(PREPARED, EXPERTS)).start
    assert [work.ids for work in first] == [(3, 5, 7, 9), (4, 6, 8, 10)]
    early = Observed(PREPARED, EXPERTS | {*range(3, 10)}, running=(first[1],))
    assert plan(spec, early) == Plan("Breeding")
    assert plan(_spec(parallelism=2, children=40, per_job=4), early).start == (_breed(11, 12, 13, 14),)


def test_what_a_dead_worker_left_in_a_strict_run_is_handed_out_at_once() -> None:
    spec = _spec(parallelism=2, children=40, per_job=4, strict=True, lag=2)
    observed = Observed(PREPARED, EXPERTS | {3, 4, 6}, running=(_breed(4, 6, 8, 10),))
    assert plan(spec, observed).start == (_breed(5, 7, 9),)


@pytest.mark.parametrize(
    ("lag", "ids"),
    [
        pytest.param(0, {3, 4}, id="nobody may miss its result"),
        pytest.param(2, {3, 4, 6, 7}, id="two may"),
        pytest.param(99, {3, 4, 6, 7, 8, 9, 10, 11}, id="all may"),
    ],
)
def test_in_strict_runs_nothing_starts_that_waits_for_a_held_child(lag: int, ids: set[int]) -> None:
    spec = _spec(parallelism=1, children=9, strict=True, lag=lag)
    decision = plan(spec, Observed(PREPARED, EXPERTS, held=frozenset({"breed-5"})))
    assert {individual for work in decision.start for individual in work.ids} == ids


@dataclass
class Simulation:
    """Workers that breed one child a tick each, wait where strict makes them, and sometimes die.

    A child whose worker died has to wait for some ticks before it is tried again.
    """

    spec: RunSpec
    deaths: frozenset[int] = frozenset()
    """Ticks at which the first worker dies."""
    wait: int = 0
    """Ticks."""
    held: dict[int, int] = field(default_factory=dict)
    """Children that have to wait, and until when."""
    done: set[int] = field(default_factory=lambda: set(EXPERTS))
    workers: dict[int, Work] = field(default_factory=dict)
    bred: list[int] = field(default_factory=list)

    def run(self) -> int:
        """Return the ticks until nothing is left to breed."""
        names = count()
        for tick in range(10_000):
            held = frozenset(child_key(individual) for individual, until in self.held.items() if tick < until)
            running = tuple(self.workers.values())
            decision = plan(self.spec, Observed(PREPARED, frozenset(self.done), running=running, held=held))
            if decision.phase != "Breeding":
                return tick
            for work in decision.start:
                claimed = {individual for other in self.workers.values() for individual in other.ids}
                assert not claimed & set(work.ids), "a child is claimed twice"
                assert list(work.ids) == sorted(work.ids)
                assert not held & {child_key(individual) for individual in work.ids}
                self.workers[next(names)] = work
            assert len(self.workers) <= self.spec.workers.parallelism
            assert len({work.key for work in self.workers.values()}) == len(self.workers)
            if tick in self.deaths and self.workers:
                self._die(tick)
            self._step()
        pytest.fail(f"the run hangs at {len(self.done)} results")

    def _die(self, tick: int) -> None:
        work = self.workers.pop(min(self.workers))
        left = [individual for individual in work.ids if individual not in self.done]
        self.held |= dict.fromkeys(left[:1], tick + self.wait)

    def _step(self) -> None:
        before = frozenset(self.done)
        for name, work in list(self.workers.items()):
            left = [individual for individual in work.ids if individual not in self.done]
            if left and self._may_start(left[0], before):
                self.done.add(left[0])
                self.bred.append(left[0])
            if not [individual for individual in work.ids if individual not in self.done]:
                del self.workers[name]

    def _may_start(self, individual: int, results: frozenset[int]) -> bool:
        """A strict child waits for every result with an id below its own minus the lag."""
        search = self.spec.search
        return not search.strict or results >= set(range(max(3, individual - search.lag)))


@settings(max_examples=60, deadline=None)
@given(
    parallelism=st.integers(1, 6),
    children=st.integers(0, 90),
    per_job=st.integers(1, 30),
    strict=st.booleans(),
    lag=st.integers(0, 10),
    deaths=st.frozensets(st.integers(0, 60), max_size=6),
    wait=st.integers(0, 20),
)
def test_every_run_ends_with_every_child_bred_once(
    *, parallelism: int, children: int, per_job: int, strict: bool, lag: int, deaths: frozenset[int], wait: int
) -> None:
    simulation = Simulation(_spec(parallelism, children, per_job=per_job, strict=strict, lag=lag), deaths, wait)
    simulation.run()
    assert sorted(simulation.bred) == list(range(3, 3 + children))


@pytest.mark.parametrize("strict", [False, True])
def test_four_workers_are_nearly_four_times_as_fast(strict: bool) -> None:
    ticks = {n: Simulation(_spec(n, 400, strict=strict, lag=8)).run() for n in (1, 4)}
    assert ticks[1] == 400
    assert ticks[4] <= 115
