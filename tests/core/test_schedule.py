"""Who proposes which child: shares are kept, and the bandit learns who makes elites."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from cycleqd.api.search import Grid, Search
from cycleqd.fold import Population
from cycleqd.schedule import emitter_of

NOBODY = Population(np.arange(2), np.array([[0.9, 0.1], [0.1, 0.9]]), n_experts=2, settings=Grid())


def search(**law: object) -> Search:
    return Search.model_validate({"emitter": {"type": "Guided", **law}})


def chosen(law: Search, population: Population, made_by: dict[int, str], children: int = 400) -> Counter[str]:
    first = len(population.ids)
    return Counter(emitter_of(child, law, population, made_by)[0] for child in range(first, first + children))


@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_a_share_of_the_children_is_guided(share: float) -> None:
    assert chosen(search(share=share), NOBODY, {})["Guided"] / 400 == pytest.approx(share, abs=0.07)


def test_the_paper_s_setting_has_one_emitter() -> None:
    assert chosen(Search(), NOBODY, {}) == {"Paper": 400}


def test_a_bandit_that_knows_nothing_tries_both_alike() -> None:
    assert chosen(search(schedule="Bandit"), NOBODY, {})["Guided"] / 400 == pytest.approx(0.5, abs=0.07)


@pytest.mark.parametrize("better", ["Guided", "Paper"])
def test_the_bandit_prefers_who_makes_elites_and_never_gives_up_the_other(better: str) -> None:
    """Twenty children each: one emitter's all have cells of their own, the other's are worse than an expert."""
    other = "Paper" if better == "Guided" else "Guided"
    good = [[0.3 + 0.02 * n, 0.8 - 0.03 * n] for n in range(20)]
    bad = [[0.05, 0.05]] * 20
    scores = np.array([[0.9, 0.1], [0.1, 0.9], *good, *bad])
    made_by = {2 + n: better for n in range(20)} | {22 + n: other for n in range(20)}
    population = Population(np.arange(42), scores, n_experts=2, settings=Grid())
    found = chosen(search(schedule="Bandit"), population, made_by)
    assert found[better] > 350
    few = chosen(search(schedule="Bandit"), population.first(6), made_by)
    assert few[other] > 10


def test_the_same_child_has_the_same_emitter() -> None:
    law = search(schedule="Bandit")
    assert [emitter_of(n, law, NOBODY, {}) for n in range(2, 50)] == [
        emitter_of(n, law, NOBODY, {}) for n in range(2, 50)
    ]
