"""What guidance of a real run is shown: search items and lessons alone, each task as much as its share; and that a
strict run repeats.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pytest

from cycleqd import keys
from cycleqd.identity import claim
from cycleqd.manifest import load_manifest
from cycleqd.records import Transcript, read_result
from cycleqd.store import open_store
from cycleqd_runner.contest import arena
from cycleqd_runner.contest.arena import Arena, open_arena
from cycleqd_runner.contest.entries import load_contest
from cycleqd_runner.guide.lessons import Lesson
from cycleqd_runner.roles.breed import breed
from cycleqd_runner.roles.evaluate import evaluate
from cycleqd_runner.roles.prepare import prepare
from cycleqd_runner.session import Session
from tests.runner.contest.support import QuickSandbox, open_quick_sandbox, tiny_models, write_contest
from tests.runner.models import fine_tune, save_llama
from tests.runner.runs import write_manifest
from tests.runner.test_run import tiny_spec


@pytest.fixture(scope="module")
def within(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Callable[[Arena], None]], None]:
    """Runs something with the arena of a tiny comparison, which has two lessons a task."""
    folder = tmp_path_factory.mktemp("arena")
    tiny_models(folder)
    contest = load_contest(write_contest(folder, lessons=2))

    async def run(work: Callable[[Arena], None]) -> None:
        async with open_arena(contest, 0) as opened:
            work(opened)

    def within(work: Callable[[Arena], None]) -> None:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(arena, "open_sandbox", open_quick_sandbox)
            asyncio.run(run(work))

    return within


def test_nothing_is_learned_from_validation_or_test_items(within: Callable[[Callable[[Arena], None]], None]) -> None:
    def look(opened: Arena) -> None:
        taught = {(one.transcript.task, one.transcript.item) for one in opened._lessons}
        allowed = set[tuple[str, str]]()
        for task in opened.session.tasks:
            ids = {split: {item.id for item in items} for split, items in task.splits.items()}
            for split in ("search", "validation", "test"):
                assert ids["lessons"].isdisjoint(ids[split]), split
            allowed |= {(task.spec.name, item) for item in ids["search"] | ids["lessons"]}
        assert taught
        assert taught <= allowed

    within(look)


def answer(teacher: int, task: str, number: int) -> Lesson:
    asked = ({"role": "user", "content": f"say {number}"},)
    return Lesson(
        teacher, Transcript(task=task, item=f"{number}", messages=asked, answer=f"{task} {number}", score=1.0)
    )


@pytest.mark.parametrize("task", [0, 1])
def test_shares_reach_the_batches_and_teachers_are_those_who_were_shown(
    within: Callable[[Callable[[Arena], None]], None], task: int
) -> None:
    def guide(opened: Arena) -> None:
        lessons = [answer(k, own.spec.name, i) for k, own in enumerate(opened.session.tasks) for i in range(3)]
        of_task = [lesson for lesson in lessons if lesson.teacher == task]
        shares = [float(k == task) for k in range(2)]
        start, rng = opened.experts[task], np.random.default_rng(0)
        improved = opened.guide.improve(start, lessons, shares, 1, rng)
        assert improved.teachers == (task,)
        assert opened.guide.improve(start, lessons, [0.5, 0.5], 1, rng).teachers == (0, 1)
        alone = opened.guide.improve(start, of_task, [1.0, 1.0], 1, np.random.default_rng(0))
        assert improved.genome.digest == alone.genome.digest, "the other task's answers change nothing"

    within(guide)


def test_a_strict_guided_run_gives_the_same_bits_again(tmp_path: Path) -> None:
    base = save_llama(tmp_path / "base")
    experts = {name: fine_tune(base, tmp_path / name, seed) for seed, name in enumerate(("a", "b"), start=1)}
    law = {"type": "Guided", "steps": 1, "firstSteps": 2, "batchItems": 4}
    search = {"emitter": law, "basis": {"rank": 3}, "strict": True, "lag": 1}
    search |= {"archive": {"type": "DominatedNovelty"}}  # which everybody enters

    async def bred(name: str) -> list[Mapping[str, object]]:
        spec = tiny_spec(tmp_path, experts, base, **search) | {"storage": {"uri": str(tmp_path / name)}}
        run = load_manifest(write_manifest(tmp_path / f"{name}.yaml", spec))
        claim(store := open_store(run.spec.storage.uri), run)
        session, sandbox = Session(store), QuickSandbox()
        for expert in experts:
            prepare(session, expert)
        await evaluate(session, [0, 1], sandbox)
        await breed(session, range(2, 6), sandbox)
        session.engine.close()
        results = [read_result(store.get(key), key) for key in store.list(keys.RESULTS)]
        assert [one.emitter for one in results] == ["Expert"] * 2 + ["Guided"] * 4
        assert results[-1].draws["steps"] == 1, "it is a child of elites"
        return [one.repeatable() for one in results]

    assert asyncio.run(bred("once")) == asyncio.run(bred("again"))
