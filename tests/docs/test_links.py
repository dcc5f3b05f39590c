"""Every link within the project leads to a file, and to a heading where it names one."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

from tests.docs.pages import ROOT, anchors, links, name, pages

INDEX = ROOT / "docs" / "README.md"


def broken(page: Path) -> list[str]:
    """Return the links of a page that lead nowhere; addresses in the Internet are not followed."""
    lost = []
    for link in links(page):
        parts = urlsplit(link)
        if parts.scheme:
            continue
        target = (page.parent / unquote(parts.path)).resolve() if parts.path else page
        known = target.is_relative_to(ROOT) and target.exists()
        if not known or (parts.fragment and parts.fragment not in anchors(target)):
            lost.append(link)
    return lost


@pytest.mark.parametrize("page", pages(), ids=name)
def test_links_lead_somewhere(page: Path) -> None:
    assert broken(page) == []


@pytest.mark.parametrize(
    ("link", "leads_somewhere"),
    [
        ("there.md", True),
        ("there.md#the-end-of-it", True),
        ("#the-end-of-it", False),
        ("there.md#the-end-of-it-1", True),
        ("there.md#the-end", False),
        ("elsewhere.md", False),
        ("https://elsewhere.example/", True),
    ],
)
def test_a_link_that_leads_nowhere_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, link: str, leads_somewhere: bool
) -> None:
    monkeypatch.setattr("tests.docs.test_links.ROOT", tmp_path)
    (tmp_path / "there.md").write_text("# The `end`, of it\n\n## The end of it\n", encoding="utf-8")
    page = tmp_path / "page.md"
    page.write_text(f"[a link]({link})\n\n```\n[no link](nowhere.md)\n```\n", encoding="utf-8")
    assert broken(page) == ([] if leads_somewhere else [link])


def test_the_index_names_every_page_of_its_folder() -> None:
    linked = {(INDEX.parent / link.partition("#")[0]).resolve() for link in links(INDEX)}
    assert {name(page) for page in INDEX.parent.glob("*.md") if page != INDEX} - {
        name(page) for page in linked
    } == set()
