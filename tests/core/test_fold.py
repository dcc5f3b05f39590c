"""The fold: a pure function of the set of results."""

from __future__ import annotations

import random
from dataclasses import fields, replace

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import settings as effort
from hypothesis import strategies as st

from cycleqd.api.search import ArchiveType, Cvt, DominatedNovelty, Grid
from cycleqd.archive import CellArchive, GridArchive
from cycleqd.fold import Entry, Population, entry_of, fold
from cycleqd.records import Timings
from tests.core.support import make_result

GRID = Grid(bins=4)
ITEMS = 7


def entry(individual: int, evaluation: int, scores: tuple[float, ...] | None) -> Entry:
    """Return an entry with items that fit the scores; which ones are right depends on who was asked."""
    rights = [round(score * ITEMS) for score in scores or ()]
    texts = (("1" * n).ljust(ITEMS, "0") for n in rights)
    turned = tuple(text[individual % ITEMS :] + text[: individual % ITEMS] for text in texts)
    return Entry(id=individual, evaluation=evaluation, scores=scores, items=turned)


EXPERTS = [entry(k, 0, tuple(0.75 if k == j else 0.25 for j in range(3))) for k in range(3)]

TYPES = {
    "Grid": GRID,
    "Cvt": Cvt(type="Cvt", cells=12),
    "DominatedNovelty": DominatedNovelty(type="DominatedNovelty", size=6),
    "DominatedNovelty of items": DominatedNovelty(type="DominatedNovelty", size=6, neighbours=2, behaviour="Items"),
}


def of_types(*names: str) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("settings", [TYPES[name] for name in names], ids=names)


every_type = of_types(*TYPES)


def _same(one: Population, other: Population) -> bool:
    parts = [(one.ids, other.ids), (one.scores, other.scores)]
    for mine, theirs in zip(one.archives, other.archives, strict=True):
        parts += [(getattr(mine, field.name), getattr(theirs, field.name)) for field in fields(mine)]
    pairs = [(np.asarray(a), np.asarray(b)) for a, b in parts]
    return all(a.tobytes() == b.tobytes() and a.shape == b.shape for a, b in pairs)


scores = st.none() | st.tuples(*[st.integers(0, 7).map(lambda n: n / 7)] * 3)
entries = st.dictionaries(st.tuples(st.integers(3, 30), st.integers(0, 2)), scores, max_size=50).map(
    lambda table: EXPERTS + [entry(i, n, s) for (i, n), s in table.items()]
)


@every_type
def test_whoever_was_broken_once_is_in_no_archive(settings: ArchiveType) -> None:
    best = entry(7, 0, (1.0, 1.0, 1.0))
    again = replace(entry(7, 1, None), broken=1)
    assert 7 in fold([*EXPERTS, best], 3, settings).ids
    assert _same(fold([*EXPERTS, best, again], 3, settings), fold(EXPERTS, 3, settings))


@every_type
@effort(max_examples=30)
@given(results=entries, seed=st.integers(0, 1000))
def test_order_does_not_matter(settings: ArchiveType, results: list[Entry], seed: int) -> None:
    shuffled = random.Random(seed).sample(results, len(results))
    assert _same(fold(results, 3, settings), fold(shuffled, 3, settings))


@every_type
@effort(max_examples=30)
@given(results=entries, seed=st.integers(0, 1000))
def test_repetition_does_not_matter(settings: ArchiveType, results: list[Entry], seed: int) -> None:
    repeated = results + random.Random(seed).choices(results, k=20)
    assert _same(fold(results, 3, settings), fold(repeated, 3, settings))


@of_types("Grid", "Cvt")
@effort(max_examples=50)
@given(results=entries, cut=st.integers(3, 31))
def test_two_halves_offered_one_after_the_other_give_the_whole(
    settings: ArchiveType, results: list[Entry], cut: int
) -> None:
    whole = fold(results, 3, settings)
    early, late = (fold([e for e in results if (e.id < cut) is is_early], 3, settings) for is_early in (True, False))
    for archive, first in zip(whole.archives, early.archives, strict=True):
        assert isinstance(archive, CellArchive)
        assert isinstance(first, CellArchive)
        both = first.admit(late.ids, late.scores) if len(late.ids) else first
        np.testing.assert_array_equal(both.cells, archive.cells)
        np.testing.assert_array_equal(both.members, archive.members)
        np.testing.assert_array_equal(both.scores, archive.scores)


@every_type
@effort(max_examples=30)
@given(results=entries, cut=st.integers(3, 31))
def test_first_is_the_fold_of_the_early_ids(settings: ArchiveType, results: list[Entry], cut: int) -> None:
    assert _same(fold(results, 3, settings).first(cut), fold([e for e in results if e.id < cut], 3, settings))


@every_type
@effort(max_examples=30)
@given(results=entries)
def test_whoever_is_best_on_a_task_is_in_its_archive(settings: ArchiveType, results: list[Entry]) -> None:
    population = fold(results, 3, settings)
    for archive in population.archives:
        assert len(archive.members) <= archive.capacity
        assert archive.qualities[archive.best()] == population.scores[:, archive.task].max()
        rows = np.searchsorted(population.ids, archive.members)
        np.testing.assert_array_equal(archive.scores, population.scores[rows])


FAR_ONE_WAS_DROPPED = [
    *EXPERTS,
    *(
        entry(individual, 0, tuple(n / 7 for n in sevenths))
        for individual, sevenths in enumerate([(4, 0, 0), (0, 4, 0), (0, 6, 0), (2, 2, 3)], start=4)
    ),
]
"""The last is in no archive of six, but raises the mean distance of whoever has but one better elite."""


@of_types("Grid", "Cvt", "DominatedNovelty")
@effort(max_examples=30)
@example(results=FAR_ONE_WAS_DROPPED, individual=3, offered=(0, 0, 2 / 7))
@given(results=entries, individual=st.integers(3, 31), offered=st.tuples(*[st.integers(0, 7).map(lambda n: n / 7)] * 3))
def test_enters_says_who_would_be_in_the_archive(
    settings: ArchiveType, results: list[Entry], individual: int, offered: tuple[float, ...]
) -> None:
    before = [entry for entry in results if entry.id != individual]
    after = fold([*before, entry(individual, 0, offered)], 3, settings).archives
    for archive, full in zip(fold(before, 3, settings).archives, after, strict=True):
        (found,) = archive.enters(individual, np.array([offered]))
        if settings.type != "DominatedNovelty":
            assert found == (individual in full.members)
        elif individual in full.members:
            assert found, "the promise is never to deny somebody who enters"


@pytest.mark.parametrize(("behaviour", "kept"), [("Scores", [0, 1]), ("Items", [0, 2])])
def test_items_tell_apart_whom_scores_cannot(behaviour: str, kept: list[int]) -> None:
    settings = DominatedNovelty.model_validate(
        {"type": "DominatedNovelty", "size": 2, "neighbours": 1, "behaviour": behaviour}
    )
    rights = [(1.0, "1100"), (0.9, "1100"), (0.8, "0011")]
    people = [
        Entry(id=i, evaluation=0, scores=(own, 0.5), items=("0000", text)) for i, (own, text) in enumerate(rights)
    ]
    assert fold(people, 2, settings).archives[0].members.tolist() == kept


@every_type
def test_only_some_elites(settings: ArchiveType) -> None:
    people = [*EXPERTS, *(entry(3 + k, 0, (k / 7, 1 - k / 7, 0.5)) for k in range(8))]
    for archive in fold(people, 3, settings).archives:
        children = archive.only(archive.members >= 3)
        kept = np.flatnonzero(archive.members >= 3)
        assert 0 < len(kept) < len(archive.members)
        assert children.members.tolist() == archive.members[kept].tolist()
        assert {len(getattr(children, name)) for name in children.ONE_PER_ELITE} == {len(kept)}
        assert children.enters(99, np.array([[2.0, 2.0, 2.0]])).tolist() == [True]


def test_items_are_those_of_the_first_evaluation_that_has_scores() -> None:
    settings = DominatedNovelty(type="DominatedNovelty", behaviour="Items")
    later = [replace(entry(3, n, (0.5, 0.5, 0.5)), items=(text,) * 3) for n, text in ((1, "1100000"), (2, "0000011"))]
    population = fold([*EXPERTS, entry(3, 0, None), *later], 3, settings)
    assert population.items[0][3].tolist() == [True, True, *[False] * 5]


def test_items_are_right_where_most_repeats_were() -> None:
    result = make_result(0, [1.0, 0.5, 0.4], items=2)
    assert entry_of(result, items=True).items == ("11", "11", "00")
    assert entry_of(result).items == ()


def test_all_evaluations_of_an_individual_count() -> None:
    lucky = Entry(id=3, evaluation=0, scores=(1.0, 0.5, 0.5))
    again = [Entry(id=3, evaluation=n, scores=(0.25, 0.5, 0.5)) for n in (1, 2)]
    population = fold([*EXPERTS, lucky, *again], 3, GRID)
    assert population.scores[3].tolist() == [0.5, 0.5, 0.5]


def test_experts_are_offered_before_children_with_the_same_scores() -> None:
    twins = [Entry(id=3 + k, evaluation=0, scores=EXPERTS[k].scores) for k in range(3)]
    population = fold([*twins, *EXPERTS], 3, GRID)
    assert {int(member) for archive in population.archives for member in archive.members} == {0, 1, 2}


def test_an_individual_with_unscored_items_is_compared_with_nobody() -> None:
    unscored = entry_of(make_result(3, [1.0, None, 1.0]))
    assert unscored.scores is None
    assert _same(fold([*EXPERTS, unscored], 3, GRID), fold(EXPERTS, 3, GRID))


def test_an_unscored_evaluation_leaves_the_scored_ones_alone() -> None:
    good = Entry(id=3, evaluation=0, scores=(0.5, 0.5, 0.5))
    unscored = Entry(id=3, evaluation=1, scores=None)
    assert _same(fold([*EXPERTS, good, unscored], 3, GRID), fold([*EXPERTS, good], 3, GRID))


def test_no_archives_before_all_experts_have_scores() -> None:
    child = Entry(id=3, evaluation=0, scores=(0.5, 0.5, 0.5))
    for missing in range(3):
        population = fold([child, *(e for e in EXPERTS if e.id != missing)], 3, GRID)
        assert not population.ready
        assert population.archives == ()
        assert population.coverage == 0.0
    assert fold([], 3, GRID).archives == ()


def test_limits_come_from_the_experts_alone() -> None:
    child = Entry(id=3, evaluation=0, scores=(1.0, 1.0, 0.0))
    population = fold([*EXPERTS, child], 3, Grid())
    archive = population.archives[0]
    assert isinstance(archive, GridArchive)
    np.testing.assert_allclose(archive.edges[:, [0, -1]], [[0.25 * 0.85, 0.75 * 1.15]] * 3)


def test_every_child_is_offered_to_every_archive() -> None:
    best = Entry(id=3, evaluation=0, scores=(1.0, 1.0, 1.0))
    population = fold([*EXPERTS, best], 3, GRID)
    assert all(3 in archive.members for archive in population.archives)


def test_an_entry_keeps_what_its_individual_took_a_worker() -> None:
    timings = Timings(
        open_seconds=50.0,
        breed_seconds=1.0,
        load_seconds=2.0,
        evaluate_seconds=4.0,
        wait_seconds=100.0,
        write_seconds=0.5,
    )
    entry = entry_of(make_result(3, [0.5] * 3, timings=timings, gpus=2))
    assert entry.gpus == 2
    assert (entry.seconds, entry.evaluate_seconds) == (7.5, 4.0), "neither opening nor waiting counts"
