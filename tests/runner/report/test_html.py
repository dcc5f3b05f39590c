"""The page: self-contained, escaped, complete, and honest about what is missing."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Iterator
from functools import cache
from html.parser import HTMLParser

import pytest

from cycleqd.report import ArchiveView, Candidate, Cost, Difference, Individual, Report
from cycleqd_runner.report.html import render
from tests.runner.report.support import SKILLS, demo_report, empty_report, interval

VOID = {"meta", "link", "br", "img", "hr", "input"}
LOADING = {"src", "href", "xlink:href", "srcset", "action", "data", "poster", "background", "formaction", "manifest"}
NASTY = '<script>alert("x")</script>'


class Page(HTMLParser):
    """All elements of a page with their attributes and texts; refuses tags that do not close in order."""

    def __init__(self, source: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.texts: list[tuple[str, str]] = []
        self._open: list[str] = []
        self.feed(source)
        self.close()
        assert not self._open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {name: value or "" for name, value in attrs}))
        if tag not in VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {name: value or "" for name, value in attrs}))

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.texts.append((self._open[-1] if self._open else "", data))

    def all(self, tag: str, kind: str = "") -> Iterator[dict[str, str]]:
        return (
            own for name, own in self.elements if name == tag and (not kind or kind in own.get("class", "").split())
        )

    def text(self) -> str:
        shown = "".join(text for tag, text in self.texts if tag not in {"style", "script", "title"})
        return re.sub(r"\s+", " ", shown)

    def inside(self, tag: str) -> list[str]:
        return [text for own, text in self.texts if own == tag]


@cache
def page_of(n_tasks: int = 3) -> Page:
    return Page(render(demo_report(n_tasks)))


@pytest.mark.parametrize("n_tasks", [2, 3, 4, 5])
def test_nothing_is_loaded_from_elsewhere(n_tasks: int) -> None:
    page = page_of(n_tasks)
    loading = [value for _, own in page.elements for name, value in own.items() if name in LOADING]
    assert [value for value in loading if not value.startswith(("data:", "#"))] == []
    styles = "".join(page.inside("style"))
    assert "url(" not in styles
    assert "@import" not in styles
    assert not {"link", "iframe", "object", "embed"} & {tag for tag, _ in page.elements}


def test_policy_admits_this_script_and_style_only() -> None:
    page = page_of()
    policy = next(own["content"] for own in page.all("meta") if own.get("http-equiv") == "Content-Security-Policy")
    assert policy.startswith("default-src 'none'")
    for tag in ("style", "script"):
        (text,) = page.inside(tag)
        digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        assert f"{tag}-src 'sha256-{digest}'" in policy
    assert not any("style" in own or any(name.startswith("on") for name in own) for _, own in page.elements)


def test_names_are_escaped_everywhere() -> None:
    report = demo_report(3)
    task, expert = NASTY, f"{NASTY}-expert"
    renamed = Report.model_validate_json(
        report.model_dump_json().replace('"sql', f'"{NASTY}'.replace('"x"', '\\"x\\"'))
    ).model_copy(update={"run": NASTY, "notes": (NASTY,), "versions": {NASTY: NASTY}})
    assert renamed.tasks[0] == task
    assert renamed.experts[0] == expert
    source = render(renamed)
    assert source.count("<script") == 1
    assert NASTY not in source
    assert Page(source).text().count(task) > 10


def test_summary_says_what_the_intervals_allow() -> None:
    report = demo_report(3).model_copy(
        update={
            "means": {"merged": interval(0.7, 0.05)},
            "differences": (
                Difference(against="sql-expert", mean=0.2, low=0.1, high=0.3),
                Difference(against="average", mean=0.01, low=-0.02, high=0.04),
            ),
        }
    )
    text = Page(render(report)).text()
    assert "The merged model scores 70.0 % [65.0, 75.0] over 3 tasks" in text
    assert "better than the best expert, sql-expert (+20.0 points [+10.0, +30.0])" in text
    assert "not distinguishable from the plain average of the experts (+1.0 points [−2.0, +4.0])" in text


def test_worse_is_called_worse() -> None:
    difference = Difference(against="average", mean=-0.2, low=-0.3, high=-0.1)
    text = Page(render(demo_report(2).model_copy(update={"differences": (difference,)}))).text()
    assert "worse than the plain average of the experts (−20.0 points [−30.0, −10.0])" in text


def test_every_model_has_a_row_of_scores_with_bars() -> None:
    report, page = demo_report(3), page_of(3)
    text = page.text()
    for model, own in report.scores.items():
        assert model in text
        for estimate in own.values():
            assert f"{100 * estimate.mean:.1f} [{100 * estimate.low:.0f}, {100 * estimate.high:.0f}]" in text
    n_bars = len(report.scores) * (len(report.tasks) + 1) + len(report.cost.seconds)
    assert len(list(page.all("svg", "bar"))) == n_bars
    widths = [float(own["width"]) for own in page.all("rect", "value")]
    assert 100 * report.means["merged"].mean == pytest.approx(
        widths[len(widths) - len(report.cost.seconds) - 4], abs=0.01
    )


def test_a_model_that_was_not_tested_on_a_task_says_so() -> None:
    report = demo_report(2)
    scores = {**report.scores, "base": {"sql": interval(0.5)}}
    assert "not tested" in Page(render(report.model_copy(update={"scores": scores}))).text()


@pytest.mark.parametrize(("n_tasks", "maps"), [(2, 2), (3, 3), (4, 12), (5, 30)])
def test_one_map_per_archive_and_pair_of_axes(n_tasks: int, maps: int) -> None:
    assert len(list(page_of(n_tasks).all("svg", "map"))) == maps


@pytest.mark.parametrize("n_tasks", [2, 3])
def test_every_occupied_cell_says_who_is_there(n_tasks: int) -> None:
    report, page = demo_report(n_tasks), page_of(n_tasks)
    expected = sorted(member for archive in report.archives for _, member in archive.cells)
    assert sorted(int(own["data-who"]) for own in page.all("rect", "cell")) == expected
    titles = page.inside("title")
    child = next(member for _, member in report.archives[0].cells if member >= n_tasks)
    known = report.individuals[child]
    scores = ", ".join(f"{task} {100 * score:.0f} %" for task, score in zip(SKILLS, known.scores or (), strict=False))
    name = " and ".join(report.experts[who] if who < n_tasks else f"child {who}" for who in known.parents)
    assert f"child {child} (Paper for {SKILLS[known.active_task or 0]})\n{scores}\nfrom {name}" in titles


@pytest.mark.parametrize("n_tasks", [2, 3, 4])
def test_pictures_are_for_keyboards_and_screen_readers_too(n_tasks: int) -> None:
    page = page_of(n_tasks)
    pictures = list(page.all("svg"))
    assert all("aria-label" in own or own.get("aria-hidden") == "true" for own in pictures)
    stops = [own for own in [*page.all("rect", "cell"), *page.all("g", "node")] if own["tabindex"] == "0"]
    n_groups = len(list(page.all("svg", "map"))) + len(list(page.all("svg", "tree")))
    assert len(stops) == n_groups
    assert all(own.get("scope") in {"row", "col"} for own in page.all("th"))
    ids = [own["id"] for _, own in page.elements if "id" in own]
    assert len(ids) == len(set(ids))
    assert all(own["aria-labelledby"] in ids for _, own in page.elements if "aria-labelledby" in own)


def test_candidates_show_weights_and_choice() -> None:
    report, text = demo_report(3), page_of(3).text()
    chosen = report.chosen
    assert chosen
    assert f"Chosen on the validation split: {chosen.name}" in text
    assert text.count("chosen") >= 1
    for who, share in chosen.weights.items():
        assert f"{100 * share:.0f} % child {who}" in text


def test_cost_given_up_children_notes_and_manifest_are_told() -> None:
    text = page_of(3).text()
    for expected in (
        "worker time15.0 h",
        "12,345,678",
        "1 child was given up because it killed its workers: child 17",
        "Model-written code ran without a sandbox",
        "baseModel: uri: hf://example/base",
        "torch2.8.0",
        "Finished 21 September 2026",
    ):
        assert expected.replace(" ", "") in text.replace(" ", ""), expected


def test_an_empty_report_says_what_is_missing() -> None:
    page = Page(render(empty_report()))
    assert "There are no test scores yet" in page.text()
    assert "The archives are empty" in page.text()
    assert "Not finished." in page.text()
    assert not list(page.all("table"))
    assert not list(page.all("svg"))


def test_odd_reports_render() -> None:
    circle = (
        Individual(id=2, parents=(3, 9), active_task=0, emitter="Paper"),
        Individual(id=3, parents=(2, 2), active_task=1, emitter="Guided", scores=(0.1, 0.2)),
    )
    report = demo_report(2).model_copy(
        update={
            "individuals": circle,
            "archives": (
                ArchiveView(task="sql", axes=("shell",), edges=((0.0, 1.0),), cells=(), coverage=0.0, qd_score=0.0),
            ),
            "candidates": (Candidate(name="only", weights={2: 1.0}, validation={}, chosen=True),),
            "progress": (),
            "cost": Cost(),
        }
    )
    text = Page(render(report)).text()
    assert "child 9" in text
    assert "only" in text


def test_phones_and_dark_rooms_are_thought_of() -> None:
    source = render(empty_report())
    assert '<meta name="viewport" content="width=device-width, initial-scale=1">' in source
    for query in ("prefers-color-scheme: dark", "@media print", "max-width: 40rem"):
        assert query in source
