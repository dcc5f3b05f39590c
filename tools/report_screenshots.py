"""Take the pictures of docs/report.md from a run's report.html, with the installed Chromium.

tools/report_screenshots.py runs/quickstart/final/report.html docs/pictures
"""

from __future__ import annotations

import argparse
import io
import shutil
from pathlib import Path

from PIL import Image
from playwright.sync_api import Browser, Page, sync_playwright

CHROMIUM = ("chromium", "chromium-browser", "google-chrome")
MARGIN = 20
"""Pixels around what a picture is about."""
TALL = 6000
"""Pixels that hold the whole page: nothing scrolls, so all positions are the page's."""


def main() -> None:
    """Write ``report-top.png``, ``report-archives.png``, ``report-lineage.png`` and ``report-phone.png``."""
    parser = argparse.ArgumentParser(description="Take the pictures of docs/report.md.")
    parser.add_argument("page", type=Path, help="report.html of a finished run")
    parser.add_argument("folder", type=Path, help="where the pictures go")
    arguments = parser.parse_args()
    executable = next((path for name in CHROMIUM if (path := shutil.which(name))), None)
    if executable is None:
        parser.error("no Chromium is installed: apt-get install chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=executable, args=["--no-sandbox", "--disable-gpu"])
        for name, shot in take(browser, arguments.page).items():
            picture = arguments.folder / name
            Image.open(io.BytesIO(shot)).convert("RGB").save(picture, optimize=True)
            print(f"{picture}: {picture.stat().st_size / 1000:.0f} kB")
        browser.close()


def take(browser: Browser, file: Path) -> dict[str, bytes]:
    """Return the pictures by name: the answer, where it came from, an elite pointed at, and the answer on a phone."""
    desktop = browser.new_page(viewport={"width": 1100, "height": TALL})
    desktop.goto(file.resolve().as_uri())
    shots = {
        "report-top.png": show(desktop, "header", "#scores"),
        "report-lineage.png": show(desktop, "#lineage", "#progress"),
    }
    desktop.locator(".map").nth(1).locator(".cell").last.hover()
    shots["report-archives.png"] = show(desktop, "#archives", "#archives")
    phone = browser.new_page(viewport={"width": 390, "height": TALL}, device_scale_factor=2, color_scheme="dark")
    phone.goto(file.resolve().as_uri())
    shots["report-phone.png"] = show(phone, "header", "#skills")
    return shots


def show(page: Page, first: str, last: str) -> bytes:
    """Return a picture from the part of the page that ``first`` is in to the one that ``last`` is in."""
    start, end = (page.locator(f"main > :is({part}, :has({part}))").bounding_box() for part in (first, last))
    if start is None or end is None:
        raise SystemExit(f"The page shows no {first} or no {last}: take the report of a finished run.")
    left, top = max(0, start["x"] - MARGIN), max(0, start["y"] - MARGIN)
    width, height = start["width"] + 2 * MARGIN, end["y"] + end["height"] - top + MARGIN
    return page.screenshot(clip={"x": left, "y": top, "width": width, "height": height})


if __name__ == "__main__":
    main()
