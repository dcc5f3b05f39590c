"""The page: self-contained, escaped, complete, and honest about what is missing."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Iterator
from functools import cache
from html.parser import HTMLParser

import pytest

from cycleqd.records import Stop
from cycleqd.report import OWN_EXPERTS, ArchiveView, Candidate, Change, Cost, Difference, Individual, Report
from cycleqd_runner.report.formats import PERCENT
from cycleqd_runner.report.html import BEST, render
from cycleqd_runner.report.people import People
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

    def elites(self) -> dict[int, tuple[str, list[int]]]:
        """Return who the page's script knows: descriptions and parents by id."""
        found = json.loads(self.inside("script")[0])
        return {int(who): (text, parents) for who, (text, parents) in found.items()}


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
        text = page.inside(tag)[-1]
        digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        assert f"{tag}-src 'sha256-{digest}'" in policy
    assert [own.get("type") for own in page.all("script")] == ["application/json", None]
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
    assert source.count("<script") == 2
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


def test_every_model_has_a_row_of_scores() -> None:
    report, text = demo_report(3), page_of(3).text()
    for model, own in report.scores.items():
        assert model in text
        for estimate in own.values():
            assert f"{100 * estimate.mean:.1f} [{100 * estimate.low:.0f}, {100 * estimate.high:.0f}]" in text


def test_differences_stand_below_the_scores_and_are_bold_where_sure() -> None:
    changes = {"sql": Change(mean=-0.1, low=-0.15, high=-0.05), "shell": Change(mean=0.02, low=-0.03, high=0.07)}
    difference = Difference(against=OWN_EXPERTS, mean=-0.04, low=-0.08, high=-0.001, tasks=changes)
    page = Page(render(demo_report(2).model_copy(update={"differences": (difference,)})))
    assert "each task's own expert −4.0 [−8, 0] −10.0 [−15, −5] +2.0 [−3, +7]" in page.text()
    assert len(list(page.all("td", "sure"))) == 2


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
    elites = page.elites()
    assert set(elites) == set(expected)
    child = next(member for _, member in report.archives[0].cells if member >= n_tasks)
    known = report.individuals[child]
    assert known.scores
    scores = ", ".join(f"{task} {100 * score:.0f}{PERCENT}" for task, score in zip(SKILLS, known.scores, strict=False))
    mean = f"mean {100 * sum(known.scores) / n_tasks:.0f}{PERCENT}"
    name = " and ".join(report.experts[who] if who < n_tasks else f"child {who}" for who in known.parents)
    text, parents = elites[child]
    assert text == f"child {child} (Paper for {SKILLS[known.active_task or 0]})\n{scores}; {mean}\nfrom {name}"
    assert parents == list(known.parents)


@pytest.mark.parametrize("n_tasks", [2, 3, 4])
def test_pictures_have_names_and_tables_have_headers(n_tasks: int) -> None:
    page = page_of(n_tasks)
    pictures = [own for own in page.all("svg") if "x" not in own]
    assert all("aria-label" in own or own.get("aria-hidden") == "true" for own in pictures)
    assert all(own.get("scope") in {"row", "col", "rowgroup"} for own in page.all("th"))
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
        "200 children bred in 15.0 h of worker time and 29.9 h of GPU time",
        "worker time15.0 h",
        "GPU time29.9 h",
        "evaluations217",
        "tokens read13,345,678",
        "tokens written2,445,678",
        "evaluation on the search split14.5397.129.0620312,345,6782,345,678",
        "validation and test0.251.70.50141,000,000100,000",
        "breedThe worker was killed: it needed more memory.3",
        "1 child was given up because it killed its workers: child 17",
        "Model-written code ran without a sandbox",
        "kind: CycleQDRun metadata: name: demo spec: baseModel: uri: hf://example/base",
        "torch2.8.0",
        "deviceNVIDIA H100",
        "Finished 21 September 2026",
    ):
        assert expected.replace(" ", "") in text.replace(" ", ""), expected


def test_training_is_told_where_there_was_some() -> None:
    report = demo_report(2)
    assert "tokens trained on" not in page_of(2).text()
    trained = report.model_copy(update={"cost": report.cost.model_copy(update={"training_tokens": 54_321})})
    assert "tokens trained on54,321" in Page(render(trained)).text()


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


def test_a_run_on_cpus_has_no_column_of_gpu_time() -> None:
    report = demo_report(2)
    text = Page(render(report.model_copy(update={"cost": report.cost.model_copy(update={"gpu_seconds": {}})}))).text()
    assert "GPU time none" in text.replace("GPU timenone", "GPU time none")
    assert "GPU time, h" not in text


def test_individuals_without_scores_are_told() -> None:
    report = demo_report(2, children=5)
    unscored = report.individuals[-1].model_copy(update={"scores": None})
    text = Page(render(report.model_copy(update={"individuals": (*report.individuals[:-1], unscored)}))).text()
    assert f"1 individual has items that could not be scored, and is in no archive: child {unscored.id}." in text


def test_the_best_individuals_are_listed_best_first() -> None:
    report, text = demo_report(3), page_of(3).text()
    best = sorted(report.individuals, key=lambda one: -sum(one.scores or ()))[:BEST]
    places = [
        text.index(f"{People.of(report).name(one.id)}{100 * sum(one.scores or ()) / 3:.1f}") for one in best
    ]  # the name and the mean, in two cells
    assert places == sorted(places)


def test_what_racing_and_doubt_did_is_told() -> None:
    report = demo_report(3, children=5)
    last = report.individuals[-1]
    stop = Stop(asked=(16, 16, 16), items=(48, 48, 48), probability=0.01, threshold=0.05)
    stopped = last.model_copy(update={"scores": None, "stop": stop})
    cost = report.cost.model_copy(update={"stopped": 1, "items_saved": 96, "reevaluations": 2})
    raced = report.model_copy(update={"individuals": (*report.individuals[:-1], stopped), "cost": cost})
    text = Page(render(raced)).text()
    assert "Racing stopped 1 child that would hardly have entered an archive, and saved 96 items." in text
    assert "2 elites were evaluated again on reserve items, because their scores looked lucky." in text
    assert "could not be scored" not in text
    assert People.of(raced).describe(last.id).splitlines()[1] == "stopped after 48 of 144 items"
    plain = Page(render(report)).text()
    assert "Racing" not in plain
    assert "evaluated again" not in plain


def test_how_close_the_experts_are_is_told() -> None:
    text = page_of(3).text()
    assert "All experts are close to each other: merging is likely to work." in text
    assert "sql-expert, shell-expert1.12 −0.04 0.99 81close" in text
    assert "0.80 % (sql-expert)" in text
    older = demo_report().model_copy(update={"affinity": None})
    assert "How close the experts are" not in Page(render(older)).text()
