"""The page of benchmarks: what was aimed at, what was reached, and pictures of it."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from benchmarks_page import AIMS, PAGE, PEERS, RESULTS, compared, main, page
from benchmarks_pictures import MOST, PICTURES, margin, peers, targets


def result(name: str, *figures: tuple[str, float, bool | None]) -> dict[str, object]:
    """Return a result file's content."""
    machine = {"cpu": "toy", "cores": 2, "python": "3", "packages": {"numpy": "2"}, "date": "2026-01-01"}
    told = [
        {"name": figure, "value": value, "unit": "x", "target": "" if met is None else ">= 5 x", "met": met}
        for figure, value, met in figures
    ]
    return {"script": name, "machine": machine, "seconds": 7, "load": 0.4, "figures": told}


def test_aims_are_told_apart_by_what_was_reached() -> None:
    merge = result("merge", ("mergekit, seconds", 9.0, None), ("mergekit / ours", 4.0, False), ("floor", 6.0, True))
    text = page({"merge": merge})
    assert "| [the same, mergekit's time / ours](#merge) | >= 5 | 4 x | short |" in text
    assert "reading and writing the same bytes](#merge) | <= 1.15 | 6 x | met |" in text
    assert "| uploading 1 GB to S3, boto3 defaults' time / ours | >= 3 | not measured yet |  |" in text
    assert "Python 3, numpy 2. It took 7 s. Load before: 0.4." in text


def test_nothing_stands_in_the_way_of_what_is_met() -> None:
    assert "stands in the way" not in page({"merge": result("merge", ("mergekit / ours", 6.0, True))})


def test_what_stands_in_the_way_is_said_of_what_is_short() -> None:
    swap = result("child_swap", ("share of its evaluation", 9.0, False), ("checkpoint and reload", 2.0, False))
    text = page({"child_swap": swap, "scaling": result("scaling", ("4 workers: busy", 96.0, True))})
    assert text.count("- **child_swap**: ") == 1
    assert "- **scaling**" not in text


@pytest.mark.parametrize(
    ("value", "target", "factor"),
    [
        pytest.param(10, ">= 5 x", 2, id="passed"),
        pytest.param(4, ">= 5 x", 0.8, id="missed"),
        pytest.param(1, "<= 2 %", 2, id="passed from below"),
        pytest.param(3, "<= 2 %", 2 / 3, id="missed from below"),
        pytest.param(-1, "<= 2 s", MOST, id="less than nothing"),
        pytest.param(9, ">= 0 ", MOST, id="against nothing"),
    ],
)
def test_a_margin_is_the_factor_by_which_a_target_is_passed(value: float, target: str, factor: float) -> None:
    assert margin(value, target) == pytest.approx(factor)


def test_peers_are_drawn_beside_their_targets() -> None:
    rows = [("archive: speed-up", 300.0, ">= 100 x"), ("s3: upload", 2.0, ">= 3 x"), ("s3: the client in C", 0.9, "")]
    axes: Any = peers(rows).axes[0]
    assert [bar.get_x() + bar.get_width() for bar in axes.patches] == [0.9, 2.0, 300.0]
    assert len({bar.get_facecolor() for bar in axes.patches}) == 3
    assert [list(line.get_xdata()) for line in axes.lines if line.get_marker() == "|"] == [[3.0], [100.0]]


def test_the_committed_page_says_what_the_committed_results_say(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["benchmarks_page.py", "--check"])
    assert main() == 0
    shown = re.findall(r"\]\((pictures/\S+)\)", PAGE.read_text(encoding="utf-8"))
    assert len(shown) == len(PICTURES) + 2
    assert [picture for picture in shown if not (PAGE.parent / picture).is_file()] == []


def test_committed_results_can_be_drawn() -> None:
    rows, results = [], {}
    for path in RESULTS.glob("*.json"):
        results[path.stem] = json.loads(path.read_text(encoding="utf-8"))
        figures = results[path.stem]["figures"]
        rows += [(one["name"], one["value"], one["target"]) for one in figures if one["met"] is not None]
        if path.stem in PICTURES:
            assert PICTURES[path.stem]({one["name"]: one["value"] for one in figures}).axes
    assert len(targets(rows).axes[0].patches) == len(rows)
    assert {name.partition(":")[0] for name, _, _ in compared(results)} == set(PEERS)
    assert {"factorise", "scaling"} <= {aim.script for aim in AIMS}
