"""The page in a real Chromium: what people see, hover, tap, print and hear."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Locator, Page

from cycleqd.report import Report
from cycleqd_runner.report.beside import side_by_side
from cycleqd_runner.report.html import render
from cycleqd_runner.report.people import People
from tests.runner.report.browser import CHROMIUM, chromium, visit
from tests.runner.report.support import demo_report, empty_report, finished

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium (Debian: apt-get install chromium)")

REPORTS: dict[str, Report] = {
    "two": demo_report(2),
    "three": demo_report(3),
    "four": demo_report(4),
    "empty": empty_report(),
    "unfinished": demo_report(3).model_copy(
        update={"scores": {}, "means": {}, "differences": (), "candidates": (), "finished_at": 0.0}
    ),
    "large": demo_report(3, children=1197),
    "wide": demo_report(5, children=1195),
    "beside": demo_report(3),
    "dots": demo_report(5, type="DominatedNovelty", size=60),
}
BESIDE = {"beside": side_by_side(finished("demo"), [finished("other", children=45)])}
"""What some pages show other runs in."""
AA = 4.5
"""Least contrast of text in WCAG 2, level AA."""

OUTLINES = {f"rgb({grey}, {grey}, {grey}) solid 2px" for grey in (0, 255)}

LEAST_CONTRAST = """() => {
  const canvas = document.createElement("canvas").getContext("2d", {willReadFrequently: true});
  const light = (name) => {
    canvas.fillStyle = getComputedStyle(document.documentElement).getPropertyValue(name);
    canvas.fillRect(0, 0, 1, 1);
    const [r, g, b] = [...canvas.getImageData(0, 0, 1, 1).data].map((value) => {
      const share = value / 255;
      return share <= 0.04045 ? share / 12.92 : ((share + 0.055) / 1.055) ** 2.4;
    });
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const pairs = [
    ["--ink", "--paper"], ["--ink", "--wash"], ["--ink", "--empty"], ["--soft", "--paper"], ["--soft", "--wash"],
    ["--accent", "--paper"], ["--accent", "--wash"], ["--paper", "--accent"], ["--warn-ink", "--warn"],
  ];
  return Object.fromEntries(pairs.map(([text, ground]) => {
    const [dark, bright] = [light(text), light(ground)].sort((a, b) => a - b);
    return [`${text} on ${ground}`, (bright + 0.05) / (dark + 0.05)];
  }));
}"""


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as started:
        yield started


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("pages")
    paths = {name: folder / f"{name}.html" for name in REPORTS}
    for name, path in paths.items():
        path.write_text(render(REPORTS[name], BESIDE.get(name)), encoding="utf-8")
    return paths


def child_cell(page: Page) -> Locator:
    """Return a cell of the first archive that a child of two different parents holds."""
    people = People.of(REPORTS["three"])
    holders = [who for _, who in REPORTS["three"].archives[0].cells if len(people.parents(who)) > 1]
    return page.locator(f".map >> nth=0 >> .cell[data-who='{holders[0]}']")


def described(cell: Locator) -> str:
    """Return what the data says about who is in a cell."""
    return People.of(REPORTS["three"]).describe(int(cell.get_attribute("data-who") or -1))


@pytest.mark.parametrize("name", REPORTS)
def test_nothing_is_loaded_and_nothing_complains(browser: Browser, files: dict[str, Path], name: str) -> None:
    with visit(browser, files[name]) as seen:
        assert seen.requests == [files[name].as_uri()]
        assert seen.complaints == []


@pytest.mark.parametrize("width", [360, 768, 1280])
@pytest.mark.parametrize("name", REPORTS)
def test_the_page_does_not_scroll_sideways(browser: Browser, files: dict[str, Path], name: str, width: int) -> None:
    with visit(browser, files[name], width) as seen:
        seen.page.evaluate("document.querySelectorAll('details').forEach((details) => { details.open = true })")
        assert seen.page.evaluate("document.documentElement.scrollWidth") <= width


def test_long_names_do_not_make_it_scroll_sideways(browser: Browser, tmp_path: Path) -> None:
    file = tmp_path / "long.html"
    text = REPORTS["three"].model_dump_json().replace("python", "p" * 63).replace('"demo"', f'"{"d" * 200}"')
    file.write_text(render(Report.model_validate_json(text)), encoding="utf-8")
    with visit(browser, file, 360) as seen:
        assert seen.page.evaluate("document.documentElement.scrollWidth") <= 360


def test_hovering_says_who_is_there_and_lights_up_relatives(browser: Browser, files: dict[str, Path]) -> None:
    with visit(browser, files["three"]) as seen:
        tip, cell = seen.page.locator("#tip"), child_cell(seen.page)
        assert tip.is_hidden()
        cell.hover()
        assert tip.inner_text() == described(cell)
        who = int(cell.get_attribute("data-who") or -1)
        lit = {seen.page.locator(".cell.same").nth(0).get_attribute("data-who")}
        assert lit == {str(who)}
        related = {int(spot.get_attribute("data-who") or -1) for spot in seen.page.locator(".parent").all()}
        assert related <= set(People.of(REPORTS["three"]).parents(who))
        seen.page.locator("h1").hover()
        assert tip.is_hidden()


def test_every_cell_tells_its_own_elite(browser: Browser, files: dict[str, Path]) -> None:
    people = People.of(REPORTS["three"])
    with visit(browser, files["three"]) as seen:
        cells: list[list[str]] = seen.page.evaluate(
            "[...document.querySelectorAll('.cell')].map((cell) => [cell.dataset.who, cell.getAttribute('aria-label')])"
        )
    assert len(cells) == sum(len(archive.cells) for archive in REPORTS["three"].archives)
    assert all(text == people.describe(int(who)) for who, text in cells)


def test_the_tip_stays_on_the_screen(browser: Browser, files: dict[str, Path]) -> None:
    with visit(browser, files["three"], 360) as seen:
        for cell in (seen.page.locator(".cell").first, seen.page.locator(".cell").last):
            cell.scroll_into_view_if_needed()
            cell.hover()
            box = seen.page.locator("#tip").bounding_box()
            assert box
            assert (box["x"] >= 0, box["x"] + box["width"] <= 360) == (True, True)
            assert (box["y"] >= 0, box["y"] + box["height"] <= 900) == (True, True)


def test_tapping_says_who_is_there(browser: Browser, files: dict[str, Path]) -> None:
    with visit(browser, files["three"], 360, has_touch=True, is_mobile=True) as seen:
        cell = child_cell(seen.page)
        cell.tap()
        assert seen.page.locator("#tip").inner_text() == described(cell)


def test_keyboards_reach_every_picture_once_and_cells_by_arrows(browser: Browser, files: dict[str, Path]) -> None:
    with visit(browser, files["three"]) as seen:
        pictures = seen.page.locator(".map, .tree")
        assert seen.page.locator(".cell[tabindex='0'], .node[tabindex='0']").count() == pictures.count()
        first = seen.page.locator(".cell[tabindex='0']").first
        first.focus()
        tip = seen.page.locator("#tip")
        assert tip.inner_text() == described(first)
        for key, axis, sign in (("ArrowRight", "x", 1), ("ArrowUp", "y", -1), ("ArrowLeft", "x", -1)):
            before: dict[str, float] = seen.page.locator(":focus").bounding_box() or {}  # type: ignore[assignment]
            seen.page.keyboard.press(key)
            focused = seen.page.locator(":focus")
            after: dict[str, float] = focused.bounding_box() or {}  # type: ignore[assignment]
            assert sign * (after[axis] - before[axis]) > 1
            assert tip.inner_text() == described(focused)
            assert focused.evaluate("(spot) => getComputedStyle(spot).outline") in OUTLINES
        seen.page.keyboard.press("Escape")
        assert tip.is_hidden()


def test_without_scripts_all_the_rest_is_there(browser: Browser, files: dict[str, Path]) -> None:
    with visit(browser, files["three"], java_script_enabled=False) as seen:
        assert seen.page.locator(".map").count() == 3
        seen.page.locator("summary", has_text="Manifest").click()
        assert seen.page.locator("pre").is_visible()
        assert seen.page.locator("#tip").is_hidden()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("name", ["three", "four", "unfinished", "dots"])
def test_axe_finds_nothing_to_object(browser: Browser, files: dict[str, Path], name: str, scheme: str) -> None:
    with visit(browser, files[name], color_scheme=scheme) as seen:
        seen.page.evaluate("document.querySelectorAll('details').forEach((details) => { details.open = true })")
        found = Axe().run(seen.page, options={"runOnly": ["wcag2a", "wcag2aa", "wcag21aa", "best-practice"]})
        assert [(one["id"], one["nodes"][0]["html"][:120]) for one in found.response["violations"]] == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_is_readable_in_both_schemes(browser: Browser, files: dict[str, Path], scheme: str) -> None:
    with visit(browser, files["three"], color_scheme=scheme) as seen:
        contrasts: dict[str, float] = seen.page.evaluate(LEAST_CONTRAST)
        background = seen.page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert {pair: ratio for pair, ratio in contrasts.items() if ratio < AA} == {}
    assert (sum(map(int, re.findall(r"\d+", background))) < 200) == (scheme == "dark")


@pytest.mark.parametrize("name", ["three", "wide", "empty"])
def test_printing_opens_what_is_folded_and_folds_it_again(browser: Browser, files: dict[str, Path], name: str) -> None:
    with visit(browser, files[name], color_scheme="dark") as seen:
        opened = "document.querySelectorAll('details[open]').length"
        before = seen.page.evaluate(opened)
        seen.page.locator(".cell, h1").first.hover()
        seen.page.evaluate("addEventListener('beforeprint', () => { window.atPrint = " + opened + " })")
        paper = seen.page.pdf(format="A4", print_background=True)
        assert len(re.findall(rb"/Type\s*/Page\b", paper)) >= 1
        assert seen.page.evaluate("window.atPrint") == seen.page.locator("details").count()
        assert seen.page.evaluate(opened) == before
        seen.page.emulate_media(media="print")
        assert seen.page.locator("#tip").is_hidden()
        assert seen.page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"


def test_paper_has_no_folds_without_scripts_either(browser: Browser, files: dict[str, Path]) -> None:
    with visit(browser, files["three"], java_script_enabled=False) as seen:
        folded = len(seen.page.pdf(format="A4"))
        assert seen.page.locator("pre").is_hidden()
    with visit(browser, files["three"]) as seen:
        opened = len(seen.page.pdf(format="A4"))
    assert folded > 0.9 * opened


@pytest.mark.parametrize(("name", "kilobytes"), [("large", 400), ("wide", 900)])
def test_large_runs_make_small_files(files: dict[str, Path], name: str, kilobytes: int) -> None:
    assert files[name].stat().st_size < 1000 * kilobytes


def test_a_full_archive_is_shown_in_full(browser: Browser, tmp_path: Path) -> None:
    report = full_report()
    file = tmp_path / "full.html"
    file.write_text(render(report), encoding="utf-8")
    assert file.stat().st_size < 500_000
    with visit(browser, file) as seen:
        assert seen.complaints == []
        assert seen.page.locator(".cell").count() == 3 * 15 * 15
        seen.page.locator(".cell").last.hover()
        assert seen.page.locator("#tip").is_visible()


def full_report() -> Report:
    """Return a report of 1,200 individuals in which every cell of 15 x 15 is taken."""
    report = demo_report(3, children=1197)
    everywhere = tuple((divmod(place, 15), place) for place in range(15 * 15))
    archives: list[Any] = [
        archive.model_copy(update={"cells": tuple((cell, 3 + 300 * k + who) for cell, who in everywhere)})
        for k, archive in enumerate(report.archives)
    ]
    return report.model_copy(update={"archives": tuple(archives)})
