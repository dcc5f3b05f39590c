"""How every benchmark reports: a line a figure, and a JSON file beside it. What is measured is the scripts' own."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

RESULTS = Path(__file__).parent / "results"


@dataclass(frozen=True)
class Figure:
    """One measured number.

    Attributes:
        name: what was measured, with what it was compared to.
        value: the number.
        unit: its unit, ``x`` for a ratio.
        target: the bound in words, ``<= 9 MB``; empty where there is none.
        met: whether the bound holds; None where there is none.
    """

    name: str
    value: float
    unit: str
    target: str = ""
    met: bool | None = None

    def line(self) -> str:
        """Return the figure as one line of text."""
        verdict = "" if self.met is None else f"  target {self.target}: {'met' if self.met else 'SHORT'}"
        return f"{self.name}: {self.value:.4g} {self.unit}{verdict}"


def at_most(name: str, value: float, unit: str, bound: float) -> Figure:
    """Return a figure that should not exceed ``bound``."""
    return Figure(name, value, unit, f"<= {bound:g} {unit}", value <= bound)


def at_least(name: str, value: float, unit: str, bound: float) -> Figure:
    """Return a figure that should reach ``bound``."""
    return Figure(name, value, unit, f">= {bound:g} {unit}", value >= bound)


def publish(script: str, figures: Sequence[Figure]) -> None:
    """Print the figures and write them to ``results/<name>.json``.

    Args:
        script: ``__file__`` of the benchmark.
        figures: in the order in which they are printed.
    """
    for figure in figures:
        print(figure.line())
    RESULTS.mkdir(exist_ok=True)
    machine = {"processors": os.cpu_count(), "architecture": platform.machine(), "python": platform.python_version()}
    content = {"machine": machine, "figures": [asdict(figure) for figure in figures]}
    file = RESULTS / f"{Path(script).stem}.json"
    file.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
