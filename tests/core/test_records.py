"""Records: no score is not 0, and what is written is read back as it was."""

from __future__ import annotations

import json

import pytest
from pydantic import ValidationError

from cycleqd.errors import BadData, Unscored
from cycleqd.records import (
    BROKEN,
    Guidance,
    ItemOutcome,
    Result,
    Stop,
    TaskEvaluation,
    Timings,
    merge_outcomes,
    read_result,
)
from tests.core.support import make_result


def _evaluation(*scores: float | None) -> TaskEvaluation:
    outcomes = tuple(
        ItemOutcome(item=str(n), score=score, reason="sandbox down" if score is None else None)
        for n, score in enumerate(scores)
    )
    return TaskEvaluation(task="sql", split="search", outcomes=outcomes)


@pytest.mark.parametrize(
    ("scores", "mean"),
    [
        pytest.param([0.0], 0.0, id="zero is a score"),
        pytest.param([1.0, 0.0, 0.5, 0.5], 0.5, id="mean over all items"),
        pytest.param([0.1] * 10, 0.1, id="no rounding error piles up"),
    ],
)
def test_score_is_the_mean_of_the_items(scores: list[float], mean: float) -> None:
    assert _evaluation(*scores).score == mean


def test_one_item_without_a_score_leaves_no_mean() -> None:
    evaluation = _evaluation(1.0, None, 1.0)
    with pytest.raises(Unscored, match=r"1 of 3 sql items have no score: sandbox down\."):
        _ = evaluation.score
    assert [outcome.item for outcome in evaluation.unscored] == ["1"]


def test_no_items_leave_no_mean() -> None:
    with pytest.raises(Unscored, match="no items"):
        _ = _evaluation().score


def test_a_repeat_that_is_broken_says_so_for_the_item() -> None:
    reasons = ("sandbox down", BROKEN, "wrong")
    repeats = [ItemOutcome(item="0", score=None if r != "wrong" else 0.0, reason=r) for r in reasons]
    assert merge_outcomes(repeats).is_broken
    assert not merge_outcomes([repeats[0], repeats[2]]).is_broken


@pytest.mark.parametrize("score", [-0.1, 1.1, 95.0, float("nan")])
def test_scores_are_fractions(score: float) -> None:
    with pytest.raises(ValidationError):
        ItemOutcome(item="0", score=score)


def test_no_score_needs_a_reason() -> None:
    with pytest.raises(ValidationError, match="needs a reason"):
        ItemOutcome(item="0", score=None)


def _full_result() -> Result:
    outcome = ItemOutcome(
        item="a", score=0.1, reason="wrong", prompt_sha256="ab", prompt_tokens=7, answer_tokens=3, seconds=0.25
    )
    return Result(
        id=7, evaluation=1, parents=(3, 5), active_task=2, emitter="Paper", draws={"firstParentShare": 0.1 + 0.2},
        genome_sha256="cd", evaluations=(TaskEvaluation(task="sql", split="search", outcomes=(outcome, outcome)),),
        lessons=TaskEvaluation(task="sql", split="lessons", outcomes=(outcome,)),
        guidance=Guidance(seconds=1.5, peak_bytes=2**31, on_gpu=True),
        seen=6, timings=Timings(load_seconds=1.5), worker="w-1", finished_at=1e9 + 0.125, versions={"torch": "2"},
    )  # fmt: skip


def test_written_and_read_back_is_indistinguishable() -> None:
    result = _full_result()
    assert read_result(result.model_dump_json().encode(), "results/0000007-1.json") == result


def test_results_of_newer_versions_are_read() -> None:
    data = {**json.loads(_full_result().model_dump_json()), "somethingNew": 1}
    assert read_result(json.dumps(data).encode(), "x") == _full_result()


def test_results_of_older_versions_are_read() -> None:
    data = json.loads(_full_result().model_dump_json())
    del data["guidance"]
    assert read_result(json.dumps(data).encode(), "x") == _full_result().model_copy(update={"guidance": None})


def test_what_is_no_result_says_which_object() -> None:
    with pytest.raises(BadData, match=r"results/0000007\.json is not a result"):
        read_result(b"{}", "results/0000007.json")


@pytest.mark.parametrize(
    "change",
    [
        {"timings": Timings(load_seconds=9)},
        {"guidance": None},
        {"worker": "w-2"},
        {"finished_at": 0.0},
        {"versions": {}},
    ],
    ids=lambda change: next(iter(change)),
)
def test_repeatable_leaves_out_what_no_repetition_gives_again(change: dict[str, object]) -> None:
    assert _full_result().model_copy(update=change).repeatable() == _full_result().repeatable()


def test_repeatable_leaves_out_the_seconds_of_items() -> None:
    result = _full_result()
    evaluation = result.evaluations[0]
    slower = tuple(outcome.model_copy(update={"seconds": 9.0}) for outcome in evaluation.outcomes)
    slow = result.model_copy(
        update={
            "evaluations": (evaluation.model_copy(update={"outcomes": slower}),),
            "lessons": TaskEvaluation(task="sql", split="lessons", outcomes=slower[:1]),
        }
    )
    assert slow.repeatable() == result.repeatable()


@pytest.mark.parametrize(
    "change",
    [
        {"id": 8}, {"evaluation": 0}, {"parents": (5, 3)}, {"active_task": 1}, {"emitter": "Guided"}, {"draws": {}},
        {"genome_sha256": "ce"}, {"seen": 5}, {"evaluations": ()}, {"lessons": None},
    ],
    ids=lambda change: next(iter(change)),
)  # fmt: skip
def test_repeatable_keeps_everything_else(change: dict[str, object]) -> None:
    assert _full_result().model_copy(update=change).repeatable() != _full_result().repeatable()


@pytest.mark.parametrize("change", [{"score": 0.2}, {"reason": "other"}, {"prompt_sha256": "x"}, {"answer_tokens": 4}])
def test_repeatable_keeps_the_outcome_of_every_item(change: dict[str, object]) -> None:
    result = _full_result()
    first, second = result.evaluations[0].outcomes
    outcomes = (first, second.model_copy(update=change))
    changed = result.model_copy(
        update={"evaluations": (result.evaluations[0].model_copy(update={"outcomes": outcomes}),)}
    )
    assert changed.repeatable() != result.repeatable()


def test_repeats_are_averaged_and_their_cost_is_summed() -> None:
    repeats = [
        ItemOutcome(item="a", score=score, prompt_sha256="ab", prompt_tokens=10, answer_tokens=2, seconds=0.5)
        for score in (1.0, 0.0, 0.5, 1.0)
    ]
    merged = merge_outcomes(iter(repeats))
    assert (merged.item, merged.score, merged.prompt_sha256) == ("a", 0.625, "ab")
    assert (merged.prompt_tokens, merged.answer_tokens, merged.seconds) == (40, 8, 2.0)


def test_one_repeat_without_a_score_leaves_the_item_without() -> None:
    merged = merge_outcomes(
        [ItemOutcome(item="a", score=1.0), ItemOutcome(item="a", score=None, reason="judge timed out")]
    )
    assert merged.score is None
    assert merged.reason == "judge timed out"


def test_a_stopped_child_has_outcomes_and_no_scores() -> None:
    stop = Stop(asked=(2, 2), items=(8, 6), probability=0.01, threshold=0.05)
    result = make_result(9, [1.0, 0.0], items=2, stop=stop)
    assert (result.complete, stop.saved) == (False, 10)
    with pytest.raises(Unscored, match="Individual 9 has no scores: racing stopped it after 4 of 14 items"):
        _ = result.scores
    assert read_result(result.model_dump_json().encode(), "x") == result
    assert make_result(9, [1.0, 0.0]).complete
    assert not make_result(9, [1.0, None]).complete


def test_a_repeated_evaluation_takes_its_turn_with_the_child_that_it_preceded() -> None:
    assert make_result(9, [1.0]).turn == 9
    assert make_result(9, [1.0], evaluation=1, with_child=20).turn == 20


def test_tokens_of_lessons_count_and_their_scores_do_not() -> None:
    result = _full_result()
    assert result.tokens == (3 * 7, 3 * 3)
    assert make_result(0, [1.0]).tokens == (0, 0)
    assert result.scores == pytest.approx((0.1,))
