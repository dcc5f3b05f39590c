"""Tables and curves against numbers worked out by hand."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from cycleqd_runner.contest.curves import mean_curve, pictures
from cycleqd_runner.contest.standings import Lineup, Standings, standings
from cycleqd_runner.contest.tables import markdown, tables
from cycleqd_runner.contest.trials import Point, Trial
from tests.runner.contest.support import trial

SEEDS = dict.fromkeys(("sql-expert", "paper", "ours", "late"), (0, 1))
LINEUP = Lineup("tiny", SEEDS, {"sql": "sql-expert", "shell": "x"}, "paper")
TRIALS = [
    trial("ours", 1, sql=[1, 1, 1, 1], shell=[1, 1, 1, 1]),
    trial("ours", 0, sql=[1, 1, 1, 0], shell=[1, 1, 1, 1]),
    trial("paper", 0, sql=[1, 0, 0, 0], shell=[0, 1, 1, 0]),
    trial("paper", 1, sql=[1, 1, 0, 0], shell=[0, 1, 1, 0]),
    trial("sql-expert", 0, sql=[1, 1, 1, 1], shell=[0, 0, 0, 0]),
]


def test_what_qualifies_the_scores_is_told() -> None:
    note = "Task db: AgentBenchDB ran on SQLite."
    told = standings(replace(LINEUP, notes=(note,)), TRIALS)
    assert told.notes == (note,)
    assert note in markdown(told)


def test_a_method_misses_only_seeds_of_its_own() -> None:
    told = standings(replace(LINEUP, seeds=SEEDS | {"ours": (0,), "late": (1,)}), TRIALS[1:])
    assert told.missing == (("sql-expert", 1), ("late", 1))
    assert {row.method: row.versus is not None for row in told.rows}["ours"], "seed 0 is common"


@pytest.fixture
def found() -> Standings:
    return standings(LINEUP, TRIALS)


def test_rows(found: Standings) -> None:
    expert, paper, ours = found.rows
    assert [row.method for row in found.rows] == ["sql-expert", "paper", "ours"]
    assert found.missing == (("late", 0), ("sql-expert", 1), ("late", 1))
    assert (ours.seeds, expert.seeds) == ((0, 1), (0,))
    assert ours.tasks["sql"].mean == pytest.approx((0.75 + 1.0) / 2)
    assert ours.mean.mean == pytest.approx((0.875 + 1.0) / 2)
    assert paper.mean.mean == pytest.approx((0.375 + 0.5) / 2)
    assert (ours.tokens, ours.training_tokens, ours.limit, ours.evaluations) == (900, 100, 1000, 7)


def test_what_is_kept_is_judged_with_the_same_seeds(found: Standings) -> None:
    expert, paper, ours = found.rows
    assert ours.kept["sql"] == pytest.approx(0.75), "the expert has only seed 0, with which ours scores 0.75"
    assert paper.kept["sql"] == pytest.approx(0.25)
    assert expert.kept == {"sql": 1.0, "shell": None}, "nobody was trained for the other task"
    without = standings(LINEUP, [one for one in TRIALS if (one.method, one.seed) != ("ours", 0)])
    assert without.rows[-1].kept["sql"] is None, "no seed is common"


def test_differences(found: Standings) -> None:
    expert, paper, ours = found.rows
    assert paper.versus is None
    assert ours.versus
    assert expert.versus
    assert ours.versus.mean == pytest.approx(0.5)
    assert ours.versus.tasks["sql"].mean == pytest.approx(0.5)
    assert expert.versus.mean == pytest.approx((0.75 - 0.5) / 2), "with the one seed that both have"


def test_pages_say_the_same(found: Standings) -> None:
    page = markdown(found)
    assert "| **ours** | **2** | **87.5 [" in page
    assert "| ours | +50.0 [" in page
    assert "| sql-expert | +75.0 [" in page
    assert "| ours | 7.0 | 900.00 | 100.00 | 90 % | 0.0 | it |" in page
    assert page.endswith("Not finished: late (seeds 0, 1), sql-expert (seed 1).\n")
    assert [cells[:4] for cells in tables(found, brief=True)[0].rows] == [
        ("sql-expert", "1", "100.0", "0.0"),
        ("paper", "2", "37.5", "50.0"),
        ("ours", "2", "87.5", "100.0"),
    ]


def test_what_a_method_ended_with_is_told_where_all_seeds_agree() -> None:
    other = [one.model_copy(update={"final": "another"}) if one.seed else one for one in TRIALS]
    by_method = {row[0]: row[-1] for row in tables(standings(LINEUP, other))[2].rows}
    assert by_method == {"sql-expert": "it", "paper": "by seed", "ours": "by seed"}
    assert "final model" not in tables(standings(LINEUP, other), brief=True)[2].columns


@pytest.mark.parametrize(
    ("worse", "verdict"),
    [
        pytest.param([1, 1, 1, 1, 0, 0, 0, 0] * 4, "open", id="the same"),
        pytest.param([0, 0, 0, 0, 0, 0, 0, 0] * 4, "better", id="better on half of the items"),
        pytest.param([1, 1, 1, 1, 1, 1, 1, 1] * 4, "worse", id="worse on half of the items"),
    ],
)
def test_a_claim_needs_an_interval_without_zero(worse: list[float], verdict: str) -> None:
    lineup = Lineup("tiny", {"paper": (0,), "ours": (0,)}, {"sql": "x"}, "paper")
    ours, paper = trial("ours", 0, sql=[1, 1, 1, 1, 0, 0, 0, 0] * 4), trial("paper", 0, sql=worse)
    differences = tables(standings(lineup, [ours, paper]))[1]
    assert [row[-1] for row in differences.rows] == [verdict]


def test_records_can_be_read_back(found: Standings) -> None:
    assert Standings.model_validate_json(found.model_dump_json()) == found
    assert Trial.model_validate_json(TRIALS[0].model_dump_json()) == TRIALS[0]


def test_nothing_yet_is_no_mistake() -> None:
    nothing = standings(LINEUP, [])
    assert pictures(nothing) == {}
    assert len(nothing.missing) == 8
    assert markdown(nothing).startswith("# tiny\n")


def test_pictures_are_drawn(found: Standings) -> None:
    drawn = pictures(found)
    assert set(drawn) == {"searches.png", "tests.png"}
    assert all(png.startswith(b"\x89PNG") for png in drawn.values())


def test_the_mean_curve_is_a_step_function() -> None:
    curves = {
        0: (Point(tokens=1, evaluations=1, best=0.2), Point(tokens=5, evaluations=2, best=0.6)),
        1: (Point(tokens=2, evaluations=1, best=0.4), Point(tokens=3, evaluations=2, best=0.8)),
    }
    places, best = mean_curve(curves, lambda point: point.tokens)
    assert (places[0], places[-1]) == (2, 5)
    at = {place: best[np.searchsorted(places, place)] for place in (2, 3, 5)}
    assert at == pytest.approx({2: (0.2 + 0.4) / 2, 3: (0.2 + 0.8) / 2, 5: (0.6 + 0.8) / 2})
    tokens = mean_curve(curves, lambda point: point.evaluations, lambda point: point.tokens)[1]
    assert (tokens[0], tokens[-1]) == ((1 + 2) / 2, (5 + 3) / 2)
