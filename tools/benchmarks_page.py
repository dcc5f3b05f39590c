"""Write docs/benchmarks.md from benchmarks/results/*.json: the tables, the machine, and how to repeat them."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "benchmarks.md"
RESULTS = ROOT / "benchmarks" / "results"
INTRODUCTION = """\
# Benchmarks

What is fast, measured. Every script compares within one run, alternating, because clocks are noisy and machines are
shared: quote the ratios, not the seconds. `make bench` runs all of them, renews `benchmarks/results/*.json` and this
page, and exits with 1 if a figure is short of its target. One alone: `.venv/bin/python -m benchmarks.archive`.
`operator_scale` needs a cluster with fake nodes and an S3 server; without them it says so and measures nothing.
"""


def main() -> int:
    """Write the page. Returns 1 if a figure is short of its target."""
    results = [json.loads(path.read_text(encoding="utf-8")) for path in sorted(RESULTS.glob("*.json"))]
    PAGE.write_text("\n".join([INTRODUCTION, *map(_section, results)]), encoding="utf-8")
    short = [figure["name"] for result in results for figure in result["figures"] if figure["met"] is False]
    print("\n".join(f"SHORT: {name}" for name in short) or "All figures meet their targets.")
    return int(bool(short))


def _section(result: dict[str, Any]) -> str:
    machine = result["machine"]
    packages = ", ".join(f"{name} {version}" for name, version in machine["packages"].items())
    where = f"{machine['date']}, {machine['cores']} cores of {machine['cpu']}, Python {machine['python']}, {packages}."
    head = [f"## {result['script']}", "", where, "", "| figure | value | target | |", "| --- | --- | --- | --- |"]
    return "\n".join([*head, *map(_row, result["figures"]), ""])


def _row(figure: dict[str, Any]) -> str:
    value = f"{figure['value']:.3g} {figure['unit']}"
    return f"| {figure['name']} | {value} | {figure['target'].strip()} | {_verdict(figure)} |"


def _verdict(figure: dict[str, Any]) -> str:
    return {True: "met", False: "short", None: ""}[figure["met"]]


if __name__ == "__main__":
    sys.exit(main())
