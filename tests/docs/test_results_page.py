"""docs/results.md and its verdicts, of made-up trials: nothing is said that they do not show."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from results_claims import (
    FAILS,
    HARMS,
    HELPS,
    HOLDS,
    IN_THE_MEAN,
    OPEN,
    PARTS,
    UNCLEAR,
    Claim,
    better_than_all,
    cheaper,
    keeps,
    parts_of,
)
from results_page import COMPARISON, in_time, page, slowdown

from cycleqd_runner.contest.entries import load_contest
from cycleqd_runner.contest.standings import Lineup, Standings, standings
from cycleqd_runner.contest.trials import Trial
from tests.runner.contest.support import trial

ITEMS = 40
ALL = ("expert", "paper", "ours", "ours-quarter")


def played(method: str, *right: int, seeds: Sequence[int] = (0, 1)) -> list[Trial]:
    """Return trials of one task, in which so many of the items are right with each seed."""
    return [trial(method, seed, sql=[1] * n + [0] * (ITEMS - n)) for seed, n in zip(seeds, right, strict=True)]


def found(*trials: list[Trial], names: Sequence[str] = ALL, reference: str = "ours") -> Standings:
    lineup = Lineup("tiny", dict.fromkeys(names, (0, 1)), {"sql": "expert"}, reference)
    return standings(lineup, [one for own in trials for one in own])


def page_of(*trials: list[Trial], names: Sequence[str] = ALL) -> str:
    flat = [one for own in trials for one in own]
    return page(found(*trials, names=names), lambda name: found(*trials, names=names, reference=name), flat, [])


def test_ours_is_better_only_if_everybody_has_played() -> None:
    ours, paper, expert = played("ours", 38, 38), played("paper", 10, 10), played("expert", 12, 12)
    assert better_than_all(found(ours, paper, expert))[2] == HOLDS, "parts of ours need not have played"
    _, measured, verdict = better_than_all(found(ours, played("paper", 10, seeds=(0,)), expert))
    assert verdict == OPEN
    assert measured == "1 of the 1 that are finished; not finished: paper"
    assert better_than_all(found(ours, paper, played("expert", 38, 38)))[2] == FAILS


def test_who_plays_with_few_seeds_is_no_rival() -> None:
    seeds: dict[str, tuple[int, ...]] = {**dict.fromkeys(ALL, (0, 1)), "racing": (0,)}
    lineup = Lineup("tiny", seeds, {"sql": "expert"}, "ours")
    ours, others = played("ours", 38, 38), [*played("paper", 10, 10), *played("expert", 12, 12)]
    for racing in ([], played("racing", 38, seeds=(0,))):
        assert better_than_all(standings(lineup, [*ours, *others, *racing]))[2] == HOLDS


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


@pytest.mark.parametrize(
    ("without", "expected"),
    [((10, 10), HELPS), ((38, 38), HARMS), ((29, 31), UNCLEAR)],
    ids=["much worse without", "much better without", "the same"],
)
def test_a_part_helps_if_who_lacks_it_is_worse(without: tuple[int, int], expected: str) -> None:
    names = (*ALL, "ours-gains")
    trials = [played("ours", 30, 30), played("ours-gains", *without)]
    parts = parts_of(lambda name: found(*trials, names=names, reference=name))
    (own,) = (one for one in parts if "ours-gains" in one[0])
    assert own[2] == expected
    assert own[1].endswith("points, 2 seeds")
    others = [one for one in parts if one is not own]
    assert {verdict for _, _, verdict in others} == {OPEN}, "nobody else has played"


def test_a_part_whose_trials_are_not_all_there_says_so() -> None:
    trials = [played("ours", 30, 30), played("ours-gains", 10, seeds=(1,))]
    parts = parts_of(lambda name: found(*trials, names=(*ALL, "ours-gains"), reference=name))
    (own,) = (one for one in parts if "ours-gains" in one[0])
    assert own[1].endswith("points, 1 seed, not finished")


def test_parts_are_methods_of_the_comparison() -> None:
    contest = load_contest(COMPARISON)
    assert {name for _, whole, without in PARTS for name in (whole, without)} <= set(contest.names)
    ours = {name for name in contest.names if name.startswith("ours-")} - {"ours-quarter"}
    assert ours <= {name for _, whole, without in PARTS for name in (whole, without)}, "each part of ours is judged"


def timed(trials: list[Trial], seconds: float, **versions: str) -> list[Trial]:
    return [one.model_copy(update={"seconds": seconds, "versions": versions}) for one in trials]


def test_the_time_is_judged_by_trials_on_cpus_as_if_on_two_cores() -> None:
    paper, names = played("paper", 10, 10), ("paper",)

    def judged(trials: list[Trial]) -> Claim:
        return in_time(found(trials, names=names), trials)

    assert judged(timed(paper, 3600, device="CPU", cores="2"))[1:] == ("2.0 hours for 2 of 2 trials", HOLDS)
    assert judged(timed(paper, 3600, device="CPU", cores="1"))[1:] == ("1.0 hours for 2 of 2 trials", HOLDS)
    assert judged(timed(paper, 4 * 3600, device="CPU", cores="2"))[2] == FAILS
    assert judged(timed(paper[:1], 7 * 3600, device="CPU", cores="2"))[2] == FAILS, "others would only add to it"
    assert judged(timed(paper[:1], 1, device="CPU", cores="2"))[2] == OPEN
    for others in (timed(paper, 1, device="NVIDIA H200", cores="2"), timed(paper, 1, device="CPU"), timed(paper, 1)):
        assert judged(others)[2] == OPEN


def test_arithmetics_are_compared_by_methods_played_in_both() -> None:
    slow, fast = {"dtype": "float32"}, {"dtype": "bfloat16"}
    both = [
        *timed(played("paper", 10, 10), 300, **slow),
        *timed(played("paper", 10, 10, seeds=(2, 3)), 100, **fast),
        *timed(played("ours", 38, seeds=(0,)), 200, **slow),
        *timed(played("ours", 38, seeds=(1,)), 100, **fast),
    ]
    alone = timed(played("expert", 12, seeds=(0,)), 9000, **slow)
    assert slowdown([*both, *alone]).startswith("Of 2 methods played in both, float32 took 2.5 times as long")
    assert not slowdown(alone)


def test_the_page_before_the_first_trial_shows_nothing() -> None:
    told = page_of()
    assert "0.0 hours for 0 of 8 trials" in told
    assert "Not finished: expert (seeds 0, 1), paper (seeds 0, 1), ours (seeds 0, 1)," in told
    assert "No trial was played yet." in told
    assert "Children" not in told
    assert "holds |" not in told


def test_the_page_at_the_end_tells_no_more_of_what_is_missing() -> None:
    names = (*ALL, "lora-training-data")
    trials = [played(name, 30, 31) for name in names]
    versions = {"device": "CPU", "cores": "2", "dtype": "bfloat16", "torch": "2.11.0"}
    told = page_of(*[timed(own, 90, **versions) for own in trials], names=names)
    assert "Not finished" not in told
    assert "not finished" not in told
    assert "| lora-training-data | 2 |" in told
    assert "- 10 trials, 0.2 hours together: CPU, 2 cores, bfloat16, torch 2.11.0" in told
    assert "mean over seeds: 6.0 of `ours`, 6.0 of `paper`." in told
    assert "lora-training-data (seeds 0, 1)" in page_of(*trials[:-1], names=names), "it shows as unfinished, too"
