"""All benchmarks or some, one after another, and a table at the end: ``python -m benchmarks [NAME...]``.

Every script prints its figures; what it says beside them is shown only if it fails. A script that lacks something (a
cluster, an S3 server, a package) says so, and nothing of it counts as met. In the end docs/benchmarks.md and its
pictures are made anew of all results, those of other days included.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from benchmarks.report import ABSENT, RESULTS, Figure

FOLDER = Path(__file__).parent
HELPERS = ("__main__", "quickstart", "report")
LAST = "operator_scale"
"""The cluster is busy for minutes after it, removing what it made."""
PAGE_WRITER = FOLDER.parent / "tools" / "benchmarks_page.py"
PATIENCE_SECONDS = 1200
"""What takes longer hangs: of the scripts that need no cluster, the slowest takes three minutes."""
WIDTH = 160
"""Columns of the table where it goes into a file."""
STYLES = {"met": "green", "SHORT": "red", "FAILED": "red", "not measured": "yellow"}


@dataclass(frozen=True)
class Outcome:
    """What became of one script.

    Attributes:
        name: of the script.
        seconds: that it took.
        figures: those that it published.
        trouble: ``not measured`` or ``FAILED`` where it published none.
        why: the last line that it said then.
    """

    name: str
    seconds: float
    figures: tuple[Figure, ...] = ()
    trouble: str = ""
    why: str = ""

    @property
    def verdicts(self) -> list[str]:
        """``met`` or ``SHORT`` for each figure with a target, or what went wrong instead."""
        judged = [figure.verdict for figure in self.figures if figure.verdict]
        return [self.trouble] if self.trouble else judged


def scripts() -> list[str]:
    """Return the names of all benchmarks, in the order in which they run."""
    found = (path.stem for path in FOLDER.glob("*.py") if path.stem not in HELPERS)
    return sorted(found, key=lambda name: (name == LAST, name))


def run(name: str) -> Outcome:
    """Run one script; its figures appear as it prints them."""
    result, began = RESULTS / f"{name}.json", time.monotonic()
    before = result.stat().st_mtime_ns if result.exists() else 0
    with tempfile.TemporaryFile("w+") as noise:
        script = subprocess.Popen(
            [sys.executable, "-u", "-m", f"benchmarks.{name}"],
            stdout=subprocess.PIPE,
            stderr=noise,
            text=True,
            cwd=FOLDER.parent,
            process_group=0,
        )
        end = partial(_end, script)
        limit = threading.Timer(PATIENCE_SECONDS, end)
        limit.start()
        try:
            said = _until_the_end(script)
        finally:
            limit.cancel()
            end()
        seconds = time.monotonic() - began
        if result.exists() and result.stat().st_mtime_ns > before:
            figures = json.loads(result.read_text(encoding="utf-8"))["figures"]
            return Outcome(name, seconds, tuple(Figure(**figure) for figure in figures))
        noise.seek(0)
        heard = [line.strip() for line in noise if line.strip()]
    if script.returncode == ABSENT:
        return Outcome(name, seconds, trouble="not measured", why=said[-1].partition(": ")[2])
    why = [*said, *heard][-1:] or [f"it ended with exit code {script.returncode} and without a word"]
    return Outcome(name, seconds, trouble="FAILED", why=why[0])


def _end(script: subprocess.Popen[str]) -> None:
    """Kill a script that is still running, with all that it started."""
    if script.poll() is None:
        os.killpg(script.pid, signal.SIGKILL)


def _until_the_end(script: subprocess.Popen[str]) -> list[str]:
    """Print what a script says until it ends; return its lines."""
    said = []
    for line in script.stdout or ():
        print(f"  {line}", end="", flush=True)
        said.append(line.strip())
    script.wait()
    return said


def write_page() -> None:
    """Make docs/benchmarks.md and its pictures of the results."""
    subprocess.run([sys.executable, str(PAGE_WRITER)], check=True)


def summary(outcomes: list[Outcome]) -> Table:
    """Return a row per figure that has a target, and per script that has measured nothing."""
    table = Table(title="Benchmarks")
    for heading in ("benchmark", "figure", "value", "target", ""):
        table.add_column(heading, justify="right" if heading == "value" else "left", overflow="fold")
    for outcome in outcomes:
        if outcome.trouble:
            table.add_row(outcome.name, Text(outcome.why), "", "", Text(outcome.trouble, STYLES[outcome.trouble]))
        for figure in outcome.figures:
            if figure.verdict:
                verdict = Text(figure.verdict, STYLES[figure.verdict])
                table.add_row(outcome.name, Text(figure.name), figure.amount, figure.target.strip(), verdict)
    return table


def main() -> int:
    """Run the scripts that were named, or all. Returns 1 if a figure is short of its target or a script failed."""
    console, outcomes = Console(width=None if sys.stdout.isatty() else WIDTH), []
    for name in sys.argv[1:] or scripts():
        print(f"== {name}", flush=True)
        outcomes.append(run(name))
        print(f"  {outcomes[-1].seconds:.0f} s", flush=True)
    if any(outcome.figures for outcome in outcomes):
        write_page()
    console.print(summary(outcomes))
    verdicts = [verdict for outcome in outcomes for verdict in outcome.verdicts]
    counts = ", ".join(f"{verdicts.count(kind)} {kind}" for kind in STYLES if kind in verdicts)
    minutes = sum(outcome.seconds for outcome in outcomes) / 60
    console.print(f"{len(outcomes)} benchmarks in {minutes:.0f} minutes: {counts or 'no targets'}.")
    return int("SHORT" in verdicts or "FAILED" in verdicts)


if __name__ == "__main__":
    sys.exit(main())
