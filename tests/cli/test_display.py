from __future__ import annotations

import io
import json
from collections import Counter
from pathlib import Path

import pytest
from rich.console import Console
from rich.live import Live

from cycleqd.manifest import load_manifest
from cycleqd.plan import Work
from cycleqd_cli.display import LINE_SECONDS, LineDisplay, RichDisplay, Watcher
from cycleqd_cli.layout import live_picture
from cycleqd_cli.opening import open_run
from cycleqd_cli.standing import Standing, read_snapshot, standing
from cycleqd_cli.texts import activity, duration, percent
from cycleqd_cli.where import Where
from cycleqd_runner.local import Snapshot
from tests.cli.support import started

NOBODY = Counter[str]()


@pytest.fixture
def now(tmp_path: Path) -> Standing:
    manifest, _ = started(tmp_path)
    opened = open_run(str(manifest), Where())
    return standing("tiny", opened.spec, read_snapshot(opened))


def test_a_line_is_written_when_something_changes_and_not_too_often(now: Standing) -> None:
    lines: list[str] = []
    clock = [0.0]
    display = LineDisplay(lines.append, clock=lambda: clock[0])

    display.moment(now, 1.0, None, NOBODY)
    clock[0] += 10 * LINE_SECONDS
    display.moment(now, 30.0, None, NOBODY)
    assert len(lines) == 1, "nothing has changed"

    display.moment(now.model_copy(update={"children": 3}), 31.0, 100.0, NOBODY)
    clock[0] += 0.1
    display.moment(now.model_copy(update={"children": 4}), 32.0, 90.0, NOBODY)
    assert len(lines) == 2, "a change comes too soon after another one"

    display.moment(now.model_copy(update={"phase": "Finalizing"}), 33.0, None, Counter(validation=2))
    assert len(lines) == 3, "a new phase is told at once"
    assert "Breeding children, 2 of 10 children" in lines[0]
    assert "best sql 80.0 % shell 90.0 % python 70.0 %, best mean 50.0 %" in lines[0]
    assert "about 1:40 left" in lines[1]
    assert "2 models scored on validation" in lines[2]


def test_json_lines_are_the_standing(now: Standing) -> None:
    lines: list[str] = []
    display = LineDisplay(lines.append, json=True)
    display.say("a sentence for people")
    display.moment(now, 1.0, None, NOBODY)
    assert Standing.model_validate(json.loads(lines.pop())) == now
    assert not lines


def test_the_live_picture_shows_phase_archives_and_workers(now: Standing) -> None:
    console = Console(file=io.StringIO(), width=120, force_terminal=True)
    busy = now.model_copy(update={"working": ("breeds and scores child 7",)})
    with Live(console=console) as live:
        display = RichDisplay(console, live)
        display.say("[a sentence] with brackets")
        display.moment(busy, 75.0, 40.0, NOBODY)
    shown = console.file.getvalue()  # type: ignore[attr-defined]
    for expected in (
        "tiny",
        "1:15",
        "2/10",
        "about 0:40 left",
        "shell",
        "90.0 %",
        "child 7",
        "[a sentence] with brackets",
    ):
        assert expected in shown, expected


def test_how_many_children_have_no_scores_is_told(now: Standing) -> None:
    raced = now.model_copy(update={"phase": "Breeding", "stopped": 3, "broken": 1})
    console = Console(file=io.StringIO(), width=120)
    console.print(live_picture(raced, 1.0, 5.0, NOBODY))
    assert "3 stopped early, 1 numerically broken, about 0:05 left" in console.file.getvalue()  # type: ignore[attr-defined]
    lines: list[str] = []
    LineDisplay(lines.append).moment(raced, 1.0, None, NOBODY)
    assert f"{now.children} of {now.target} children (3 stopped early, 1 numerically broken)" in lines[0]
    LineDisplay(lines.append).moment(now, 1.0, None, NOBODY)
    assert "stopped" not in lines[1]


@pytest.mark.parametrize("phase", ["Preparing", "Evaluating", "Breeding", "Finalizing", "Succeeded"])
def test_every_phase_can_be_drawn(now: Standing, phase: str) -> None:
    console = Console(file=io.StringIO(), width=60)
    console.print(live_picture(now.model_copy(update={"phase": phase, "target": 0}), 1.0, 0.0, Counter(test=3)))
    lines: list[str] = []
    LineDisplay(lines.append).moment(now.model_copy(update={"phase": phase}), 1.0, 0.0, Counter(test=3))
    assert len(lines) == 1


def test_the_watcher_knows_whether_there_was_work(tmp_path: Path) -> None:
    manifest, _ = started(tmp_path)
    opened, run = open_run(str(manifest), Where()), load_manifest(manifest)
    snapshot = read_snapshot(opened)
    lines: list[str] = []
    watcher = Watcher(run, LineDisplay(lines.append), lambda: NOBODY)
    watcher.show(Snapshot("Succeeded", *list(vars(snapshot).values())[1:]))
    assert not watcher.worked
    watcher.show(snapshot)
    assert watcher.worked
    assert len(lines) == 2


@pytest.mark.parametrize(
    ("work", "expected"),
    [
        pytest.param(Work("prepare", "sql-expert"), "factorises expert sql-expert", id="prepare"),
        pytest.param(Work("evaluate", ids=(1,)), "scores expert shell-expert", id="evaluate"),
        pytest.param(Work("breed", ids=(4, 5, 6)), "breeds and scores child 5 (1 of 3 done)", id="breed"),
        pytest.param(Work("breed", ids=(3, 4)), "finishes its block", id="a block that is done"),
    ],
)
def test_what_a_worker_does_is_said_in_words(tmp_path: Path, work: Work, expected: str) -> None:
    manifest, _ = started(tmp_path)
    assert activity(work, {0, 1, 2, 3, 4}, open_run(str(manifest), Where()).spec) == expected


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [(0, "0:00"), (0.2, "0:01"), (59.5, "1:00"), (61, "1:01"), (3600, "1:00:00"), (-1, "0:00")],
)
def test_durations(seconds: float, expected: str) -> None:
    assert duration(seconds) == expected


@pytest.mark.parametrize(("value", "expected"), [(None, "–"), (0.0, "0.0 %"), (0.4826, "48.3 %"), (1.0, "100.0 %")])
def test_percentages(value: float | None, expected: str) -> None:
    assert percent(value) == expected
