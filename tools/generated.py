"""What the generators of pages share: write the page, or with ``--check`` say whether it is current."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path


def write_or_check(page: Path, render: Callable[[], str], description: str | None, sources: str) -> int:
    """Write a page, or compare it. Returns the exit code.

    Args:
        page: the file.
        render: makes its text.
        description: of the generator, for ``--help``.
        sources: what the page has to agree with, for the message that it does not.
    """
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--check", action="store_true", help="exit 1 if the page is not current")
    text = render()
    if not parser.parse_args().check:
        page.write_text(text, encoding="utf-8")
        return 0
    if page.is_file() and page.read_text(encoding="utf-8") == text:
        return 0
    print(f"{page} is not what {sources}: run `make docs` and commit it.", file=sys.stderr)
    return 1
