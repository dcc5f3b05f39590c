from __future__ import annotations

import json

import pytest

from cycleqd_runner.tasks.container.results import Result, Unreadable, read_results

IDS = ("a", "7")


def test_results_come_by_id_in_any_order() -> None:
    lines = b'\n{"id": 7, "score": 0.25, "reason": "near", "cost": 3}\n\n{"id": "a", "score": 1}'
    assert read_results(lines, IDS) == {"a": Result(score=1), "7": Result(score=0.25, reason="near")}


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ({}, "score: field required"),
        ({"score": 1.5}, "score: input should be less than or equal to 1"),
        ({"score": -0.1}, "score: input should be greater than or equal to 0"),
        ({"score": "1"}, "score: input should be a valid number"),
        ({"score": True}, "score: input should be a valid number"),
        ({"score": float("nan")}, "score: input should be "),
        ({"score": 1, "reason": 7}, "reason: input should be a valid string"),
        ({"score": 1, "messages": [{"role": "tool", "content": ""}]}, "messages.0.role: input should be"),
    ],
    ids=["no score", "above 1", "below 0", "a text", "a truth", "no number", "reason", "role"],
)
def test_a_line_that_cannot_be_right_costs_its_item(line: dict[str, object], reason: str) -> None:
    lines = "".join(json.dumps(each) + "\n" for each in ({"id": "a", **line}, {"id": 7, "score": 1}))
    found = read_results(lines.encode(), IDS)
    assert str(found["a"]).startswith(f"results, line 1: {reason}")
    assert found["7"] == Result(score=1)


def test_missing_and_double_results_are_said() -> None:
    found = read_results(b'{"id": "a", "score": 1}\n{"id": "a", "score": 1}\n{"id": "a", "score": 1}', IDS)
    assert found == {"a": "the program gave two results for it", "7": "the program gave no result for it"}


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b'{"id": "b", "score": 1}', r"results, line 1: 'b' is none of the items' ids"),
        (b'{"score": 1}', r"results, line 1: 'None' is none of the items' ids"),
        (b'{"id": "a", "score": 1}\n{"id": "a"', r"results, line 2: not JSON"),
        (b"[" * 100_000, r"results, line 1: not JSON"),
        (b"[]", r"results, line 1: expected a JSON object, got list"),
        (b"\xff", r"not UTF-8 text \(byte 0\)"),
    ],
    ids=["unknown id", "no id", "cut", "deep", "a list", "no text"],
)
def test_a_file_about_something_else_is_not_believed(data: bytes, reason: str) -> None:
    with pytest.raises(Unreadable, match=reason):
        read_results(data, IDS)
