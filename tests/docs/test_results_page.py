"""The verdicts of docs/results.md: nothing is claimed that trials do not show."""

from __future__ import annotations

from collections.abc import Sequence

from results_page import FAILS, HOLDS, IN_THE_MEAN, OPEN, better_than_all, cheaper, keeps

from cycleqd_runner.contest.standings import Lineup, Standings, standings
from cycleqd_runner.contest.trials import Trial
from tests.runner.contest.support import trial

ITEMS = 40
ALL = ("expert", "paper", "ours", "ours-quarter")


def played(method: str, *right: int, seeds: Sequence[int] = (0, 1)) -> list[Trial]:
    """Return trials of one task, in which so many of the items are right with each seed."""
    return [trial(method, seed, sql=[1] * n + [0] * (ITEMS - n)) for seed, n in zip(seeds, right, strict=True)]


def found(*trials: list[Trial]) -> Standings:
    return standings(Lineup("tiny", ALL, (0, 1), {"sql": "expert"}, "ours"), [one for own in trials for one in own])


def test_ours_is_better_only_if_everybody_has_played() -> None:
    ours, paper, expert = played("ours", 38, 38), played("paper", 10, 10), played("expert", 12, 12)
    assert better_than_all(found(ours, paper, expert))[2] == HOLDS, "parts of ours need not have played"
    _, measured, verdict = better_than_all(found(ours, played("paper", 10, seeds=(0,)), expert))
    assert verdict == OPEN
    assert measured == "1 of the 1 that have all seeds; not finished: paper"
    assert better_than_all(found(ours, paper, played("expert", 38, 38)))[2] == FAILS


def test_a_skill_is_kept_for_certain_or_in_the_mean_or_not() -> None:
    expert = played("expert", 30, 30)
    assert keeps(found(played("ours", 38, 38), expert))[2] == HOLDS
    assert keeps(found(played("ours", 33, 27), expert))[2] == IN_THE_MEAN
    assert keeps(found(played("ours", 20, 20), expert))[2] == FAILS
    assert keeps(found(played("ours", 38, 38)))[2] == OPEN


def test_fewer_tokens_need_trials_of_both() -> None:
    paper, quarter = played("paper", 10, 10), played("ours-quarter", 30, 30)
    assert cheaper(found(paper))[2] == OPEN
    assert cheaper(found(paper, quarter))[2] == FAILS, "it took as many tokens"
    few = [one.model_copy(update={"spending": one.spending.model_copy(update={"search": 20})}) for one in quarter]
    assert cheaper(found(paper, few))[2] == HOLDS
    assert cheaper(found(paper, few[:1]))[2] == OPEN
