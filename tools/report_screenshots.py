"""Take the pictures of docs/report.md from a run's report.html, with the installed Chromium.

tools/report_screenshots.py runs/quickstart/final/report.html docs/pictures
"""

from __future__ import annotations

import argparse
import io
import shutil
from pathlib import Path

from PIL import Image
from playwright.sync_api import Browser, sync_playwright

COLOURS = 128
"""The page has few colours; a palette makes its pictures a third as large."""
CHROMIUM = ("chromium", "chromium-browser", "google-chrome")


def main() -> None:
    """Write ``report-desktop.png``, ``report-archives.png`` and ``report-phone.png``."""
    parser = argparse.ArgumentParser(description="Take the pictures of docs/report.md.")
    parser.add_argument("page", type=Path, help="report.html of a run")
    parser.add_argument("folder", type=Path, help="where the pictures go")
    arguments = parser.parse_args()
    executable = next((path for name in CHROMIUM if (path := shutil.which(name))), None)
    if executable is None:
        parser.error("no Chromium is installed: apt-get install chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=executable, args=["--no-sandbox", "--disable-gpu"])
        for name, shot in take(browser, arguments.page).items():
            picture = arguments.folder / name
            Image.open(io.BytesIO(shot)).convert("RGB").quantize(COLOURS, dither=Image.Dither.NONE).save(
                picture, optimize=True
            )
            print(f"{picture}: {picture.stat().st_size / 1000:.0f} kB")
        browser.close()


def take(browser: Browser, file: Path) -> dict[str, bytes]:
    """Return the pictures by name: the answer, the archives with somebody pointed at, and what a phone shows."""
    desktop = browser.new_page(viewport={"width": 1100, "height": 1200})
    desktop.goto(file.resolve().as_uri())
    shots = {"report-desktop.png": desktop.screenshot()}
    archives = desktop.locator("section", has=desktop.locator("#archives"))
    archives.scroll_into_view_if_needed()
    archives.locator(".map").nth(1).locator(".cell").last.hover()
    box = archives.bounding_box()
    if box is None:
        raise SystemExit(f"{file} shows no archives: take the report of a run whose experts have scores.")
    shots["report-archives.png"] = desktop.screenshot(clip=box)
    phone = browser.new_page(viewport={"width": 390, "height": 844}, device_scale_factor=2, color_scheme="dark")
    phone.goto(file.resolve().as_uri())
    shots["report-phone.png"] = phone.screenshot()
    return shots


if __name__ == "__main__":
    main()
