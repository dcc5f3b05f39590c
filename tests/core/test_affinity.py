"""What is said about experts, from their numbers alone."""

from __future__ import annotations

from typing import Any

import pytest

from cycleqd.affinity import Affinity, Pair

LIKE = {"distance": 0.01, "cosine": 0.05, "spectra": 0.99, "overlap": 0.8}


def pair(first: str = "sql", second: str = "shell", **numbers: Any) -> Pair:
    return Pair(first=first, second=second, **(LIKE | numbers))


@pytest.mark.parametrize(
    ("numbers", "standing"),
    [
        pytest.param({}, "close", id="adapters of the quickstart"),
        pytest.param({"cosine": 0.6}, "close", id="skills in common"),
        pytest.param({"cosine": 0.96}, "the same", id="one skill twice"),
        pytest.param({"distance": 0.11}, "apart", id="the end of supervised fine-tuning"),
        pytest.param({"distance": 0.11, "cosine": 0.96}, "apart", id="one direction, two lengths"),
        pytest.param({"distance": 0.51}, "far apart", id="continual pre-training"),
        pytest.param({"cosine": -0.11}, "opposed", id="against each other"),
        pytest.param({"spectra": 0.7}, "unlike", id="few directions and many"),
        pytest.param({"spectra": None, "overlap": None}, "close", id="no matrix in common"),
        pytest.param({"cosine": None, "distance": 0.9}, "unchanged", id="the base model as an expert"),
    ],
)
def test_the_worst_that_holds_counts(numbers: dict[str, Any], standing: str) -> None:
    assert pair(**numbers).standing == standing


@pytest.mark.parametrize(
    ("pairs", "verdict"),
    [
        ([pair(), pair("sql", "py"), pair("shell", "py")], "All experts are close to each other: merging is likely to"),
        ([pair()], "sql and shell are close to each other: merging is likely to work."),
        ([pair(), pair("sql", "py", distance=0.7), pair("shell", "py")], "sql and py are far apart: expect a merge to"),
        (
            [pair(), pair("sql", "py", cosine=-0.3), pair("shell", "py", cosine=-0.2), pair("a", "b", distance=0.2)],
            (
                "sql and py are opposed: each undoes some of what the other learned. Expect a trade-off between their "
                "skills. The same holds for 1 more of 4 pairs."
            ),
        ),
        ([pair(distance=0.7), pair("sql", "py", cosine=None)], "sql and py are not both fine-tuned: one does not"),
    ],
    ids=["all close", "two experts", "one far pair", "two of four", "the worst comes first"],
)
def test_the_verdict_is_about_the_worst_pair(pairs: list[Pair], verdict: str) -> None:
    assert Affinity(sizes={}, pairs=tuple(pairs)).verdict.startswith(verdict)


def test_it_survives_being_written_with_its_verdicts() -> None:
    found = Affinity(sizes={"sql": 0.01, "shell": 0.02}, pairs=(pair(cosine=None),))
    written = found.model_dump(mode="json")
    assert written["verdict"] == found.verdict
    assert written["pairs"][0]["standing"] == "unchanged"
    assert Affinity.model_validate_json(found.model_dump_json()) == found
