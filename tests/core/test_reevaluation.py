"""Re-evaluation: whom it concerns and when, by pure rules."""

from __future__ import annotations

import numpy as np
import pytest

from cycleqd.api.search import Grid, Noise, Search
from cycleqd.fold import Entry, Population, fold
from cycleqd.reevaluation import is_due, surprises, suspect
from cycleqd.rng import generator

EXPERTS = [Entry(id=k, evaluation=0, scores=tuple(0.75 if k == j else 0.25 for j in range(3))) for k in range(3)]
LUCKY = Entry(3, 0, (1.0, 0.5, 0.25), parents=(0, 1))
BETTER = Entry(4, 0, (0.25, 0.75, 0.5), parents=(1, 2))
FAIR = Entry(5, 0, (0.25, 0.5, 0.5), parents=(1, 2))
BEATEN = Entry(6, 0, (0.9, 0.5, 0.25), parents=(1, 2))
"""In the cells of LUCKY, and worse."""


def _population(*children: Entry) -> Population:
    return fold([*EXPERTS, *children], 3, Grid(bins=4))


@pytest.mark.parametrize(
    ("every", "due"),
    [
        pytest.param(2, [4, 6, 8], id="before every second child"),
        pytest.param(1, [3, 4, 5, 6, 7, 8], id="before every child"),
        pytest.param(0, [], id="never"),
    ],
)
def test_when_it_is_due(every: int, due: list[int]) -> None:
    search = Search(noise=Noise(reevaluate_every=every))
    assert [individual for individual in range(3, 9) if is_due(individual, 3, search)] == due


def test_elites_surprise_by_what_exceeds_their_parents() -> None:
    population = _population(LUCKY, BETTER, FAIR, BEATEN)
    assert 5 in {int(member) for archive in population.archives for member in archive.members}
    assert surprises(population) == {3: 1.0 - 0.5, 4: 0.75 - 0.5}


def test_the_more_surprising_are_drawn_more_often_and_nobody_twice() -> None:
    population = _population(LUCKY, BETTER, FAIR)
    found = surprises(population)
    drawn = [suspect(population, set(), generator(0, child, "reevaluation")) for child in range(2000)]
    weights = {member: value**2 for member, value in found.items()}
    for member, weight in weights.items():
        share, expected = drawn.count(member) / len(drawn), weight / sum(weights.values())
        assert share == pytest.approx(expected, abs=0.05)
    assert suspect(population, set(found), generator(0, 9, "reevaluation")) is None
    assert suspect(population, {3}, generator(0, 9, "reevaluation")) != 3


def test_the_same_draw_for_the_same_child() -> None:
    population = _population(LUCKY, BETTER)
    assert len({suspect(population, (), generator(1, 7, "reevaluation")) for _ in range(5)}) == 1


def test_scores_without_evaluations_surprise_nobody() -> None:
    scores = np.array([entry.scores for entry in (*EXPERTS, LUCKY)])
    assert surprises(Population(np.arange(4), scores, 3, Grid(bins=4))) == {}
