"""Randomness: every draw is keyed by (seed, individual, purpose) and by nothing else."""

from __future__ import annotations

import numpy as np
import pytest

from cycleqd.rng import answer_seed, generator


def _draw(seed: int, individual: int, purpose: str) -> tuple[float, ...]:
    return tuple(generator(seed, individual, purpose).random(4))


def test_the_same_key_gives_the_same_draws() -> None:
    assert _draw(5, 17, "mutation") == _draw(5, 17, "mutation")


@pytest.mark.parametrize("other", [(6, 17, "mutation"), (5, 18, "mutation"), (5, 17, "crossover"), (51, 7, "mutation")])
def test_any_other_key_gives_other_draws(other: tuple[int, int, str]) -> None:
    assert not set(_draw(5, 17, "mutation")) & set(_draw(*other))


def test_no_global_generator_is_touched() -> None:
    before = np.random.get_state()[1].tobytes()  # type: ignore[index]  # noqa: NPY002
    _draw(0, 0, "mutation")
    assert np.random.get_state()[1].tobytes() == before  # type: ignore[index]  # noqa: NPY002


def test_draws_of_neighbouring_children_do_not_correlate() -> None:
    draws = np.array([generator(0, individual, "mutation").random(256) for individual in range(64)])
    correlations = np.corrcoef(draws)[np.triu_indices(64, 1)]
    assert abs(correlations.mean()) < 0.01
    assert abs(correlations).max() < 0.35


def test_draws_stay_what_they_were() -> None:
    """A change here makes every recorded run unrepeatable."""
    assert generator(0, 3, "mutation").integers(0, 10**9, 3).tolist() == [59584629, 210686919, 126600309]
    assert answer_seed(0, "sql", "in-france", 1, 2) == 5196321789676719189


@pytest.mark.parametrize(
    "other",
    [
        pytest.param((8, "sql", "a", 1, 2), id="seed"),
        pytest.param((7, "db", "a", 1, 2), id="task"),
        pytest.param((7, "sql", "b", 1, 2), id="item"),
        pytest.param((7, "sql", "a", 2, 2), id="repeat"),
        pytest.param((7, "sql", "a", 1, 1), id="turn"),
        pytest.param((7, "sql", 'a", 1, 2', 1, 2), id="an item that looks like the rest of a key"),
    ],
)
def test_every_answer_has_a_seed_of_its_own(other: tuple[int, str, str, int, int]) -> None:
    own = answer_seed(7, "sql", "a", 1, 2)
    assert own == answer_seed(7, "sql", "a", 1, 2)
    assert own != answer_seed(*other)


def test_seeds_of_answers_use_all_of_their_63_bits() -> None:
    seeds = [answer_seed(0, "sql", str(item), repeat, 0) for item in range(64) for repeat in range(4)]
    assert len(set(seeds)) == 256
    assert 0 <= min(seeds) < 2**58 < 2**62 < max(seeds) < 2**63
