"""The project's Markdown files as a parser sees them: links, headings, samples, and the commands in samples."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

from markdown_it import MarkdownIt
from markdown_it.token import Token

ROOT = Path(__file__).parents[2]
NOT_OURS = {"runs", "models", "build", "dist", "site"}
"""Folders of a checkout that git ignores; hidden ones are left out too."""


class Sample(NamedTuple):
    """A fenced block: its language (``sh``, ``yaml``, ...), its text and the heading above it."""

    language: str
    text: str
    section: str


def pages() -> list[Path]:
    """Return all Markdown files of the checkout."""
    folders = [path for path in ROOT.iterdir() if path.is_dir() and path.name[0] != "." and path.name not in NOT_OURS]
    return sorted([*ROOT.glob("*.md"), *(page for folder in folders for page in folder.rglob("*.md"))])


def name(page: Path) -> str:
    """Return a page's path from the root, for the names of tests and for messages."""
    return page.relative_to(ROOT).as_posix()


@cache
def tokens(page: Path) -> tuple[Token, ...]:
    """Return a page's tokens, inline ones after the block that holds them."""
    parsed = MarkdownIt("commonmark").enable("table").parse(page.read_text(encoding="utf-8"))
    return tuple(token for block in parsed for token in (block, *(block.children or ())))


def links(page: Path) -> Iterator[str]:
    """Yield where a page's links and pictures point to."""
    for token in tokens(page):
        target = token.attrs.get("href") or token.attrs.get("src")
        if target:
            yield str(target)


@cache
def anchors(page: Path) -> frozenset[str]:
    """Return the anchors that GitHub gives to a page's headings."""
    found: list[str] = []
    for heading in headings(page).values():
        slug = re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")
        found.append(f"{slug}-{found.count(slug)}" if slug in found else slug)
    return frozenset(found)


@cache
def headings(page: Path) -> dict[int, str]:
    """Return a page's headings by the number of their token, as plain text."""
    pairs = enumerate(pairwise(tokens(page)))
    return {
        number: "".join(part.content for part in text.children or ())
        for number, (opening, text) in pairs
        if opening.type == "heading_open"
    }


def samples(page: Path, *languages: str) -> list[Sample]:
    """Return a page's fenced blocks in these languages, all if none is named."""
    found, section = [], ""
    for number, token in enumerate(tokens(page)):
        section = headings(page).get(number, section)
        if token.type == "fence" and (not languages or token.info in languages):
            found.append(Sample(token.info, token.content, section))
    return found


def spoken(page: Path, section: str | None = None) -> list[str]:
    """Return what a page, or what stands below one of its headings, quotes inline as code."""
    found, above = [], ""
    for number, token in enumerate(tokens(page)):
        above = headings(page).get(number, above)
        if token.type == "code_inline" and section in (None, above):
            found.append(" ".join(token.content.split()))
    return found
