"""Runs side by side: what is told of each, and differences over the same items only."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from cycleqd_runner.report.beside import FinishedRun, paired, setting, side_by_side
from cycleqd_runner.report.html import render
from tests.runner.report.support import SKILLS, finished
from tests.runner.report.test_html import NASTY, Page

GUIDED = {"type": "Guided", "steps": 5}
IN_WORDS = "guided by 5 gradient steps a child (48 for the first)"


def answering(run: FinishedRun, **update: Any) -> FinishedRun:
    """Return a run whose last task's first item was another one."""
    *others, last = run.test
    first, *rest = last.outcomes
    changed = last.model_copy(update={"outcomes": (first.model_copy(update=update), *rest)})
    return replace(run, test=(*others, changed))


def backwards(run: FinishedRun) -> FinishedRun:
    """Return a run that was asked the same in the reverse order."""
    return replace(run, test=tuple(own.model_copy(update={"outcomes": own.outcomes[::-1]}) for own in run.test[::-1]))


def test_differences_are_paired_by_item_whatever_the_order() -> None:
    own, other = finished("ours", right=0.7), finished("paper's", right=0.6)
    found = paired(own, backwards(other))
    assert found is not None
    assert found == paired(own, other)
    assert found.mean == pytest.approx(0.1)
    assert {task: change.mean for task, change in found.tasks.items()} == pytest.approx(dict.fromkeys(SKILLS[:3], 0.1))
    assert 0.0 < found.low < found.mean < found.high < 0.2
    same = paired(own, own)
    assert same is not None
    assert (same.low, same.mean, same.high) == (0.0, 0.0, 0.0)


@pytest.mark.parametrize(
    "other",
    [
        pytest.param(answering(finished("other"), item="another"), id="another item"),
        pytest.param(answering(finished("other"), prompt_sha256="f" * 64), id="another question"),
        pytest.param(replace(finished("other"), test=finished("other").test[:2]), id="a task less"),
        pytest.param(replace(finished("other"), test=()), id="not known"),
    ],
)
def test_other_items_are_not_paired(other: FinishedRun) -> None:
    assert paired(finished("ours"), other) is None
    assert paired(other, finished("ours")) is None
    text = Page(render(finished("ours").report, side_by_side(finished("ours"), [other]))).text()
    assert "There is no paired difference to other:" in text
    assert "in points over it" not in text


@pytest.mark.parametrize(
    ("search", "polish", "words"),
    [
        pytest.param({}, 0, "the paper's crossover and mutation", id="paper"),
        pytest.param({"emitter": GUIDED}, 0, IN_WORDS, id="guided"),
        pytest.param(
            {"emitter": GUIDED | {"share": 0.25}},
            0,
            f"25\N{NO-BREAK SPACE}% {IN_WORDS}, otherwise the paper's crossover and mutation",
            id="some guided",
        ),
        pytest.param(
            {"emitter": GUIDED | {"schedule": "Bandit"}},
            0,
            f"{IN_WORDS}, or the paper's crossover and mutation, as a bandit chooses",
            id="bandit",
        ),
        pytest.param(
            {"cycle": "Fixed", "mutation": {"type": "None"}, "strict": True},
            24,
            "the paper's crossover and mutation; not the paper's: cycle and mutation; "
            "candidates polished with 24 gradient steps",
            id="other fields",
        ),
    ],
)
def test_settings_are_told_in_words(search: dict[str, Any], polish: int, words: str) -> None:
    spec = finished("ours", seed=7, **search).spec
    finalize = spec.finalize.model_copy(update={"polish_steps": polish})
    assert setting(spec.model_copy(update={"finalize": finalize})) == words


def test_the_page_tells_of_each_run_what_it_took_and_reached() -> None:
    own, other = finished("ours", children=9, right=0.7, emitter=GUIDED), finished("papers", children=45)
    cost = own.report.cost.model_copy(update={"training_tokens": 54_321})
    own = replace(own, report=own.report.model_copy(update={"cost": cost}))
    page = Page(render(own.report, side_by_side(own, [other])))
    text = page.text()
    assert "On the same test items, the merged model of ours is better than that of papers (+10.0 points [" in text
    for expected in (
        f"setting{IN_WORDS}the paper's crossover and mutation",
        "children945",
        "tokens of evaluations15,791,35615,791,356",
        "tokens of training54,3210",
        "merged model of ours, in points over it",
    ):
        assert expected in text, expected
    merged = [run.report.means["merged"] for run in (own, other)]
    shown = "".join(f"{100 * one.mean:.1f} [{100 * one.low:.0f}, {100 * one.high:.0f}]" for one in merged)
    assert f"mean{shown}".replace(" ", "") in text.replace(" ", "")
    archives = [run.report.archives for run in (own, other)]
    assert (
        "QD score, sum of the archives" + "".join(f"{sum(a.qd_score for a in each):.1f}" for each in archives) in text
    )
    best = [run.report.progress[-1].best_mean for run in (own, other)]
    assert "best mean score of one model, %" + "".join(f"{100 * one:.1f}" for one in best) in text
    assert len(list(page.all("svg", "panel"))) == 4
    assert len(list(Page(render(own.report)).all("svg", "panel"))) == 3


def test_several_runs_stand_in_columns_of_their_own() -> None:
    others = [finished(name, seed=seed) for name, seed in (("first", 1), ("second", 2))]
    text = Page(render(finished("ours").report, side_by_side(finished("ours"), others))).text()
    assert "Beside other runs" in text
    assert "seed012" in text
    for name in ("first", "second"):
        assert f"not distinguishable from that of {name}" in text


def test_tasks_of_either_run_have_a_row() -> None:
    own, other = finished("ours"), finished("other")
    fewer = replace(other, report=other.report.model_copy(update={"tasks": ("sql", "french")}))
    found = side_by_side(own, [fewer])
    assert found.rows == ("mean", *SKILLS[:3], "french")
    assert found.columns[0].scores[-1] is None
    assert "not tested" in Page(render(own.report, found)).text()


def test_runs_that_know_little_are_shown() -> None:
    own, other = finished("ours"), finished("other")
    bare = replace(other, report=other.report.model_copy(update={"archives": (), "progress": (), "scores": {}}))
    text = Page(render(own.report, side_by_side(own, [bare]))).text()
    assert "not tested" in text
    assert "Best mean search score of one model, %" not in text


def test_names_are_escaped() -> None:
    own, other = finished(NASTY), finished(f"{NASTY}-other")
    source = render(own.report, side_by_side(own, [other]))
    assert source.count("<script") == 2
    assert NASTY not in source
